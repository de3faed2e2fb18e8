"""Answers that are computed and wait for a person of the hospital, who lets them go or not."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make `held`."""
    op.create_table(
        "held",
        sa.Column("study_hash", sa.String(64), primary_key=True),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("state_digest", sa.LargeBinary, nullable=False),
        sa.Column("integers", sa.LargeBinary, nullable=False),
        sa.Column("shape", sa.Text, nullable=False),
        sa.Column("roster", sa.Text, nullable=False),
        sa.Column("site_state", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
