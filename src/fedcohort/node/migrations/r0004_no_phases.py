"""A round's place in the study's sequence says what it asks: nobody counts how often a phase was asked."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Drop `phases` of the newest contributions."""
    with op.batch_alter_table("contributions") as table:
        table.drop_column("phases")
