"""The result of a study: metrics by round, a report, the trained model, and plots."""

import contextlib
import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedcohort.analyses.figures import figures_by_round, figures_of
from fedcohort.analyses.model_of import model_of
from fedcohort.errors import StudyError
from fedcohort.figure_texts import TERMINAL, grid, said
from fedcohort.figures import Figure, Key, Row, Table, Value, first_table
from fedcohort.researcher.inference import Predictor
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Evaluate, SavedModel, Study, Train, Trained, parse_study, read_saved_model
from fedcohort.table import Table as Rows
from fedcohort.texts.look_up import page_texts
from fedcohort.vector import Array

if TYPE_CHECKING:
    from fedcohort.researcher.picture import Picture

METRIC_COLUMNS = ["round", "split", "loss", "accuracy", "auc", "seconds"]
MOST_IN_SHORT = 12
"""Cells of a table that a result is printed with."""


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

        train = self._train
        return to_keras(model_of(self.study, train.model), self._weights)

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
    def has_model(self) -> bool:
        """Whether the study trained a model, or measured one."""
        return bool(self.arrays) or isinstance(self.study.analysis, Evaluate)

    @property
    def saved_model(self) -> Trained:
        """The model that was trained or measured, as `fc.Evaluate(model=result)` takes it.

        Raises:
            StudyError: there is none.
        """
        from fedcohort.models.saved import weights_to_base64

        if isinstance(self.study.analysis, Evaluate):
            return self.study.analysis.model
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
        Raises:
            StudyError: the study trained nothing.
        """
        from fedcohort.analyses.trained.keras import KerasAtWork

        model = self.predictor.model
        if not isinstance(model, KerasAtWork):
            raise StudyError(
                f"study {self.study.name!r}: its model is not of Keras; take result.predict(frame)"
            )
        arranged = list(model.encoded(self._table(frame)).values())
        return arranged[0] if len(arranged) == 1 else arranged

    def _table(self, frame: pd.DataFrame) -> Rows:
        """A table is in the order of its patients; numbered as they stand, rows keep the frame's order."""
        cohort = self.predictor.cohort
        numbered = frame.assign(**{cohort.patient_id: [f"{row:012d}" for row in range(len(frame))]})
        return table_from_frame(numbered, cohort, self.study.seed)

    def predict(self, frame: pd.DataFrame) -> NDArray[np.floating[Any]]:
        """Predict rows of the cohort's columns: (n_rows, outputs)."""
        return self.predictor.predict_table(self._table(frame))

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """What the study shows: tables, curves, bars, matrices and intervals (`fedcohort.figures`)."""
        asked = {"analysis": self.study.analysis.model_dump(), "cohort": self.study.cohort.model_dump()}
        return figures_of(asked, self.report)

    @property
    def table(self) -> pd.DataFrame:
        """The study's main table as numbers, such as a row a described column, metric or coefficient.

        The ends of an interval stand beside its number as `_low` and `_high`, and how far a number may be off
        as `_error`; levels are a mapping to their counts.

        Raises:
            StudyError: the study has no table.
        """
        main = first_table(self.figures)
        if main is None:
            raise StudyError(f"study {self.study.name!r}: its results have no table; see result.report")
        rows = [_numbers(main, row) for row in main.rows]
        names = [f"{column.name}{end}" for column in main.columns for end in ("", "_low", "_high", "_error")]
        columns = [name for name in names if any(name in row for row in rows)]
        index = pd.Index([row.name for row in main.rows], name=main.index.name)
        return pd.DataFrame(rows, index=index, columns=columns)

    def plot(self) -> "Picture":
        """Each metric by round, train and test, of a training; else the figures that can be drawn.

        Raises:
            StudyError: there is nothing to draw, or matplotlib is not installed.
        """
        try:
            from fedcohort.researcher.picture import drawable, side_by_side
        except ModuleNotFoundError:
            raise StudyError(
                "result.plot needs matplotlib: "
                "pip install -c constraints.txt '.[dashboard]' in fedcohort's folder"
            ) from None
        drawn = figures_by_round(self.rows) or drawable(self.figures)
        if not drawn:
            raise StudyError(f"study {self.study.name!r}: no metrics by round to draw, nor another figure")
        return side_by_side(drawn, page_texts())

    def save(self, folder: str | Path) -> Path:
        """Write study.json, report.json, metrics.csv, a model as model.json, a trained one as model.keras.

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
        if self.has_model:
            (path / "model.json").write_text(self.saved_model.model_dump_json(), encoding="utf-8")
        if self.arrays:
            self.model.save(path / "model.keras")

    def __repr__(self) -> str:
        return f"Result({self.study.name!r}: {self._in_short or ', '.join(self.report)})"

    @property
    def _in_short(self) -> str:
        """A small table column by column, and what goes with it; a large one is no short answer."""
        main = first_table(self.figures)
        words = None if main is None else grid(main, page_texts(), TERMINAL)
        if main is None or words is None or len(main.rows) * len(main.columns) > MOST_IN_SHORT:
            return ", ".join(figure.name for figure in self.figures)
        parts = [
            f"{column} {row[0]} {row[place]}"
            for place, column in enumerate(words.head[1:], start=1)
            for row in words.rows
            if row[place]
        ]
        return ", ".join([*parts, *(said(note, page_texts()) for note in main.notes)])

    def _repr_html_(self) -> str:
        """The figures that are tables, or can be said as one."""
        texts, parts = page_texts(), [_html([[self.study.name]], None)]
        for figure in self.figures:
            words = grid(figure, texts, TERMINAL)
            if words is not None:
                above = [words.title, *(said(note, texts) for note in figure.notes)]
                parts += [_html([[line] for line in above], None), _html(words.rows, words.head)]
        return "".join(parts)


def _html(rows: list[list[str]], head: list[str] | None) -> str:
    """A table of words; nothing in them is read as HTML."""
    frame = pd.DataFrame(rows, columns=head)
    return frame.to_html(index=False, header=head is not None, border=0)


def _numbers(table: Table, row: Row) -> dict[str, object]:
    """The row's cells by the names of their columns."""
    found: dict[str, object] = {}
    for column, cell in zip(table.columns, row.cells, strict=True):
        match cell:
            case Value():
                ends = {"_low": cell.low, "_high": cell.high, "_error": cell.error}
                found[column.name] = cell.number
                found |= {f"{column.name}{end}": value for end, value in ends.items() if value is not None}
            case tuple():
                found[column.name] = {said(level.name, page_texts()): level.value.number for level in cell}
            case str() | Key():
                found[column.name] = said(cell, page_texts())
    return found


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
    trained = study.analysis.trains and (path / "model.json").exists()
    return Result(study, report, rows, _saved_arrays(path) if trained else {})


def _read(text: str) -> int | float | str:
    """A value of metrics.csv, to the bit."""
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def _saved_arrays(path: Path) -> dict[str, Array]:
    from fedcohort.models.saved import read_weights

    saved = read_saved_model(path)
    if not isinstance(saved, SavedModel):
        raise StudyError(
            f"{path / 'model.json'}: not the Keras model that the study trained; save the result again"
        )
    return {
        "weights": read_weights(saved.weights),
        "mean": np.array(saved.mean, dtype=np.float64),
        "deviation": np.array(saved.deviation, dtype=np.float64),
    }
