"""PS3.15's Basic Application Level Confidentiality Profile as data: what is done to each attribute.

The actions of table E.1-1 stand in `ps3_15_table_e1_1.csv` (edition 2026c): X removed, Z emptied
or a dummy, D a dummy, U a new UID; of several (X/Z, X/D, ...) the one is taken that keeps the
file valid whatever type the attribute has in it. What the table does not list, the profile
keeps; here it is kept only as a number, a term of `dicom_terms`, a UID or a moved date.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

Action = Literal["remove", "empty", "dummy", "uid", "items", "keep"]

_ACTIONS: Mapping[str, Action] = {
    "X": "remove",
    "Z": "empty",
    "D": "dummy",
    "U": "uid",
    "Z/D": "dummy",
    "X/Z": "empty",
    "X/D": "dummy",
    "X/Z/D": "dummy",
    "X/Z/U*": "items",
}
EDITION = "DICOM PS3.15 2026c table E.1-1"


@cache
def table_e1_1() -> Mapping[int, str]:
    """Tag to the action as the standard writes it, such as X/Z/D."""
    text = files("fedcohort.sources.dicom").joinpath("ps3_15_table_e1_1.csv").read_text(encoding="ascii")
    return {int(row["tag"], 16): row["action"] for row in csv.DictReader(text.splitlines())}


def action(tag: int) -> Action:
    """What is done to an attribute; curves, overlays, group lengths and private attributes are removed."""
    group = tag >> 16
    repeating = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF
    if group % 2 or repeating or group < 0x0008 or not tag & 0xFFFF or group == 0xFFFC:
        return "remove"
    return _ACTIONS[table_e1_1().get(tag, "")] if tag in table_e1_1() else "keep"
