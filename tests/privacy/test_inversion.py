"""Proof by attack: patients' records are read out of a hospital's vector, and cannot be under the defaults.

A first dense layer's gradient holds its inputs: the gradient of a unit's weights, divided by that of its
bias, is the record of a patient who alone made the unit active (Phong et al. 2017, IACR eprint 2017/715;
Geiping et al. 2020, arXiv 2003.14053, proposition 3.1). With one patient every active unit shows the
record. A coordinator that chooses the weights needs no such luck: it sends units with ascending thresholds
of one column, so that neighbours differ by the patients between two thresholds (Fowl et al. 2022, arXiv
2110.13057). Both attacks read what the local engine's coordinator really receives.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State, Sums
from fedcohort.analyses.train.stages import TrainAnalysis
from fedcohort.engines import local as engine
from fedcohort.node.answer import Node, answer
from fedcohort.protection.fixed_point import from_ring, ring_from_bytes, shape_of
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study
from fedcohort.vector import Vector
from fedcohort.wire.messages import Contribution, Message, Task

pytestmark = pytest.mark.training

Floats = NDArray[np.float64]
BOUNDS = {"age": (18, 90), "bmi": (15, 45), "bp": (80, 200), "chol": (100, 400), "glucose": (50, 250)}
"""Values are spread evenly within them, so that no guess is better than another."""
LOW, HIGH = np.array(list(BOUNDS.values()), float).T
PATIENTS, UNITS = 16, 256
"""Patients of each hospital; units of the first layer."""
PRIVACY = fc.Privacy(epsilon=1.5)
CLOSE = 0.01
"""A record is read when every value is known to this share of its column's bounds."""


