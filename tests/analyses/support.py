"""Small tables, and a federation of them in this process."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import fedcohort as fc
from tests.build import simulated

SPLIT = {"train": 0, "test": 1, "valid": 2}


def patients(n: int, seed: int) -> pd.DataFrame:
    """Correlated columns with missing values, a binary label, three stages and a length of stay."""
    draw = np.random.default_rng(seed)
    age = draw.uniform(20, 90, n)
    pressure = 90 + 0.6 * age + draw.normal(0, 12, n)
    pressure[draw.random(n) < 0.1] = np.nan
    smoker = np.array(["no", "yes", None], object)[draw.choice(3, n, p=[0.6, 0.3, 0.1])]
    risk = 1 / (1 + np.exp(-(age - 55) / 10 - (smoker == "yes")))
    frame = pd.DataFrame({"age": age, "pressure": pressure, "smoker": smoker})
    frame["disease"] = (draw.random(n) < risk).astype(int)
    frame["stage"] = np.digitize(risk + draw.normal(0, 0.2, n), [0.3, 0.7])
    frame["days"] = np.clip(2 + 10 * risk + draw.normal(0, 1, n), 0, 30)
    frame["set"] = draw.choice(["train", "test"], n, p=[0.7, 0.3])
    frame["patient_id"] = [f"p{seed}-{row}" for row in range(n)]
    return frame


FRAMES: Mapping[str, pd.DataFrame] = {"a": patients(120, 1), "b": patients(60, 2), "c": patients(25, 3)}
POOLED = pd.concat(FRAMES.values(), ignore_index=True)
COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(18, 100),
    "pressure": fc.Numeric(50, 220),
    "smoker": fc.Categorical(["no", "yes"]),
}


def study(analysis: Any, label: Any = "disease", **cohort: Any) -> fc.Study:
    """A study over the frames."""
    words = {"columns": COLUMNS, "label": label, "split": "set", **cohort}
    return fc.Study(name="test", cohort=fc.Cohort(**words), analysis=analysis)


def run(asked: fc.Study, frames: Mapping[str, pd.DataFrame] = FRAMES) -> fc.Result:
    """Run it over simulated hospitals."""
    return simulated(asked, frames)


def encoded(frame: pd.DataFrame, mean: Any, deviation: Any) -> np.ndarray:
    """What the model sees, written anew: standardised numbers, mean where missing, levels one-hot."""
    numbers = ((frame[["age", "pressure"]] - mean) / deviation).fillna(0.0).to_numpy()
    levels = np.stack([frame["smoker"] == "no", frame["smoker"] == "yes", frame["smoker"].isna()], axis=1)
    return np.concatenate([numbers, levels.astype(float)], axis=1)


def train_moments() -> tuple[pd.Series, pd.Series]:
    """Mean and deviation of the pooled training rows."""
    rows = POOLED.loc[POOLED["set"] == "train", ["age", "pressure"]]
    return rows.mean(), rows.std(ddof=0)
