"""Everything that leaves a hospital in a private study, byte by byte, stands in its ledger as a release.

The messages are those that the nodes of the local engine really send. Of each, what the coordinator has said
itself is nothing new; the rest is integers of blocks, each of which the ledger has charged; or, under
masks, sealed parcels and shares, whose lengths do not depend on the data.
"""

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from functools import partial

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State, Sums
from fedcohort.analyses.train.stages import TrainAnalysis
from fedcohort.engines import local as engine
from fedcohort.errors import StudyFailedError
from fedcohort.node.answer import Node, answer
from fedcohort.node.ledger import epsilons, released
from fedcohort.protection.fixed_point import shape_of
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import SavedModel, Study
from fedcohort.vector import MAX_ROWS, Array, FixedPoint, Layout
from fedcohort.wire.messages import Contribution, Help, Message, OpenRequest, Task
from fedcohort.wire.signing import request_digest

SITES, ROUNDS, EPSILON = "abc", 6, 1.5
TIMES = ("compute_us", "seal_us")
"""For the page; they would tell about patients, and are left out under privacy."""
Sent = list[tuple[Node, Message, Message]]


def study(protection: str = "none", changes: dict[str, object] | None = None) -> Study:
    columns: dict[str, fc.Numeric | fc.Categorical] = {
        "age": fc.Numeric(18, 90),
        "sex": fc.Categorical((0, 1)),
    }
    whole = {
        "name": "private",
        "cohort": fc.Cohort(columns=columns, label=fc.Binary("ill"), split=fc.Holdout(0.3)),
        "analysis": fc.Train.private(rounds=ROUNDS, **(changes or {})),
        "privacy": fc.Privacy(epsilon=EPSILON, delta=1e-3, evaluate_every=2),
        "protection": protection,
    }
    return Study.model_validate(whole)


def patients(n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    ids = [f"p{seed}-{index}" for index in range(n)]
    age, sex, ill = draw.uniform(18, 90, n), draw.integers(0, 2, n), draw.integers(0, 2, n)
    return pd.DataFrame({"patient_id": ids, "age": age, "sex": sex, "ill": ill})


def description() -> Study:
    whole = study().model_dump() | {"analysis": fc.Describe()}
    return Study.model_validate({**whole, "privacy": fc.Privacy(epsilon=EPSILON, delta=1e-3)})


def evaluation() -> Study:
    """Of a logistic model on age and three places for sex, with weights that nobody trained."""
    weights = base64.b64encode(np.array([2, 0, 1, 0, -0.5], "<f4").tobytes()).decode()
    saved = SavedModel(model="logistic", weights=weights, mean=(54.0,), deviation=(36.0,))
    return Study.model_validate({**description().model_dump(), "analysis": fc.Evaluate(model=saved)})


def sent(patch: pytest.MonkeyPatch, asked: Study, sizes: Mapping[str, int]) -> Sent:
    """Every answer of every node, and the question that it answers."""
    found: Sent = []

    def heard(node: Node, message: Message) -> Message:
        reply = answer(node, message)
        found.append((node, message, reply))
        return reply

    with patch.context() as inside:
        inside.setattr(engine, "answer", heard)
        frames = {site: patients(n, seed) for seed, (site, n) in enumerate(sizes.items())}
        loaders = {site: partial(table_from_frame, frame) for site, frame in frames.items()}
        engine.run_local(asked, loaders, lambda _: None)
    return found


def said_before(reply: Message, question: Message, site: str) -> set[str]:
    """Fields that repeat the question, or name the site."""
    known = {"study_hash", "round", "attempt", "state_digest"}
    same = {name for name in known if getattr(reply, name, None) == getattr(question, name, None)}
    return same | ({"site"} if getattr(reply, "site", None) == site else set())


def blocks(asked: Study, task: Task) -> Layout:
    return build_analysis(asked).layout(State(task.phase, task.round, task.arrays))


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(study(), marks=pytest.mark.training),
        pytest.param(
            study(changes={"algorithm": "fedavg", "batch_size": 16, "learning_rate": 0.5}),
            marks=pytest.mark.training,
        ),
        description(),
        pytest.param(evaluation(), marks=pytest.mark.training),
    ],
    ids=["fedsgd", "fedavg", "describe", "evaluate"],
)
def test_every_byte_that_leaves_is_of_a_block_that_the_ledger_has_charged(
    monkeypatch: pytest.MonkeyPatch, asked: Study
) -> None:
    left: dict[str, Counter[str]] = {site: Counter() for site in SITES}
    nodes: dict[str, Node] = {}
    for node, question, reply in sent(monkeypatch, asked, dict.fromkeys(SITES, 60)):
        assert isinstance(question, Task)
        assert isinstance(reply, Contribution)
        rest = {field.name for field in fields(reply)} - said_before(reply, question, node.site)
        assert rest == {"body", "extras", "signature", *TIMES}
        assert (reply.extras, reply.signature) == ({}, b"")
        assert (reply.compute_us, reply.seal_us) == (0, 0)
        layout = blocks(asked, question)
        wide, narrow = shape_of(layout, len(SITES)).sizes
        assert len(reply.body) == 8 * wide + 4 * narrow
        assert wide + narrow == sum(block.size for block in layout)
        left[node.site].update(block.name for block in layout)
        nodes[node.site] = node
    for site, node in nodes.items():
        cost = node.store.cost(asked.hash)
        assert cost is not None
        charged = {one.what: one.count for one in released(cost)}
        if "update" in left[site]:  # computed from noisy steps; it is they that are charged
            assert charged.pop("gradient") % ROUNDS == 0
            assert left[site].pop("update") == ROUNDS
        assert left[site] == charged
        assert epsilons(cost)[0] <= EPSILON