def records(n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({name: draw.uniform(*limits, n) for name, limits in BOUNDS.items()})
    return frame.assign(ill=draw.integers(0, 2, n), patient_id=[f"p{seed}-{index}" for index in range(n)])


def values(frames: Sequence[pd.DataFrame]) -> Floats:
    """The secret: (n, columns), each within [0, 1] of its bounds."""
    rows = np.asarray(pd.concat(frames)[list(BOUNDS)], float)
    return np.asarray((rows - LOW) / (HIGH - LOW))


def study(train: fc.Train, protection: str, privacy: fc.Privacy | None = None) -> Study:
    columns = {name: fc.Numeric(*limits) for name, limits in BOUNDS.items()}
    cohort = fc.Cohort(columns=dict(columns), label=fc.Binary("ill"), split=None)
    whole = {"name": "attacked", "cohort": cohort, "analysis": train, "privacy": privacy}
    return Study.model_validate({**whole, "protection": protection})


def wide_model(**changes: object) -> fc.Train:
    """A researcher's own model, of one layer of many units; all else is private training's default."""
    start = keras.Input((len(BOUNDS),))
    hidden = keras.layers.Dense(UNITS, "relu")(start)
    model = keras.Model(start, keras.layers.Dense(1, "sigmoid")(hidden))
    return fc.Train.private(json.loads(model.to_json()), importance=False, **changes)


@dataclass
class Attacker:
    """A coordinator that keeps what hospital a sends it and what it opens, and may choose the weights."""

    crafty: bool
    sent: list[Vector] = field(default_factory=list)
    opened: list[Vector] = field(default_factory=list)
    middle: Floats = field(default_factory=lambda: (LOW + HIGH) / 2)
    scale: Floats = field(default_factory=lambda: (HIGH - LOW) / 2)

    def listen(self, study: Study, task: Task, reply: Message) -> None:
        """Read the integers at the end of a contribution as if nothing hid them."""
        if task.phase == "train" and isinstance(reply, Contribution):
            layout = build_analysis(study).layout(State(task.phase, task.round, task.arrays))
            wide, narrow = shape_of(layout, len(task.roster)).sizes
            ring = ring_from_bytes(reply.body[-8 * wide - 4 * narrow :], (wide, narrow))
            self.sent.append(from_ring(layout, ring, len(task.roster)))
            self.middle = task.arrays.get("mean", self.middle)
            self.scale = task.arrays.get("deviation", self.scale)

    def next_state(self, state: State, sums: Sums, honest: State) -> State:
        """Note a sum, and ask for the next one of chosen weights, in private training again and again."""
        if state.phase == "train":
            self.opened.append(sums.values)
        if not self.crafty or honest.phase != "train":
            return honest
        middle = honest.arrays.get("mean", self.middle)[0]
        scale = honest.arrays.get("deviation", self.scale)[0]
        thresholds = (np.linspace(LOW[0], HIGH[0], UNITS, endpoint=False) - middle) / scale
        kernel = np.zeros((len(BOUNDS), UNITS))
        kernel[0] = 1.0
        each = 8.0 * scale / (UNITS * (HIGH[0] - LOW[0]))  # so that predictions go from -2 to 2
        parts = kernel.ravel(), -thresholds, np.full(UNITS, each), [-2.0]
        weights = np.concatenate(parts).astype(np.float32)
        return replace(honest, arrays={**honest.arrays, "weights": weights})

    def candidates(self, vectors: Sequence[Vector], units: int = UNITS) -> Floats:
        """Records, as shares of the bounds: one a unit or threshold that anybody seems to have crossed."""
        (name,) = {"gradient", "update"} & vectors[0].keys()
        whole = np.mean([vector[name] for vector in vectors], axis=0)
        kernel = whole[: len(BOUNDS) * units].reshape(len(BOUNDS), units)
        both = np.vstack([kernel, whole[kernel.size :][:units]])
        if self.crafty:
            both = both - np.append(both[:, 1:], np.zeros((len(both), 1)), axis=1)
        both = both[:, np.abs(both[-1]) > 2.0**-14]
        found = (both[:-1] / both[-1]).T * self.scale + self.middle
        return np.asarray(np.clip((found - LOW) / (HIGH - LOW), 0, 1))

    def agreed(self) -> Floats:
        """What most units of the default model say, where they all saw the same patient."""
        record: Floats = np.median(self.candidates(self.sent, 128), axis=0)
        return record[None]


def attack(
    patch: pytest.MonkeyPatch, study: Study, frames: dict[str, pd.DataFrame], *, crafty: bool
) -> Attacker:
    """Run the study through the local engine under an attacker's eyes."""
    attacker = Attacker(crafty)

    def heard(node: Node, message: Message) -> Message:
        reply = answer(node, message)
        if node.site == "a" and isinstance(message, Task):
            attacker.listen(study, message, reply)
        return reply

    honest = TrainAnalysis.update

    def update(self: TrainAnalysis, state: State, sums: Sums) -> State:
        return attacker.next_state(state, sums, honest(self, state, sums))

    loaders = {site: partial(table_from_frame, frame) for site, frame in frames.items()}
    with patch.context() as inside:
        inside.setattr(engine, "answer", heard)
        inside.setattr(TrainAnalysis, "update", update)  # only the coordinator calls it
        engine.run_local(study, loaders, lambda _: None)
    return attacker


def share_read(candidates: Floats, secret: Floats) -> float:
    """Which share of the patients has a candidate that is right in every column."""
    if not len(candidates):
        return 0.0
    apart = np.abs(candidates[None] - secret[:, None])
    return float((apart.max(2).min(1) < CLOSE).mean())


def distance(candidates: Floats, secret: Floats) -> float:
    """From a patient to the nearest candidate, as a mean share of the bounds."""
    return float(np.abs(candidates[None] - secret[:, None]).mean(2).min(1).mean())


def no_better_than_guesses(candidates: Floats, secret: Floats) -> bool:
    """Than as many records drawn from the declared bounds: read nobody, and come no closer."""
    guesses = np.random.default_rng(9).random((max(1, len(candidates)), len(BOUNDS)))
    near = distance(candidates, secret) if len(candidates) else 1.0
    return share_read(candidates, secret) == 0 and near > 0.8 * distance(guesses, secret)


ONE_EACH = {site: records(1, seed) for seed, site in enumerate("abc")}
ONE_LONG_STEP = {"rounds": 1, "learning_rate": 20.0}
WARDS = {site: records(PATIENTS, seed) for seed, site in enumerate("abc")}


def test_a_patient_is_read_out_of_one_update_of_the_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator follows the protocol; nothing is hidden, and hospital a has one patient to train on."""
    asked = study(fc.Train(rounds=1, importance=False), "none")
    attacker = attack(monkeypatch, asked, ONE_EACH, crafty=False)
    assert distance(attacker.agreed(), values([ONE_EACH["a"]])) < 0.001


def test_masks_show_the_same_coordinator_no_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = study(fc.Train(rounds=1, importance=False), "masks")
    attacker = attack(monkeypatch, asked, ONE_EACH, crafty=False)
    assert share_read(attacker.candidates(attacker.sent, 128), values([ONE_EACH["a"]])) == 0
    assert distance(attacker.agreed(), values([ONE_EACH["a"]])) > 0.1


def test_the_sum_of_wards_shows_nobody_where_the_weights_are_the_first_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = study(fc.Train(rounds=1, importance=False), "masks")
    attacker = attack(monkeypatch, asked, WARDS, crafty=False)
    assert share_read(attacker.candidates(attacker.opened, 128), values(list(WARDS.values()))) == 0


def test_chosen_weights_read_most_of_a_ward_out_of_one_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = study(wide_model(**ONE_LONG_STEP), "none")
    attacker = attack(monkeypatch, asked, WARDS, crafty=True)
    assert share_read(attacker.candidates(attacker.sent), values([WARDS["a"]])) > 0.6


def test_masks_hide_whose_records_chosen_weights_read_and_not_the_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sum of hospitals is a sum over their patients: against this only noise helps."""
    attacker = attack(monkeypatch, study(wide_model(**ONE_LONG_STEP), "masks"), WARDS, crafty=True)
    assert no_better_than_guesses(attacker.candidates(attacker.sent), values([WARDS["a"]]))
    assert share_read(attacker.candidates(attacker.opened), values(list(WARDS.values()))) > 0.6


@pytest.mark.parametrize("protection", ["none", "masks"])
def test_under_privacy_chosen_weights_read_nobody_in_all_rounds_together(
    monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    """All else is at its default; the attacker asks 200 times for the same, and takes the mean."""
    attacker = attack(monkeypatch, study(wide_model(), protection, PRIVACY), WARDS, crafty=True)
    assert len(attacker.opened) == len(attacker.sent) == 200
    assert no_better_than_guesses(attacker.candidates(attacker.sent), values([WARDS["a"]]))
    assert no_better_than_guesses(attacker.candidates(attacker.opened), values(list(WARDS.values())))


def test_it_is_the_noise_that_stops_them_and_not_the_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fedcohort.node.noise.discrete_gaussian", lambda sigma, size: np.zeros(size, np.int64)
    )
    attacker = attack(monkeypatch, study(wide_model(rounds=3), "masks", PRIVACY), WARDS, crafty=True)
    assert share_read(attacker.candidates(attacker.opened), values(list(WARDS.values()))) > 0.6
