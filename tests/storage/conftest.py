"""The small database of the sources' tests."""

from tests.sources.conftest import write_ward

__all__ = ["write_ward"]
