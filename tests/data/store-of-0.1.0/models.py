import time


def slow(input_shape, classes, hyperparameters):
    time.sleep(600)


def broken(input_shape, classes, hyperparameters):
    raise ValueError("this model is broken")
