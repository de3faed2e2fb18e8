"""Public clinical data, where FEDCOHORT_DATA says that they are, and three uneven hospitals of them."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import arff


def folder() -> Path:
    """Of the tables."""
    given = os.environ.get("FEDCOHORT_DATA")
    if given is None or not (Path(given) / "tabular").is_dir():
        pytest.skip("needs the tables of survival data; FEDCOHORT_DATA names their folder")
    return Path(given) / "tabular"


def whas500() -> pd.DataFrame:
    """Worcester Heart Attack Study: 500 patients (Hosmer, Lemeshow, May 2008)."""
    return _arff("whas500.arff")


def flchain() -> pd.DataFrame:
    """Free light chains and survival: 7,874 inhabitants of Olmsted County (Dispenzieri et al. 2012)."""
    return _arff("flchain.arff")


def lung() -> pd.DataFrame:
    """Advanced lung cancer: 228 patients, many values missing (Loprinzi et al. 1994)."""
    return _numbered(pd.read_csv(folder() / "lung.csv"))


def _arff(name: str) -> pd.DataFrame:
    frame = pd.DataFrame(arff.loadarff(folder() / name)[0])
    for column in frame.columns:
        if frame[column].dtype == object:
            texts = frame[column].str.decode("utf-8")
            numbers = pd.to_numeric(texts, errors="coerce")
            frame[column] = numbers if numbers.notna().all() else texts.where(texts != "?", None)
    return _numbered(frame)


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(patient_id=[f"p{row:05d}" for row in range(len(frame))])


def uneven(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Three hospitals of a half, a third and a sixth of the patients."""
    mixed = frame.iloc[np.random.default_rng(7).permutation(len(frame))]
    ends = [len(frame) // 2, len(frame) * 5 // 6]
    return {"a": mixed.iloc[: ends[0]], "b": mixed.iloc[ends[0] : ends[1]], "c": mixed.iloc[ends[1] :]}
