"""Where a node's answers are computed: one at a time, and so that heartbeats go on.

What may take long (selecting, compiling, training) is done in a thread of its own. What
took no time when it was last asked is done where the question was read: to hand a round
over to a thread and back costs as much of the processor as to answer it.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fedcohort.wire.messages import Contribution, Help, Message

QUICK_SECONDS = 0.02
"""Far below what a heartbeat may be late."""


@dataclass(frozen=True)
class Worker:
    """One thread, and what needs none.

    Attributes:
        quick: kind, study and phase of questions that were answered quickly last time.
        readying: what the thread makes ready meanwhile.
        clock: seconds, from any beginning.
    """

    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "fedcohort-node"))
    quick: set[tuple[str, str, str]] = field(default_factory=set)
    readying: set[Future[None]] = field(default_factory=set)
    clock: Callable[[], float] = time.perf_counter

    async def answer(self, question: Message, reply: Callable[[Message], Message]) -> Message:
        """What `reply` says to a question; the caller asks the next one when it has this answer."""
        study_hash, phase = getattr(question, "study_hash", ""), getattr(question, "phase", "")
        kind, began = (type(question).__name__, study_hash, phase), self.clock()
        if kind in self.quick and not self.readying:
            said = reply(question)
        else:
            said = await asyncio.get_running_loop().run_in_executor(self.thread, reply, question)
        if isinstance(said, Contribution | Help) and self.clock() - began < QUICK_SECONDS:
            self.quick.add(kind)
        else:
            self.quick.discard(kind)
        return said

    def make_ready(self, work: Callable[[], None]) -> None:
        """Do this before the next answer, without waiting for it."""
        ready = self.thread.submit(work)
        self.readying.add(ready)
        ready.add_done_callback(self.readying.discard)
