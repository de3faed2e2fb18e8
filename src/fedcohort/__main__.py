"""`python -m fedcohort` is the command `fedcohort`."""

import os

from fedcohort.cli import main
from fedcohort.parent import ENDS_WITH_STDIN, end_with_parent

if __name__ == "__main__":
    if os.environ.pop(ENDS_WITH_STDIN, None):
        end_with_parent()
    main()
