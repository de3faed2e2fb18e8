"""The head of a model: what its last layer predicts."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Head:
    """`outputs` is 1 for binary (a probability) and number, and the number of classes for classes."""

    kind: Literal["binary", "classes", "number"]
    outputs: int
