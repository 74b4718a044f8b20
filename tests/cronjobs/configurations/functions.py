"""What code.yaml names; never run here."""


def data(hyperparameters):
    raise NotImplementedError


def model(input_shape, classes, hyperparameters):
    raise NotImplementedError
