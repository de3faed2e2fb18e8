"""kill -9 between spending and answering, in a real process: paid once, and answered alike."""

import multiprocessing
import os
import signal
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.engines.local import FAR_FUTURE, Simulated
from fedcohort.node.answer import Node, answer
from fedcohort.node.ledger import released
from fedcohort.node.records import Cost, Spending, Stored, StoredProposal
from fedcohort.node.store import SqlNodeStore
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study
from fedcohort.wire.messages import Approval, Contribution, Task
from fedcohort.wire.signing import state_digest
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.processes

Moment = Literal["before it is spent", "after it was spent"]


class Mortal(SqlNodeStore):
    """A store whose process ends before or after it has made a contribution and its cost durable."""

    moment: Moment

    def keep(self, stored: Stored, cost: Cost | None = None, spending: Spending | None = None) -> None:
        if self.moment == "after it was spent":
            super().keep(stored, cost, spending)
        os.kill(os.getpid(), signal.SIGKILL)


def study() -> Study:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
    promised = fc.Privacy(epsilon=1.5, delta=1e-5)
    return fc.Study(name="killed", cohort=cohort, analysis=fc.Describe(), privacy=promised, protection="none")


def node(store: SqlNodeStore) -> Node:
    asked = study()
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"age": draw.uniform(18, 90, 50), "ill": draw.integers(0, 2, 50)})
    approval = Approval(asked.hash, "a", approved=True, max_rounds=9, expires_at=FAR_FUTURE)
    store.propose(StoredProposal(asked.hash, asked.canonical, "ada", bytes(32), bytes(64)))
    store.decide(asked.hash, "approved", b"approved")
    keys, load = Simulated().join("a"), partial(table_from_frame, frame)
    return Node("a", 10, store, keys, load, lambda _: approval)


def task() -> Task:
    phase = build_analysis(study()).start().phase
    return Task(study().hash, 0, 0, phase, {}, state_digest(phase, 0, {}), ("a",))


def _answer(path: str, moment: Moment) -> None:
    store = Mortal(Path(path), exclusive=True)
    store.moment = moment
    answer(node(store), task())


def killed(path: Path, moment: Moment) -> int | None:
    process = multiprocessing.get_context("spawn").Process(target=_answer, args=(str(path), moment))
    process.start()
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def counts(store: SqlNodeStore) -> set[int]:
    cost = store.cost(study().hash)
    return set() if cost is None else {one.count for one in released(cost)}


def test_a_node_killed_after_it_spent_answers_with_what_it_paid_for(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    assert killed(path, "after it was spent") == -signal.SIGKILL
    with closing(SqlNodeStore(path)) as store:
        paid = store.last(study().hash)
        assert paid is not None
        assert counts(store) == {1}
        for _ in range(2):
            found = answer(node(store), task())
            assert isinstance(found, Contribution)
            assert found.body == paid.integers, "the very noise that was paid for, and none anew"
        assert counts(store) == {1}
        assert [event["kind"] for event in store.events()].count("release") == 1


def test_a_node_killed_before_it_spent_has_spent_and_said_nothing(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    assert killed(path, "before it is spent") == -signal.SIGKILL
    with closing(SqlNodeStore(path)) as store:
        assert store.last(study().hash) is None
        assert counts(store) == set()
        assert isinstance(answer(node(store), task()), Contribution)
        assert counts(store) == {1}


@pytest.mark.parametrize("moment", ["before it is spent", "after it was spent"])
def test_a_node_that_is_killed_again_and_again_pays_once(tmp_path: Path, moment: Moment) -> None:
    path = tmp_path / "node.db"
    for _ in range(3):
        killed(path, moment)
    with closing(SqlNodeStore(path)) as store:
        answer(node(store), task())
        assert counts(store) == {1}
