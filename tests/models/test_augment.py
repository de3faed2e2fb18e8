"""Pictures as training sees them: mirrored and moved by rows, the same however they are read."""

import numpy as np
import pytest

from fedcohort.models.augment import AugmentedPixels, augmented
from fedcohort.models.inputs import RECORD, Inputs
from fedcohort.pixels import Pixels, stored

pytestmark = pytest.mark.training


def pictures(n: int = 40, shape: tuple[int, int, int] = (28, 14, 2)) -> Pixels:
    draw = np.random.default_rng(0)
    return stored([draw.integers(0, 256, shape, np.uint8) for _ in range(n)], shape)


def seen(*, mirrored: bool, moved: tuple[int, int]) -> np.ndarray:
    pixels = pictures(1)
    found = AugmentedPixels(pixels.store, pixels.places, np.array([mirrored]), np.array([moved])).take()
    return np.asarray(found[0])


def test_a_mirrored_picture_exchanges_left_and_right() -> None:
    np.testing.assert_array_equal(seen(mirrored=True, moved=(0, 0)), pictures(1).take()[0][:, ::-1])


def test_a_moved_picture_repeats_its_edge() -> None:
    whole = pictures(1).take()[0]
    found = seen(mirrored=False, moved=(2, -1))
    np.testing.assert_array_equal(found[2:, :-1], whole[:-2, 1:])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[:, -1], found[:, -2])


def test_without_either_it_is_the_picture() -> None:
    np.testing.assert_array_equal(seen(mirrored=False, moved=(0, 0)), pictures(1).take()[0])


@pytest.mark.parametrize("kinds", [("mirror",), ("shift",), ("mirror", "shift")])
def test_kinds_draw_what_they_say_and_no_further(kinds: tuple[str, ...]) -> None:
    found = augmented(pictures(2_000, (28, 14, 1)), kinds, np.random.default_rng(1))
    assert abs(found.mirrored.mean() - 0.5 * ("mirror" in kinds)) < 0.06
    farthest = np.abs(found.shifts).max(0)
    assert farthest.tolist() == ([2, 1] if "shift" in kinds else [0, 0])
    assert set(found.shifts[:, 0].tolist()) == ({-2, -1, 0, 1, 2} if "shift" in kinds else {0})


def test_a_row_is_seen_alike_in_pieces_and_in_any_order() -> None:
    found = augmented(pictures(), ("mirror", "shift"), np.random.default_rng(1))
    whole, some = found.take(), np.array([7, 3, 31, 3])
    np.testing.assert_array_equal(found.take(some), whole[some])
    np.testing.assert_array_equal(found[some].take(), whole[some])
    np.testing.assert_array_equal(found[some][1:].take(slice(0, 2)), whole[some[1:3]])
    np.testing.assert_array_equal(
        np.concatenate([found.take(slice(0, 13)), found.take(slice(13, 40))]), whole
    )


def test_the_record_beside_it_and_what_was_stored_stay() -> None:
    record, pixels = np.ones((40, 3), np.float32), pictures()
    before = pixels.take().copy()
    inputs = Inputs({RECORD: record, "scan": pixels})
    other = inputs.augmented(("mirror", "shift"), np.random.default_rng(1))
    assert other.parts[RECORD] is record
    assert not np.array_equal(other.take()[1], before)
    np.testing.assert_array_equal(inputs.take()[1], before)
    assert inputs.augmented((), np.random.default_rng(1)) is inputs
    assert (other.fits, other.image_bytes) == (inputs.fits, inputs.image_bytes)
