"""Survival in public clinical data: days `t`, event `e`, and columns of levels `arm` and `stratum`."""

from typing import Any

import numpy as np
import pandas as pd

from . import clinical

COLUMNS = {"t": float, "e": int, "arm": int, "stratum": int}


def _survival(raw: pd.DataFrame, time: str, **columns: Any) -> pd.DataFrame:
    """From day 1 on: day 0 is before the first place of a grid."""
    frame = raw[["patient_id"]].assign(t=np.maximum(raw[time], 1), **columns)
    return frame.astype({name: kind for name, kind in COLUMNS.items() if name in frame})


def whas500() -> pd.DataFrame:
    """Arms by heart failure, strata by gender."""
    raw = clinical.whas500()
    return _survival(raw, "lenfol", e=raw["fstat"], arm=raw["chf"], stratum=raw["gender"])


def flchain() -> pd.DataFrame:
    """Arms by sex, strata by age; `cause` is 1 for a death of the circulation, 2 for any other, 0 alive."""
    raw = clinical.flchain()
    dead = raw["death"] == "dead"
    cause = np.where(~dead, 0, np.where(raw["chapter"] == "Circulatory", 1, 2))
    return _survival(raw, "futime", e=dead, arm=raw["sex"] == "M", stratum=raw["age"] > 65, cause=cause)


def lung() -> pd.DataFrame:
    """Arms by sex, strata by age."""
    raw = clinical.lung()
    return _survival(raw, "time", e=raw["status"], arm=raw["sex"] == 1, stratum=raw["age"] > 65)


ALL = {one.__name__: one for one in (whas500, flchain, lung)}
