"""Names and dates drawn into the pixels: which images are refused for them, unless masked or vouched for.

BurnedInAnnotation is PS3.3, C.7.6.1.1.1. Where a device does not fill it, the modalities are
suspected whose devices draw the patient's name into the picture, and so are screen shots,
scanned films and what else is a secondary capture (PS3.15, E.3.1).
"""

from fedcohort.sources.dicom.values import DataSet

BURNED_IN, RECOGNIZABLE = 0x00280301, 0x00280302
_SOP_CLASS, _MODALITY, _IMAGE_TYPE, _CONVERSION = 0x00080016, 0x00080060, 0x00080008, 0x00080064
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SUSPECTED = frozenset(
    [
        "US",
        "IVUS",
        "XA",
        "RF",
        "SC",
        "OT",
        "ES",
        "XC",
        "GM",
        "OP",
        "OPT",
        "DG",
        "DOC",
        "HC",
        "IO",
        "PX",
        "BDUS",
        "EPS",
        "LS",
    ]
)
_REMEDY = "mask it by --mask, or vouch for these images by --vouched"


def check_burned_in(image: DataSet, masked: bool, vouched: bool) -> None:
    """Refuse an image that shows, or may show, who the patient is.

    Args:
        masked: rectangles are painted over; the engineer has seen what they cover.
        vouched: somebody at the site answers for these images. An image that itself says YES is refused
            all the same, unless masked.
    Raises:
        DicomError: names the tag.
    """
    flag = image.text(BURNED_IN)
    if flag not in (None, "YES", "NO"):
        raise image.refusal(BURNED_IN, "is neither YES nor NO")
    if flag == "YES" and not masked:
        raise image.refusal(BURNED_IN, "is YES: texts are drawn into the pixels; mask them by --mask")
    if image.text(RECOGNIZABLE) == "YES" and not vouched:
        raise image.refusal(RECOGNIZABLE, "is YES: the patient can be recognised; leave it out, or --vouched")
    if flag == "NO" or masked or vouched:
        return
    if image.text(_MODALITY) in _SUSPECTED:
        raise image.refusal(
            BURNED_IN, f"is missing in a modality that draws texts into the pixels: {_REMEDY}"
        )
    secondary = (image.text(_SOP_CLASS) or "").startswith(_SECONDARY_CAPTURE)
    if secondary or _CONVERSION in image or "SECONDARY" in image.texts(_IMAGE_TYPE)[1:2]:
        raise image.refusal(BURNED_IN, f"is missing in a secondary capture, such as a screen shot: {_REMEDY}")
