"""`python -m fedcohort` is the command `fedcohort`."""

import os

from fedcohort.cli.app import main
from fedcohort.quickstart.parent_process import ENDS_WITH_STDIN, end_with_parent

if __name__ == "__main__":
    if os.environ.pop(ENDS_WITH_STDIN, None):
        end_with_parent()
    main()