@pytest.mark.training
def test_under_masks_nothing_else_leaves_whose_length_depends_on_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, lengths = study("masks"), []
    for sizes in ({"a": 30, "b": 40, "c": 50}, {"a": 300, "b": 40, "c": 35}):
        seen = []
        for node, question, reply in sent(monkeypatch, asked, sizes):
            rest = {field.name for field in fields(reply)} - said_before(reply, question, node.site)
            if isinstance(question, OpenRequest):
                assert isinstance(reply, Help)
                assert rest == {"body", "request", "signature"}
                assert reply.request == request_digest(question)
                seen.append((node.site, question.round, len(reply.body), 0))
            else:
                assert isinstance(question, Task)
                assert isinstance(reply, Contribution)
                assert rest == {"body", "extras", "signature", *TIMES}
                assert (reply.compute_us, reply.seal_us) == (0, 0)
                parcels = sum(map(len, reply.extras.values()))
                seen.append((node.site, question.round, len(reply.body), parcels))
        lengths.append(sorted(seen))
    assert lengths[0] == lengths[1]


@pytest.mark.training
def test_a_block_that_was_not_planned_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger charges what is planned, and a node sends nothing else."""
    planned, unplanned = TrainAnalysis.layout, FixedPoint("rows", (1,), MAX_ROWS)
    monkeypatch.setattr(TrainAnalysis, "layout", lambda self, state: (*planned(self, state), unplanned))
    with pytest.raises(StudyFailedError, match="study-invalid"):
        sent(monkeypatch, study(), dict.fromkeys(SITES, 30))


@pytest.mark.training
@pytest.mark.parametrize("large", [40, 400])
def test_a_hospital_s_weight_is_the_same_whatever_its_count_of_patients(
    monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """fedavg's mean is over hospitals: each moves the model by what it learned, over how many there are."""
    monkeypatch.setattr(
        "fedcohort.node.noise.discrete_gaussian", lambda sigma, size: np.zeros(size, np.int64)
    )
    steps: dict[str, object] = {
        "algorithm": "fedavg",
        "batch_size": 1000,
        "learning_rate": 0.5,
        "local_epochs": 1,
    }
    asked = study(changes=steps).model_copy(
        update={"cohort": study().cohort.model_copy(update={"split": None})}
    )
    asked = Study.model_validate({**asked.model_dump(), "min_sites": 1})
    frames = {"a": patients(20, 0), "b": patients(large, 1)}

    def moved(frames: dict[str, pd.DataFrame]) -> Array:
        found: list[Array] = []
        honest = TrainAnalysis.update

        def update(self: TrainAnalysis, state: State, sums: Sums) -> State:
            following = honest(self, state, sums)
            if state.phase == "train":
                found.append(following.arrays["weights"] - state.arrays["weights"])
            return following

        with monkeypatch.context() as inside:
            inside.setattr(TrainAnalysis, "update", update)
            loaders = {site: partial(table_from_frame, frame) for site, frame in frames.items()}
            engine.run_local(asked, loaders, lambda _: None)
        return found[0]

    alone = [moved({site: frame}) for site, frame in frames.items()]
    np.testing.assert_allclose(moved(frames), np.mean(alone, axis=0), atol=1e-6)
