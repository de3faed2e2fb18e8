"""The result of a study: metrics by round, a report, the trained model, and plots."""

import contextlib
import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedcohort.columns import Number
from fedcohort.errors import StudyError
from fedcohort.known import column_name, figure_text, levels_text, metric_name
from fedcohort.researcher.inference import Predictor
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import SavedModel, Study, Train, parse_study, read_saved_model
from fedcohort.table import Table
from fedcohort.vector import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRIC_COLUMNS = ["round", "split", "loss", "accuracy", "auc", "seconds"]


@dataclass(frozen=True)
class Result:
    """The outcome of one study.

    Attributes:
        report: JSON-able; `describe`, `test`, `importance` and the like, by analysis.
        rows: one mapping a round and split.
        arrays: `weights`, `mean` and `deviation` of a trained model; empty otherwise.
    """

    study: Study
    report: dict[str, Any]
    rows: list[dict[str, Any]]
    arrays: dict[str, Array] = field(default_factory=dict)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row a round and split: at least round, split, loss, accuracy, auc, seconds."""
        frame = pd.DataFrame(self.rows)
        return frame.reindex(
            columns=[*METRIC_COLUMNS, *(name for name in frame if name not in METRIC_COLUMNS)]
        )

    @cached_property
    def model(self) -> Any:  # noqa: ANN401
        """The trained Keras model; it takes what `features(frame)` gives.

        Raises:
            StudyError: the study trained nothing.
        """
        from fedcohort.models.saved import to_keras

        return to_keras(self.predictor.model, self._weights)

    @property
    def _train(self) -> Train:
        if not isinstance(self.study.analysis, Train) or not self.arrays:
            raise StudyError(f"study {self.study.name!r}: a {self.study.analysis.kind} trains no model")
        return self.study.analysis

    @property
    def _weights(self) -> NDArray[np.float32]:
        return self.arrays["weights"].astype(np.float32)

    @cached_property
    def predictor(self) -> Predictor:
        """The model as it is used on new patients."""
        return Predictor(self.study, self.saved_model)

    @property
    def saved_model(self) -> SavedModel:
        """The model with its encoding, as `fc.Evaluate(model=result)` takes it."""
        from fedcohort.models.saved import weights_to_base64

        return SavedModel(
            model=self._train.model,
            weights=weights_to_base64(self._weights),
            mean=tuple(np.nan_to_num(self.arrays["mean"]).tolist()),
            deviation=tuple(np.nan_to_num(self.arrays["deviation"]).tolist()),
        )

    def features(self, frame: pd.DataFrame) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Encode rows as the model takes them.

        Returns:
            (n_rows, n_features) or (n_rows, height, width, channels); a list of both, in the order of
            the model's inputs, when it has several.
        """
        arranged = list(self.predictor.encoded(self._table(frame)).values())
        return arranged[0] if len(arranged) == 1 else arranged

    def _table(self, frame: pd.DataFrame) -> Table:
        """A table is in the order of its patients; numbered as they stand, rows keep the frame's order."""
        cohort = self.predictor.cohort
        numbered = frame.assign(**{cohort.patient_id: [f"{row:012d}" for row in range(len(frame))]})
        return table_from_frame(numbered, cohort, self.study.seed)

    def predict(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Predict rows of the cohort's columns: (n_rows, outputs)."""
        return self.predictor.predict_table(self._table(frame))

    def plot(self) -> "Figure":
        """Loss and AUC (or accuracy) by round, train and test.

        Raises:
            StudyError: there is nothing to draw, or matplotlib is not installed.
        """
        try:
            from fedcohort.researcher.picture import Picture
        except ModuleNotFoundError:
            raise StudyError(
                "result.plot needs matplotlib: "
                "pip install -c constraints.txt '.[dashboard]' in fedcohort's folder"
            ) from None
        if not self.rows:
            raise StudyError(f"study {self.study.name!r}: no metrics by round to draw")
        figure = Picture(figsize=(9, 3.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, 3), ("loss", "accuracy", "auc"), strict=True):
            for split, rows in self.metrics.groupby("split"):
                axes.plot(rows["round"], rows[name].astype(float), label=str(split))
            axes.set(xlabel="round", title=name)
            axes.legend()
        return figure

    def save(self, folder: str | Path) -> Path:
        """Write study.json, report.json, metrics.csv and, when there is one, model.json and model.keras.

        Raises:
            StudyError: the folder cannot be made, or not written into; the result is as it was.
        """
        path = Path(folder)
        try:
            self._write(path)
        except OSError as error:
            raise StudyError(
                f"{error.filename or path}: {error.strerror or error}; save into a folder that can be written"
            ) from error
        return path

    def _write(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "study.json").write_bytes(self.study.canonical)
        (path / "report.json").write_text(json.dumps(self.report, indent=2), encoding="utf-8")
        self.metrics.to_csv(path / "metrics.csv", index=False)
        if self.arrays:
            (path / "model.json").write_text(self.saved_model.model_dump_json(), encoding="utf-8")
            self.model.save(path / "model.keras")

    def __repr__(self) -> str:
        last = {name: self.report[name] for name in ("train", "test") if name in self.report}
        figures = [(split, row, name) for split, row in last.items() for name in _named(row)]
        parts = [f"{split} {self._in_unit(name)} {figure_text(row, name, 3)}" for split, row, name in figures]
        parts += [f"{self._yes} counts as yes"] if parts and self._yes else []
        return f"Result({self.study.name!r}: {', '.join(parts) or ', '.join(self.report)})"

    @property
    def _yes(self) -> str:
        """A yes-or-no label's column and the level of it that counts as yes."""
        label = self.report.get("label", {})
        return f"{label['column']} {label['positive']!r}" if "positive" in label else ""

    def _in_unit(self, metric: str) -> str:
        """A metric's name, with the label's unit where the metric has it."""
        label = self.study.cohort.typed_label
        return metric_name(metric, label.unit if isinstance(label, Number) else None)

    def _repr_html_(self) -> str:
        """The last metrics, or the described columns, as a table."""
        if "describe" in self.report:
            columns = self.report["describe"].items()
            rows = {column_name(name, row): _described(row) for name, row in columns}
            frame = pd.DataFrame(rows).T.fillna("")
        else:
            measured = {
                split: {
                    self._in_unit(name): figure_text(self.report[split], name)
                    for name in _named(self.report[split])
                }
                for split in ("train", "test")
                if split in self.report
            }
            frame = pd.DataFrame(measured).T.fillna("")
        name = f"{self.study.name}: {self._yes} counts as yes" if self._yes else self.study.name
        title = pd.Series([name]).to_frame().to_html(index=False, header=False, border=0)
        return title + frame.to_html(border=0)


def load_result(folder: str | Path) -> Result:
    """A result as `result.save(folder)` has kept it: study, report, metrics and the model, if there is one.

    Raises:
        StudyError: the folder holds no saved result, or a file of it is damaged.
    """
    path = Path(folder)
    try:
        study = parse_study((path / "study.json").read_bytes(), str(path / "study.json"))
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
        with (path / "metrics.csv").open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            header = table.fieldnames
            rows = [{name: _read(text) for name, text in row.items() if text} for row in table]
    except OSError as error:
        raise StudyError(
            f"{error.filename}: {error.strerror}; give the folder that result.save wrote"
        ) from error
    except ValueError as error:
        raise StudyError(
            f"{path}: report.json or metrics.csv is damaged ({error}); save the result again"
        ) from None
    if not isinstance(report, dict) or header is None:
        raise StudyError(f"{path}: report.json or metrics.csv is empty; save the result again")
    return Result(study, report, rows, _saved_arrays(path) if (path / "model.json").exists() else {})


def _read(text: str) -> int | float | str:
    """A value of metrics.csv, to the bit."""
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def _saved_arrays(path: Path) -> dict[str, Array]:
    from fedcohort.models.saved import read_weights

    saved = read_saved_model(path)
    return {
        "weights": read_weights(saved.weights),
        "mean": np.array(saved.mean, dtype=np.float64),
        "deviation": np.array(saved.deviation, dtype=np.float64),
    }


def _described(row: dict[str, Any]) -> dict[str, str]:
    """A column's figures for a table, each with its interval, and its levels in words."""
    names = [name for name in ("n", "missing", "mean", "std") if name in row]
    levels = {"levels": levels_text(row)} if row.get("levels") else {}
    return {name: figure_text(row, name) for name in names} | levels


def _named(row: Mapping[str, Any]) -> list[str]:
    """The metrics of a split, without the ends of their intervals."""
    measured = [name for name, value in row.items() if isinstance(value, float)]
    return [name for name in measured if not name.endswith(("_low", "_high", "_error"))]
