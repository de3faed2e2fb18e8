"""What tests of many rooms are made of: a ward, its patients, studies of them, and what a database holds."""

import contextlib
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import fedcohort as fc
from fedcohort.columns import Categorical, Numeric
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.study import Binary, Cohort, Describe, Study, Train
from fedcohort.wire.messages import Event, Message

COLUMNS = {
    "age": Declared(Numeric(18, 100), "years"),
    "bp": Declared(Numeric(80, 200), "mm Hg"),
    "sex": Declared(Categorical(("f", "m"))),
    "ill": Declared(Categorical((0, 1))),
}
TABLE = "ward"


def ward_rows(site: int, n_patients: int = 60) -> list[dict[str, object]]:
    """Patients whose illness goes with age and blood pressure; every seventh has no blood pressure."""
    draw = np.random.default_rng([7, site])
    rows: list[dict[str, object]] = []
    for number in range(n_patients):
        age, bp = float(draw.integers(18, 101)), float(draw.integers(80, 201))
        ill = int(draw.random() < 1 / (1 + np.exp(-(0.08 * (age - 60) + 0.03 * (bp - 130) + 0.3 * site))))
        known = None if number % 7 == 0 else bp
        sex = "fm"[number % 2]
        rows.append({"patient_id": f"s{site}p{number:04}", "age": age, "bp": known, "sex": sex, "ill": ill})
    return rows


def write_ward(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A site's database of one table, `ward`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, wide_table(TABLE, COLUMNS), COLUMNS, rows, MADE_UP)
    return path


def frame_of(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The same patients for `fc.simulate`."""
    return pd.DataFrame(list(rows))


def cohort(**changes: Any) -> Cohort:
    """All patients of `ward`, every column with its kind."""
    columns = {"age": Numeric(18, 100), "bp": Numeric(80, 200), "sex": Categorical(("f", "m"))}
    return Cohort(**{"table": TABLE, "columns": columns, "label": "ill", **changes})


def describe_study(name: str, **changes: Any) -> Study:
    """One round, no TensorFlow."""
    return Study(**{"name": name, "cohort": cohort(), "analysis": Describe(), **changes})


def explicit(study: Study) -> Study:
    """The study as `fed.submit` would send it when all sites offer the columns, without asking them."""
    return study.model_copy(update={"cohort": study.cohort.model_copy(update={"label": Binary("ill")})})


def with_units(study: Study) -> Study:
    """The study as hospitals' declarations make it, for `simulate_wards`, whose frames declare no units."""
    columns = {
        name: kind.model_copy(update={"unit": COLUMNS[name].unit}) if isinstance(kind, Numeric) else kind
        for name, kind in study.cohort.schema_.items()
    }
    return study.model_copy(update={"cohort": study.cohort.model_copy(update={"columns": columns})})


def train_study(name: str, rounds: int, **changes: Any) -> Study:
    """FedAvg of a logistic regression."""
    train = Train(model="logistic", rounds=rounds, batch_size=16, importance=False)
    return Study(**{"name": name, "cohort": cohort(), "analysis": train, **changes})


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def changed(cohort: Cohort, **fields: object) -> Cohort:
    """The cohort with other fields, checked anew."""
    return Cohort.model_validate({**dict(cohort), **fields})


def protected_by(protection: str) -> dict[str, Any]:
    """A study's fields for a protection; with a key as small as any, where it has a key of a size."""
    return {"protection": protection, **({"key_bits": 2048} if protection == "paillier" else {})}


def simulated(asked: Study, frames: Mapping[str, pd.DataFrame]) -> fc.Result:
    """What the study finds at simulated hospitals."""
    return fc.simulate(dict(frames)).run(asked, progress=False)


def code_of(message: Message) -> str:
    """The code of a message that refuses."""
    assert isinstance(message, Event), message
    return message.code


def selected(database: Path | str, query: str) -> list[tuple[Any, ...]]:
    """The rows that a SQLite file gives for a query."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()
