"""What a run brought."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fetched:
    """What a run brought.

    Attributes:
        files: pages or files that lie in the inbox, of this run.
        absent: types that the server does not have.
        failed: files in which the server says what it could not export.
    """

    files: int
    absent: tuple[str, ...] = ()
    failed: int = 0

    def __str__(self) -> str:
        lines = [f"{self.files} files"]
        if self.absent:
            lines.append(f"the server has no {', '.join(self.absent)}")
        if self.failed:
            lines.append(
                f"{self.failed} files say what the server could not export; read them in the inbox, *-error-*"
            )
        return "\n".join(lines)
