"""Pictures as training may see them besides: mirrored, or moved a little, another way in every round.

A lesion is one in a mirror, and at another place too; a network that has few pictures to learn from
learns so from more (Shorten and Khoshgoftaar 2019, Journal of Big Data 6:60). What was stored is not
changed, and nothing but training sees it so.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.pixels import Bytes, Pixels, Rows

FARTHEST = 1 / 14
"""Of a picture's height and width that it is moved at most; its edge is repeated behind it."""


@dataclass(frozen=True, repr=False, eq=False)
class Jittered(Pixels):
    """Pixels that are mirrored and moved as they are read.

    Attributes:
        mirrored: (n,) whether left and right are exchanged.
        moved: (n, 2) pixels downwards and to the right.
    """

    mirrored: NDArray[np.bool_]
    moved: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "Jittered":
        return Jittered(self.store, self.places[rows], self.mirrored[rows], self.moved[rows])

    def take(self, rows: Rows = slice(None)) -> Bytes:
        """(n, height, width, channels): read these rows as they are to be seen."""
        pictures, moved, mirrored = super().take(rows), self.moved[rows], self.mirrored[rows]
        height, width, _ = self.store.shape
        down = np.clip(np.arange(height) - moved[:, :1], 0, height - 1)
        right = np.clip(np.arange(width) - moved[:, 1:], 0, width - 1)
        right = np.where(mirrored[:, None], width - 1 - right, right)
        seen: Bytes = pictures[np.arange(len(pictures))[:, None, None], down[:, :, None], right[:, None, :]]
        return seen


def jittered(pixels: Pixels, kinds: Collection[str], generator: np.random.Generator) -> Jittered:
    """Draw for each row how it is seen.

    Args:
        kinds: of `mirror` and `shift`.
    """
    n, (height, width, _) = len(pixels), pixels.store.shape
    most = np.array([round(height * FARTHEST), round(width * FARTHEST)]) * ("shift" in kinds)
    mirrored = generator.random(n) < 0.5 * ("mirror" in kinds)
    return Jittered(pixels.store, pixels.places, mirrored, generator.integers(-most, most + 1, (n, 2)))
