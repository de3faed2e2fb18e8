"""The tables of the first release: nothing to change."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """What is there is what this revision means."""
