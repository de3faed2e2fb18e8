"""Texts drawn into the pixels: refused, masked or vouched for."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from fedcohort.sources.catalogue.stored_images import decode_image
from fedcohort.sources.dicom.pixels import Mask
from tests.sources.dicom.files import PIXELS, SECONDARY_CAPTURE, image, write
from tests.sources.dicom.rows import SMALL, load


@pytest.mark.parametrize(
    ("attributes", "options", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, {}, "texts are drawn into the pixels"),
        ({"BurnedInAnnotation": "YES"}, {"vouched": True}, "texts are drawn into the pixels"),
        ({"BurnedInAnnotation": "MAYBE"}, {}, "neither YES nor NO"),
        ({"BurnedInAnnotation": None, "Modality": "US"}, {}, "--mask"),
        ({"BurnedInAnnotation": None, "Modality": "XA"}, {}, "--mask"),
        ({"BurnedInAnnotation": None, "SOPClassUID": SECONDARY_CAPTURE}, {}, "secondary capture"),
        ({"BurnedInAnnotation": None, "ConversionType": "WSD"}, {}, "secondary capture"),
        ({"BurnedInAnnotation": None, "ImageType": ["DERIVED", "SECONDARY"]}, {}, "secondary capture"),
        ({"RecognizableVisualFeatures": "YES"}, {}, "can be recognised"),
    ],
)
def test_texts_drawn_into_the_pixels_are_refused(
    tmp_path: Path, attributes: dict[str, object], options: dict[str, Any], reason: str
) -> None:
    rows, (refused,) = load(write(tmp_path / "a.dcm", image(PIXELS, **attributes)), **options)
    assert rows == []
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ({"BurnedInAnnotation": None}, {}),
        ({"BurnedInAnnotation": None, "Modality": "US"}, {"vouched": True}),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, {}),
        ({"RecognizableVisualFeatures": "YES"}, {"vouched": True}),
    ],
)
def test_an_image_without_them_or_vouched_for_comes_in(
    tmp_path: Path, attributes: dict[str, object], options: dict[str, Any]
) -> None:
    rows, refused = load(write(tmp_path / "a.dcm", image(PIXELS, **attributes)), **options)
    assert (len(rows), refused) == (1, [])


def test_a_mask_covers_what_is_drawn(tmp_path: Path) -> None:
    rendering = SMALL.model_copy(update={"masks": (Mask(x=1, y=0, width=1, height=1),)})
    rows, _ = load(write(tmp_path / "a.dcm", image(PIXELS, BurnedInAnnotation="YES")), rendering=rendering)
    assert decode_image(rows[0]["image"], 2, 2, 1).reshape(2, 2).tolist() == [[0, 0], [128, 64]]
