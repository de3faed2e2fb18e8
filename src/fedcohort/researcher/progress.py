"""The progress of a study: a bar in a terminal or notebook, lines where the output goes to a file."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedcohort.known import metric_name
from fedcohort.study import Number, Study

Show = Callable[[int | None, str | None], None]
"""Shows finished rounds and a message; None leaves either unchanged."""


@dataclass
class Follower:
    """The display of a running study."""

    show: Show
    lines: Console | None = None
    said: str = ""
    unit: str | None = None
    """The unit of a label that is a number."""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show a round's metrics."""
        for row in rows:
            shown = (name for name in ("loss", "accuracy", "auc", "mae") if isinstance(row.get(name), float))
            text = "  ".join(f"{metric_name(name, self.unit)} {row[name]:.3f}" for name in shown)
            self.show(int(row["round"]), f"{row['split']}: {text}")

    def note(self, words: str) -> None:
        """Show what the study waits for; an empty text when it waits no longer."""
        if words != self.said:
            self.said = words
            self.show(None, words)
            if self.lines is not None and words:
                self.lines.print(printable(words, self.lines), markup=False, highlight=False)


def printable(text: str, console: Console) -> str:
    """The text with what the console's code page lacks escaped: a name in Chinese on a Windows console."""
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


@contextmanager
def follow(study: Study, *, enabled: bool) -> Iterator[Follower]:
    """Show rounds, the newest metrics and what a study waits for; at a good end the bar is full."""
    rounds = study.analysis.n_steps
    label = study.cohort.label
    unit, console = label.unit if isinstance(label, Number) else None, Console()
    if enabled and console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        yield from _in_notebook(study.name, rounds, unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    seen = console.is_terminal or console.is_jupyter
    with Progress(
        *columns, TextColumn("{task.fields[metrics]}"), console=console, disable=not (enabled and seen)
    ) as bar:
        task = bar.add_task(printable(study.name, console), total=rounds, metrics="")

        def show(done: int | None, words: str | None) -> None:
            bar.update(task, completed=done)
            if words is not None:
                bar.update(task, metrics=printable(words, console))

        lines = Console(stderr=True, soft_wrap=True) if enabled and not seen else None
        yield Follower(show, lines, unit=unit)
        show(rounds, None)


def _in_notebook(name: str, rounds: int, unit: str | None) -> Iterator[Follower]:
    """One line of plain text that is updated: rich would need ipywidgets there."""
    from IPython.display import DisplayHandle

    make: Callable[[], Any] = DisplayHandle
    handle, done, said = make(), 0, ""

    def text() -> dict[str, str]:
        return {"text/plain": f"{name}  {done}/{rounds}  {said}".rstrip()}

    def show(now: int | None, words: str | None) -> None:
        nonlocal done, said
        done, said = (done if now is None else now), (said if words is None else words)
        handle.update(text(), raw=True)

    handle.display(text(), raw=True)
    yield Follower(show, unit=unit)
    show(rounds, None)
