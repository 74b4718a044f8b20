"""Two rings of points, and a small network that tells them apart; for Python 2.7 with Keras 2 and Python 3 with Keras 3."""

import numpy as np


def data(hyperparameters):
    """Called with the hyperparameters of all members; the same arrays for the same ones."""
    random = np.random.RandomState(7)
    items = hyperparameters["items"]
    ring = random.randint(0, 2, items)
    angle = random.uniform(0, 2 * np.pi, items)
    radius = 1 + ring + random.normal(0, 0.2, items)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype("float32")
    return {"x_train": points, "y_train": ring, "class_names": ["inner", "outer"]}


def model(input_shape, classes, hyperparameters):
    """Called in the member's own runtime with its hyperparameters; returns a compiled model."""
    from keras import layers, models

    network = models.Sequential()
    network.add(layers.Dense(hyperparameters["hidden"], activation="relu", input_shape=input_shape))
    network.add(layers.Dense(classes, activation="softmax"))
    network.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return network
