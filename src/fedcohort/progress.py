"""A progress bar for one study where somebody looks, and lines where the output goes to a file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fedcohort.study import Study, Train


@dataclass
class Follower:
    """What is told while a study runs."""

    bar: Progress
    task: TaskID
    lines: Console | None
    said: str = ""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A round's metrics."""
        for row in rows:
            shown = (name for name in ("loss", "accuracy", "auc", "mae") if isinstance(row.get(name), float))
            text = "  ".join(f"{name} {row[name]:.3f}" for name in shown)
            self.bar.update(self.task, completed=int(row["round"]), metrics=f"{row['split']}: {text}")

    def note(self, words: str) -> None:
        """What the study waits for; nothing when it waits no longer."""
        if words != self.said:
            self.said = words
            self.bar.update(self.task, metrics=words)
            if self.lines is not None and words:
                self.lines.print(words, markup=False, highlight=False)


@contextmanager
def follow(study: Study, *, enabled: bool) -> Iterator[Follower]:
    """Show rounds, the newest metrics and what a study waits for; at a good end the bar is full."""
    rounds = study.analysis.rounds if isinstance(study.analysis, Train) else 1
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console()
    seen = console.is_terminal or console.is_jupyter
    with Progress(
        *columns, TextColumn("{task.fields[metrics]}"), console=console, disable=not (enabled and seen)
    ) as bar:
        task = bar.add_task(study.name, total=rounds, metrics="")
        lines = Console(stderr=True, soft_wrap=True) if enabled and not seen else None
        yield Follower(bar, task, lines)
        bar.update(task, completed=rounds)
