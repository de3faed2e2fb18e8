"""Data augmentation: images that training sees mirrored or shifted a little, newly drawn in every round.

A mirrored or shifted lesion is still a lesion, so that a network with few images learns from more of
them (Shorten and Khoshgoftaar 2019, Journal of Big Data 6:60). Stored images are not changed, and only
training reads them so.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.pixels import Bytes, Pixels, Rows

FARTHEST = 1 / 14
"""The largest shift, as a share of an image's height and width; its edge pixels fill what is uncovered."""


@dataclass(frozen=True, repr=False, eq=False)
class AugmentedPixels(Pixels):
    """Pixels that are mirrored and shifted as they are read.

    Attributes:
        mirrored: (n,) whether left and right are exchanged.
        shifts: (n, 2) pixels downwards and to the right.
    """

    mirrored: NDArray[np.bool_]
    shifts: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "AugmentedPixels":
        return AugmentedPixels(self.store, self.places[rows], self.mirrored[rows], self.shifts[rows])

    def take(self, rows: Rows = slice(None)) -> Bytes:
        """(n, height, width, channels): read these rows, mirrored and shifted."""
        images, shifts, mirrored = super().take(rows), self.shifts[rows], self.mirrored[rows]
        height, width, _ = self.store.shape
        down = np.clip(np.arange(height) - shifts[:, :1], 0, height - 1)
        right = np.clip(np.arange(width) - shifts[:, 1:], 0, width - 1)
        right = np.where(mirrored[:, None], width - 1 - right, right)
        pixels: Bytes = images[np.arange(len(images))[:, None, None], down[:, :, None], right[:, None, :]]
        return pixels


def augmented(pixels: Pixels, kinds: Collection[str], generator: np.random.Generator) -> AugmentedPixels:
    """Draw each row's mirroring and shift.

    Args:
        kinds: of `mirror` and `shift`.
    """
    n, (height, width, _) = len(pixels), pixels.store.shape
    most = np.array([round(height * FARTHEST), round(width * FARTHEST)]) * ("shift" in kinds)
    mirrored = generator.random(n) < 0.5 * ("mirror" in kinds)
    return AugmentedPixels(pixels.store, pixels.places, mirrored, generator.integers(-most, most + 1, (n, 2)))
