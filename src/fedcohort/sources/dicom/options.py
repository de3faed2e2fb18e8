"""What becomes of a hospital's images, said once: in a TOML file, on the command line, or in Python.

table = "images"
vouched = false

[rendering]
height = 128
width = 128
window = { center = 40, width = 400 }

[columns.finding]
keyword = "ImageComments"
levels = ["benign", "malignant"]
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fedcohort.columns import Frozen, Identifier, validated
from fedcohort.errors import ConfigError
from fedcohort.sources.dicom.columns import DicomColumn, known_columns
from fedcohort.sources.dicom.pixels import Rendering

MAX_FILE_BYTES = 1_000_000


class DicomOptions(Frozen):
    """What becomes of a folder of images.

    Attributes:
        columns: name to attribute, in addition to patient_id and image.
        vouched: somebody at the site answers that these images have no texts drawn into them.
    """

    table: Identifier = "images"
    rendering: Rendering = Field(default_factory=Rendering)
    columns: dict[Identifier, DicomColumn] = Field(default_factory=dict, max_length=200)
    vouched: Annotated[bool, Field(strict=True)] = False


def columns_of(keywords: tuple[str, ...], declared: Mapping[str, DicomColumn]) -> dict[str, DicomColumn]:
    """Columns from keywords that need no words, and from a site's own declarations.

    Raises:
        ConfigError: a keyword is not known, or a column is named twice.
    """
    columns: dict[str, DicomColumn] = dict(declared)
    for keyword in keywords:
        for name, column in known_columns(keyword).items():
            if name in columns:
                raise ConfigError(f"columns: {name} is declared twice")
            columns[name] = column
    return columns


def read_options(path: Path | None, given: Mapping[str, Any], keywords: tuple[str, ...]) -> DicomOptions:
    """Options from a file, if there is one, under those given in words.

    Args:
        given: as in the file; what stands in its `rendering` comes before the file's.
        keywords: columns that need no words.
    Raises:
        ConfigError: names the file and every wrong field.
    """
    content = _content(path) if path is not None else {}
    rendering = {**content.get("rendering", {}), **given.get("rendering", {})}
    where = str(path) if path is not None else "options"
    made = validated(DicomOptions, {**content, **given, "rendering": rendering}, where)
    return made.model_copy(update={"columns": columns_of(keywords, made.columns)})


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: more than {MAX_FILE_BYTES:,} bytes; is it a file of options?")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the file by --options") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(f'{path}: not TOML; write such as: table = "images"') from None
