"""How long a test waits before it says that something never happens.

A slow machine is no fault of the software: what normally takes a second is given minutes, by this one
constant (`test_patience.py` refuses others). Where a time limit of the software itself is under test,
the limit is the software's, and the test waits for its effect as long as this.

It is well below the time after which `scripts/test` ends a test that hangs, so that a wait that is in vain
fails its own test, in words, and takes no other test with it.
"""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 180.0


def until(condition: Callable[[], bool], what: str = "what it waits for") -> None:
    """Wait for a condition; fails the test, naming what did not come true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {PATIENCE_SECONDS:g} s: {what}")
        time.sleep(0.02)
