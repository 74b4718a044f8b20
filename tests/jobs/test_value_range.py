"""Inputs on the scale of the training inputs: brought to it, taken as they are, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jobs.portable.inputs import WrongInput, scale_of, scaled
from jobs.portable.value_range import to_training_scale, value_range

RANDOM = np.random.RandomState(0)
PIXELS = RANDOM.randint(0, 256, (60, 6, 6, 1))
PIXELS.ravel()[:2] = 0, 255
FRACTIONS = PIXELS / 255
CENTRED = FRACTIONS * 2 - 1
DIGITS = PIXELS * 16 // 255
FEATURES = RANDOM.lognormal(0, 1, (60, 5))
"""As of a table: positive, with a long tail."""


def as_the_model_gets_them(training: Any, other: Any) -> Any:
    """The mean of what a model trained on ``training`` is given of ``other``, relative to what it was trained on."""
    scale = scale_of(training)
    brought, _ = to_training_scale(other, "x", value_range(training))
    return np.abs(scaled(brought, scale, "channels_last")).mean() / np.abs(scaled(training, scale, "channels_last")).mean()


BYTES = PIXELS.astype("uint8")


@pytest.mark.parametrize(
    ("training", "other"),
    [
        (BYTES, FRACTIONS),
        (BYTES, FRACTIONS.astype("float16")),
        (BYTES, FRACTIONS.astype(">f4")),
        (BYTES, PIXELS.astype("float64")),
        (BYTES, PIXELS),
        (FRACTIONS, BYTES),
        (FRACTIONS.astype("float32"), BYTES),
        (PIXELS > 127, (PIXELS > 127).astype("uint8") * 255),
        (PIXELS, BYTES),
        (PIXELS.astype("float32"), BYTES),
        (PIXELS.astype("float32") * 300, (PIXELS * 250).astype("float16")),
        (DIGITS.astype("float64"), DIGITS.astype("uint8")),
        (FEATURES, FEATURES[:3].astype("float16")),
        (DIGITS.reshape(60, 36), DIGITS.reshape(60, 36).astype("uint8")),
    ],
)
def test_the_same_values_in_another_type_reach_the_model_as_the_same(training: Any, other: Any) -> None:
    assert as_the_model_gets_them(training, other) == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize(
    ("training", "other"),
    [
        (FRACTIONS, PIXELS),
        (FRACTIONS, PIXELS.astype("float32")),
        (FRACTIONS, DIGITS.astype("float32")),
        (PIXELS, FRACTIONS),
        (PIXELS.astype("float32"), FRACTIONS),
        (DIGITS.astype("float64"), DIGITS / 16),
        (DIGITS.astype("float64"), BYTES),
        (BYTES, PIXELS.astype("uint16") * 257),
        (PIXELS.astype("uint16") * 257, BYTES),
        (BYTES, (PIXELS - 128).astype("int8")),
        (BYTES, PIXELS > 127),
        (BYTES, (PIXELS > 127).astype("uint8")),
        (CENTRED, BYTES),
        (CENTRED, FRACTIONS),
        (FRACTIONS, CENTRED),
        (DIGITS.reshape(60, 36), (DIGITS / 16).reshape(60, 36)),
        (FRACTIONS.reshape(60, 36), PIXELS.reshape(60, 36)),
        (DIGITS.reshape(60, 36), (DIGITS / 16).reshape(60, 36)[:2]),
    ],
)
def test_another_scale_is_refused(training: Any, other: Any) -> None:
    with pytest.raises(WrongInput, match=f"x is {other.dtype} from .*, x_train is {training.dtype} from .*: on another scale"):
        to_training_scale(other, "x", value_range(training))


@pytest.mark.parametrize(
    ("training", "other"),
    [
        (BYTES, (PIXELS[:1] // 20).astype("uint8")),
        (BYTES, np.zeros((1, 6, 6, 1))),
        (FRACTIONS, FRACTIONS[:1] / 20),
        (PIXELS.astype("float32"), (PIXELS[:1] / 20).astype("float32")),
        (FEATURES, FEATURES[:1] * 8),
        (FEATURES, FEATURES[:2] / 100),
        ((FEATURES * 100).astype("int64"), (FEATURES[:1] > 1).astype("int64")),
        (FEATURES - FEATURES.mean(axis=0), FEATURES[:2]),
        ((FEATURES > 1).astype("uint8"), (FEATURES > 1).astype("float64")),
    ],
)
def test_dark_images_and_single_rows_are_taken_as_they_are(training: Any, other: Any) -> None:
    brought, done = to_training_scale(other, "x", value_range(training))
    assert done == "" and (brought == other).all()


def test_the_smallest_signed_integer_counts_with_its_magnitude() -> None:
    assert scale_of(np.array([[-128, 100]], dtype="int8")) == 128.0
