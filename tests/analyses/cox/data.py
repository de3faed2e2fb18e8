"""Real patients, where FEDCOHORT_DATA has them, with the columns and the formula of a Cox regression."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import arff

import fedcohort as fc

SEX = fc.Categorical(["f", "m"])
Asked = tuple[pd.DataFrame, dict[str, Any], str]


def _path(name: str) -> Path:
    path = Path(os.environ.get("FEDCOHORT_DATA", "data")) / "tabular" / name
    if not path.exists():
        pytest.skip(f"needs {name} in {path.parent}; set FEDCOHORT_DATA")
    return path


def _arff(name: str) -> pd.DataFrame:
    frame = pd.DataFrame(arff.loadarff(_path(name))[0])
    for column in frame.select_dtypes(object):
        frame[column] = frame[column].str.decode("utf-8").replace("?", None)
    return frame


def _known(raw: pd.DataFrame, time: pd.Series, event: pd.Series) -> pd.DataFrame:
    ids = [f"p{row:05d}" for row in range(len(raw))]
    return raw.assign(time=time.astype(float), event=event.astype(int), patient_id=ids)


def whas500() -> Asked:
    """500 patients after a heart attack, Worcester."""
    raw = _arff("whas500.arff")
    frame = pd.DataFrame(
        {
            "age": raw["age"].astype(float),
            "bmi": raw["bmi"].astype(float),
            "gender": np.where(raw["gender"] == "1", "f", "m"),
            "chf": np.where(raw["chf"] == "1", "yes", "no"),
        }
    )
    columns = {
        "age": fc.Numeric(20, 110),
        "bmi": fc.Numeric(10, 60),
        "gender": SEX,
        "chf": fc.Categorical(["no", "yes"]),
    }
    return _known(frame, raw["lenfol"], raw["fstat"] == "1"), columns, "age + bmi + C(gender) + chf"


def flchain() -> Asked:
    """7,874 people of Olmsted County, free light chains; some miss creatinine."""
    raw = _arff("flchain.arff")
    frame = pd.DataFrame(
        {
            "age": raw["age"].astype(float),
            "kappa": raw["kappa"].astype(float),
            "creatinine": raw["creatinine"].astype(float),
            "sex": np.where(raw["sex"] == "M", "m", "f"),
        }
    )
    columns = {
        "age": fc.Numeric(50, 110),
        "kappa": fc.Numeric(0, 30),
        "creatinine": fc.Numeric(0, 15),
        "sex": SEX,
    }
    return _known(frame, raw["futime"], raw["death"] == "dead"), columns, "age + kappa + creatinine + sex"


def lung() -> Asked:
    """228 patients with lung cancer, many values missing; sex as its study coded it."""
    raw = pd.read_csv(_path("lung.csv"))
    frame = pd.DataFrame({"age": raw["age"], "sex": raw["sex"], "wt_loss": raw["wt.loss"]}).astype(float)
    columns = {"age": fc.Numeric(30, 100), "sex": fc.Numeric(1, 2), "wt_loss": fc.Numeric(-50, 100)}
    return _known(frame, raw["time"], raw["status"] == 1), columns, "age + sex + wt_loss"


ALL = {one.__name__: one for one in (whas500, flchain, lung)}


def design(frame: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """The columns as numbers, levels as an indicator of the second; written anew."""
    numbers = {}
    for name, kind in columns.items():
        if isinstance(kind, fc.Categorical):
            numbers[name] = (frame[name] == kind.levels[1]).astype(float).where(frame[name].notna())
        else:
            numbers[name] = frame[name]
    return pd.DataFrame(numbers)


def uneven(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Three hospitals, of a tenth, three tenths and six tenths of the patients."""
    order = np.random.default_rng(7).permutation(len(frame))
    parts = np.split(order, [len(frame) // 10, len(frame) * 4 // 10])
    return {name: frame.iloc[part] for name, part in zip(("small", "middle", "large"), parts, strict=True)}
