"""A progress bar for one study; silent where nobody looks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedcohort.study import Study, Train


@contextmanager
def follow_rows(study: Study, *, enabled: bool) -> Iterator[Callable[[Sequence[Mapping[str, Any]]], None]]:
    """Show rounds and the newest metrics while a study runs.

    Yields:
        a function that takes the rows of a round.
    """
    rounds = study.analysis.rounds if isinstance(study.analysis, Train) else 1
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[metrics]}"), disable=not enabled) as progress:
        task = progress.add_task(study.name, total=rounds, metrics="")

        def on_rows(rows: Sequence[Mapping[str, Any]]) -> None:
            for row in rows:
                shown = (
                    name for name in ("loss", "accuracy", "auc", "mae") if isinstance(row.get(name), float)
                )
                text = "  ".join(f"{name} {row[name]:.3f}" for name in shown)
                progress.update(task, completed=int(row["round"]), metrics=f"{row['split']}: {text}")

        yield on_rows
        progress.update(task, completed=rounds)
