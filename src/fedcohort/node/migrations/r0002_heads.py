"""The newest signed head of each site's event log; some databases of the first release have the table."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make `heads`."""
    op.create_table(
        "heads",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
