"""Real cohorts with the ranges that a hospital would declare: clinical ones, not looked up in the data.

flchain: 7,871 people of Olmsted County with free light chains; whas500: 500 patients after a heart attack;
lung: 228 patients with lung cancer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import arff

import fedcohort as fc

SEX = fc.Categorical(("f", "m"))
SHARES = (0.45, 0.3, 0.15, 0.1)
"""Of the patients at each of the hospitals, which are of no one size."""


@dataclass(frozen=True)
class Clinical:
    """A cohort: patients with `time` and `event`, what columns are declared as, and a regression's terms.

    Attributes:
        horizon: in the unit of time, the end of a private survival analysis.
    """

    name: str
    frame: pd.DataFrame
    columns: Mapping[str, Any]
    terms: str
    horizon: float

    def sites(
        self, generator: np.random.Generator, shares: tuple[float, ...] = SHARES
    ) -> dict[str, pd.DataFrame]:
        """The patients, dealt out to hospitals at random."""
        order = generator.permutation(len(self.frame))
        ends = np.round(np.cumsum(shares) * len(order)).astype(int)
        parts = np.split(order, ends[:-1])
        return {f"site_{i}": self.frame.iloc[np.sort(part)] for i, part in enumerate(parts)}


def _arff(path: Path) -> pd.DataFrame:
    frame = pd.DataFrame(arff.loadarff(path)[0])
    for name in frame.select_dtypes(object):
        words = frame[name].str.decode("utf-8")
        frame[name] = words.where(words != "?")
    return frame


def _cohort(
    name: str, frame: pd.DataFrame, columns: Mapping[str, Any], terms: str, horizon: float
) -> Clinical:
    kept = frame.dropna().query("time > 0").reset_index(drop=True)
    kept["patient_id"] = [f"{name}-{row}" for row in range(len(kept))]
    return Clinical(name, kept, columns, terms, horizon)


def flchain(folder: Path) -> Clinical:
    """Age, sex, logarithms of both light chains, and whether a gammopathy was known."""
    raw = _arff(folder / "tabular" / "flchain.arff")
    frame = pd.DataFrame(
        {
            "age": raw["age"].astype(float),
            "log_kappa": np.log(raw["kappa"]),
            "log_lambda": np.log(raw["lambda"]),
            "sex": raw["sex"].str.lower(),
            "mgus": (raw["mgus"] == "yes").astype(float),
            "time": raw["futime"].astype(float),
            "event": (raw["death"] == "dead").astype(int),
        }
    )
    columns = {
        "age": fc.Numeric(50, 100),
        "log_kappa": fc.Numeric(-2.5, 2.5),
        "log_lambda": fc.Numeric(-2.5, 2.5),
        "sex": SEX,
        "mgus": fc.Numeric(0, 1),
    }
    return _cohort("flchain", frame, columns, "age + log_kappa + log_lambda + C(sex) + mgus", 5000)


def whas500(folder: Path) -> Clinical:
    """Age, heart rate, diastolic pressure, body mass, sex, and congestive heart failure."""
    raw = _arff(folder / "tabular" / "whas500.arff")
    frame = pd.DataFrame({name: raw[name].astype(float) for name in ("age", "hr", "diasbp", "bmi", "chf")})
    frame["sex"] = np.where(raw["gender"].astype(float) == 1, "f", "m")
    frame["time"], frame["event"] = raw["lenfol"].astype(float), raw["fstat"].astype(int)
    columns = {
        "age": fc.Numeric(20, 100),
        "hr": fc.Numeric(30, 180),
        "diasbp": fc.Numeric(20, 140),
        "bmi": fc.Numeric(13, 45),
        "chf": fc.Numeric(0, 1),
        "sex": SEX,
    }
    return _cohort("whas500", frame, columns, "age + hr + diasbp + bmi + chf + C(sex)", 2200)


def lung(folder: Path) -> Clinical:
    """Age, performance status and sex."""
    raw = pd.read_csv(folder / "tabular" / "lung.csv")
    frame = pd.DataFrame({"age": raw["age"].astype(float), "ecog": raw["ph.ecog"].astype(float)})
    frame["sex"] = np.where(raw["sex"] == 1, "m", "f")
    frame["time"], frame["event"] = raw["time"].astype(float), raw["status"].astype(int)
    columns = {"age": fc.Numeric(35, 85), "ecog": fc.Numeric(0, 4), "sex": SEX}
    return _cohort("lung", frame, columns, "age + ecog + C(sex)", 900)


ALL: tuple[Callable[[Path], Clinical], ...] = (whas500, flchain, lung)
