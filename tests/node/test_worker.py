"""Where answers are computed: what took long goes to a thread, so that heartbeats go on."""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

from fedcohort.node.worker import QUICK_SECONDS, Worker
from fedcohort.wire.messages import Contribution, Event, Message, Task
from tests.patience import PATIENCE_SECONDS

STUDY = "ab" * 32
SLOW_SECONDS = 2 * QUICK_SECONDS


def task(number: int, phase: str = "train") -> Task:
    return Task(STUDY, number, 0, phase, {}, bytes(32), ("a",))


class Clock:
    """Time passes when an answer takes it, and at no other moment, however busy the machine is."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def timed() -> tuple[Worker, Clock]:
    clock = Clock()
    return Worker(clock=clock), clock


def places(
    worker: tuple[Worker, Clock], questions: Sequence[tuple[Task, float]], *, refuse: bool = False
) -> list[str]:
    """Where each question was answered, in turn, when it takes so many seconds."""
    found = []
    asked, clock = worker

    async def ask() -> None:
        loop_thread = threading.current_thread()
        for question, seconds in questions:

            def reply(message: Message, seconds: float = seconds) -> Message:
                found.append("here" if threading.current_thread() is loop_thread else "thread")
                clock.seconds += seconds
                return Event("refusal") if refuse else Contribution(STUDY, 0, 0, "a", bytes(32), b"")

            await asked.answer(question, reply)

    asyncio.run(ask())
    return found


def test_what_took_no_time_in_the_round_before_is_answered_where_it_was_read() -> None:
    assert places(timed(), [(task(0), 0), (task(1), 0), (task(2), 0)]) == ["thread", "here", "here"]


def test_what_took_long_goes_to_the_thread_until_it_is_quick_again() -> None:
    rounds = [(task(0), SLOW_SECONDS), (task(1), 0), (task(2), SLOW_SECONDS), (task(3), 0), (task(4), 0)]
    assert places(timed(), rounds) == ["thread", "thread", "here", "thread", "here"]


def test_each_phase_is_quick_or_slow_by_itself() -> None:
    rounds = [(task(0, "moments"), 0), (task(1), SLOW_SECONDS), (task(2), 0), (task(3, "moments"), 0)]
    assert places(timed(), rounds) == ["thread", "thread", "thread", "here"]


def wait_for(event: threading.Event) -> None:
    event.wait(PATIENCE_SECONDS)


def test_nothing_is_answered_beside_what_is_made_ready() -> None:
    worker, end = timed(), threading.Event()
    assert places(worker, [(task(0), 0)]) == ["thread"]
    worker[0].make_ready(partial(wait_for, end))
    threading.Timer(0.1, end.set).start()
    assert places(worker, [(task(1), 0)]) == ["thread"]
    assert end.is_set()


def test_refusals_leave_no_trace_in_memory() -> None:
    worker = timed()
    assert places(worker, [(task(number, f"phase-{number}"), 0) for number in range(5)], refuse=True) == (
        ["thread"] * 5
    )
    assert not worker[0].quick
