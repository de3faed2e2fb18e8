"""Once for all: no patient moves a block's integers by more than its noise is sized for (`privacy.plan`).

Every analysis, every block of every stage it has: two tables that differ in one patient, with values that are
extreme, infinite or missing, several rows, and rows of either split; what leaves, before noise, in integers.
"""

import base64
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Draw,
    Gram,
    Proved,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.kinds import KINDS
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.train.private import PrivateStage
from fedcohort.columns import Categorical, Numeric
from fedcohort.privacy.plan import plan_noise
from fedcohort.study import Privacy, SavedModel, Study
from fedcohort.table import Table
from fedcohort.vector import MAX_ROWS, Array, Block, counts

from .at_site import SITES, contributed, distance, integers, rows_of

NUMBERS = {"age": fc.Numeric(18, 90), "bp": fc.Numeric(80, 200), "chol": fc.Numeric(0, 0.6)}
LEVELS: dict[str, Any] = {"sex": fc.Categorical(("f", "m")), "stage": fc.Categorical((1, 2, 3))}
COLUMNS: dict[str, Any] = {**NUMBERS, **LEVELS}
LABELS: dict[str, Any] = {
    "binary": fc.Binary("ill"),
    "classes": fc.Classes("grade", (1, 2, 3)),
    "number": fc.Number(column="score", low=0, high=10),
}
EXTREME = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e39, -1e6, 5e-324, 18.0, 90.0, 200.0)
WIDTH = len(NUMBERS) + 3 + 4
"""Of the record: a level more of each column for what is missing."""
COUNTED = 16.0
"""A site's own count, from which it samples every patient in one step and divides by a power of two."""

Distances = Iterator[tuple[Block, float, float]]


@dataclass(frozen=True)
class Case:
    """A private study, and the tables that it is asked of.

    Attributes:
        tables: how many neighbours are looked at.
        splits: of the rows.
        arrays: a state as a coordinator may choose it, where there is no model.
    """

    study: Study
    tables: int
    splits: int = 3
    arrays: Callable[[np.random.Generator], Mapping[str, Array]] = lambda draw: {}

    @cached_property
    def analysis(self) -> Analysis:
        """As a node builds it."""
        return build_analysis(self.study)


def study(analysis: Any, label: Any, split: Any = "set", columns: Any = None, **privacy: Any) -> Study:
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label, split=split)
    asked = fc.Privacy(**{"epsilon": 1.5, "delta": 1e-5, **privacy})
    return fc.Study(name="neighbours", cohort=cohort, analysis=analysis, privacy=asked)


def saved(kind: str) -> SavedModel:
    n = (WIDTH + 1) * (3 if kind == "classes" else 1)
    weights = base64.b64encode(np.linspace(-3, 3, n).astype("<f4").tobytes()).decode()
    return SavedModel(model="logistic", weights=weights, mean=(54.0, 140.0, 0.3), deviation=(9.0, 20.0, 0.1))


SCORE = fc.Coefficients({"age": 0.1, "sex=m": 0.4, "stage=": 2.0}, intercept=-5.0, missing={"age": 54})


def describe(label: Any, tables: int = 120, columns: Any = None, **privacy: Any) -> Case:
    return Case(study(fc.Describe(), label, None, columns, **privacy), tables, 1)


def train(kind: str, tables: int = 25, rows: int = 1, **changes: Any) -> Case:
    asked = fc.Train.private(model="logistic", rounds=4, **changes)
    return Case(study(asked, LABELS[kind], rows_per_patient=rows, evaluate_every=2, clip=0.5), tables)


def scaling(draw: np.random.Generator) -> dict[str, Array]:
    """Of three numbers and a label, which a coordinator may choose at will."""
    scale = 10.0 ** draw.integers(-3, 4, 4)
    return {"centre": draw.normal(50, 50, 4), "scale": scale, "unit": np.full(1, draw.choice([0.5, 9.0]))}


def places(draw: np.random.Generator) -> dict[str, Array]:
    """Ranks of three numbers by place, in no order."""
    return {"ranks": draw.uniform(-2, 2, (3, 512)), "unit": np.full(1, 0.5)}


FEDAVG: dict[str, Any] = {"algorithm": "fedavg", "batch_size": 16, "learning_rate": 1.0, "local_epochs": 1}


def whereabouts(draw: np.random.Generator) -> dict[str, Array]:
    """Of a Cox regression of three pieces and three columns, such as a coordinator may choose."""
    return {
        "centre": draw.normal(0, 0.3, 3),
        "whiten": np.eye(3) * draw.choice([0.3, 1.0, 1e3, 1e200]),
        "hazard": draw.normal(-2, 2, 3),
        "at": draw.normal(0, draw.choice([0.5, 30.0]), 6),
    }


SURVIVAL = fc.KaplanMeier(grid=(1, 2, 5, 9))


def regress(family: str, label: Any, formula: str = "age + bp:chol + C(stage)", rows: int = 1) -> Case:
    outcome = label.column
    asked = fc.GLM(f"{outcome} ~ {formula}", family=family)
    private = study(asked, label, None, rows_per_patient=rows)
    d = build_analysis(private).regression.p  # type: ignore[attr-defined]
    arrays = {"whiten": np.eye(d), "gamma": np.linspace(0, 0.5, d), "scales": np.array([0.5, 0.5])}
    return Case(private, 100, 1, lambda draw: arrays)


CASES: dict[str, Callable[[], Case]] = {
    "describe": lambda: describe(LABELS["binary"]),
    "describe, 3 rows a patient": lambda: describe(LABELS["number"], rows_per_patient=3),
    "describe, numbers alone": lambda: describe(None, columns=NUMBERS, rows_per_patient=2),
    "describe, levels alone": lambda: describe(LABELS["classes"], columns=LEVELS, rows_per_patient=2),
    "survival": lambda: Case(study(SURVIVAL, fc.Survival("time", "event"), None), 120, 1),
    "survival by group": lambda: Case(
        study(SURVIVAL.model_copy(update={"by": "stage"}), fc.Survival("time", "event"), None), 120, 1
    ),
    "incidence by group": lambda: Case(
        study(
            fc.CumulativeIncidence(grid=(1, 2, 5, 9), by="stage"),
            fc.Survival("time", "event", causes=(1, 2)),
            None,
        ),
        120,
        1,
    ),
    "crosstab": lambda: Case(
        study(fc.Crosstab("sex", "ill", strata="stage"), LABELS["binary"], None), 120, 1
    ),
    "quantiles": lambda: Case(study(fc.Quantiles(), LABELS["number"], None), 60, 1),
    "quantiles by group": lambda: Case(
        study(fc.Quantiles(by="ill", grid={"age": 1.0}), LABELS["binary"], None), 60, 1
    ),
    "compare": lambda: Case(study(fc.Compare("bp", "stage"), LABELS["binary"], None), 120, 1),
    "compare on a grid": lambda: Case(
        study(fc.Compare("age", "ill", grid=10.0), LABELS["binary"], None), 120, 1
    ),
    "correlation": lambda: Case(study(fc.Correlation(), LABELS["number"], None), 60, 1, scaling),
    "correlation of ranks": lambda: Case(
        study(fc.Correlation(method="spearman", grid={"age": 1.0}), LABELS["binary"], None), 60, 1, places
    ),
    "table_one": lambda: Case(
        study(fc.TableOne(by="stage", nonnormal=["bp"]), LABELS["binary"], None), 90, 1
    ),
    "table_one of all": lambda: Case(study(fc.TableOne(), LABELS["number"], None), 60, 1),
    "cox": lambda: Case(
        study(
            fc.Cox("age + bp + C(sex)", strata="none", pieces=3),
            fc.Survival("time", "event", horizon=9),
            None,
        ),
        120,
        1,
        whereabouts,
    ),
    "validate a score": lambda: Case(study(fc.Validate(SCORE, by="stage"), LABELS["binary"]), 60),
    "validate held-out patients": lambda: Case(
        study(fc.Validate(SCORE, held_out=True), LABELS["binary"]), 60
    ),
    "evaluate a yes or no": lambda: Case(study(fc.Evaluate(model=saved("binary")), LABELS["binary"]), 25),
    "evaluate classes": lambda: Case(study(fc.Evaluate(model=saved("classes")), LABELS["classes"]), 25),
    "evaluate a number": lambda: Case(study(fc.Evaluate(model=saved("number")), LABELS["number"]), 25),
    "evaluate a score": lambda: Case(study(fc.Evaluate(model=SCORE), LABELS["binary"]), 60),
    "evaluate a score of a number": lambda: Case(
        study(fc.Evaluate(model=SCORE.model_copy(update={"link": "identity"})), LABELS["number"]), 60
    ),
    "glm of a yes or no": lambda: regress("binomial", LABELS["binary"]),
    "glm of a number, 3 rows a patient": lambda: regress("gaussian", LABELS["number"], rows=3),
    "glm of a count": lambda: regress("poisson", LABELS["number"], "age*sex + ns(bp, knots=[100, 150]) - 1"),
    "fedsgd": lambda: train("binary"),
    "fedsgd, 2 rows a patient": lambda: train("binary", rows=2),
    "fedsgd of a number": lambda: train("number"),
    "fedavg": lambda: train("binary", **FEDAVG),
    "fedavg, 2 rows a patient": lambda: train("binary", rows=2, **FEDAVG),
}


MODELLED = ("fedsgd", "fedavg", "evaluate a yes", "evaluate classes", "evaluate a number")
"""Cases that need a model of TensorFlow."""


def made_up(draw: np.random.Generator, case: Case) -> tuple[Table, str]:
    """A site's table, sorted by patient as a source sorts it, and who is one patient more."""
    n_patients = int(draw.integers(1, 9))
    n_rows = draw.integers(1, 5, n_patients)
    ids = np.repeat(np.array([f"p{index:02}" for index in range(n_patients)]), n_rows)
    who = f"p{draw.integers(0, n_patients):02}"
    wild = draw.random(len(ids)) < np.where(ids == who, 0.7, 0.2)
    n = len(ids)

    def numbers(low: float, high: float) -> NDArray[np.float64]:
        return np.where(wild & (draw.random(n) < 0.6), draw.choice(EXTREME, n), draw.uniform(low, high, n))

    columns: dict[str, Any] = {}
    for name, kind in case.study.cohort.schema_.items():
        if isinstance(kind, Numeric):
            assert kind.bounds is not None
            columns[name] = numbers(*kind.bounds)
        elif isinstance(kind, Categorical):
            columns[name] = draw.integers(-1, len(kind.levels), n)
    match case.study.cohort.label:
        case None:
            label = None
        case fc.Number() | fc.Survival():
            label = numbers(0, 10)
        case fc.Classes():
            label = draw.integers(0, 3, n).astype(np.float64)
        case _:
            label = draw.integers(0, 2, n).astype(np.float64)
    outcome = case.study.cohort.label
    event = draw.choice([*outcome.events, np.nan], n) if isinstance(outcome, fc.Survival) else None
    split = draw.integers(0, case.splits, n).astype(np.int8)
    return Table(ids, columns, split, label, event), who


def without(table: Table, who: str) -> Table:
    """The same table without one patient."""
    kept = table.patient_ids != who
    columns = {name: values[kept] for name, values in table.columns.items()}
    label, event = (None if one is None else one[kept] for one in (table.label, table.event))
    return Table(table.patient_ids[kept], columns, table.split[kept], label, event)


def weights(draw: np.random.Generator, analysis: Analysis) -> dict[str, Array]:
    """Such as a coordinator may choose; of noisy steps those whose sums with steps are exact in float32."""
    (stage, *_) = [one for one in analysis.stages if isinstance(one, PrivateStage)]
    grid = draw.integers(-8, 9, stage.subject.model.n_weights) / 8
    scale = 1.0 if stage.steps_at_site else float(draw.choice([0.0, 1.0, 1e3, 1e30, np.inf]))
    with np.errstate(invalid="ignore"):
        return {"weights": (grid * scale).astype(np.float32)}


def drawn(analysis: Analysis, number: int) -> Draw:
    """Everybody is sampled, and a step has no noise."""
    silent = np.zeros((1, 100), np.int64)
    stages = [one for one in analysis.stages if isinstance(one, PrivateStage)]
    noise = {"gradient": silent[:, : stages[0].subject.model.n_weights]} if stages else {}
    return Draw(1, "a", number, noise, lambda n, probability: np.ones(n, bool))


def distances(
    study: Study, analysis: Analysis, tables: tuple[Table, Table], arrays: Mapping[str, Array]
) -> Distances:
    """Of every block of every stage: how far one patient moves its integers, and how far it may."""
    known = {"patients": np.array([COUNTED])}
    analysis = analysis.at_site(known)
    plan = plan_noise(study, analysis.planned, SITES)
    rows = [rows_of(analysis, table, known) for table in tables]
    begins = np.cumsum([0, *(stage.times for stage in analysis.stages)])
    for stage, number in zip(analysis.stages, begins, strict=False):
        state, draw = State(stage.name, int(number), arrays), drawn(analysis, int(number))
        sums = [contributed(analysis, one, state, draw) for one in rows]
        for block, fixed in zip(stage.blocks, analysis.layout(state), strict=True):
            one, other = (integers(fixed, values) for values in sums)
            if block.steps is not None:
                one, other = (of_the_step(block, fixed.resolution, whole) for whole in (one, other))
            limit = plan.release(block.name, analysis.schedule_step(int(number))).sensitivity
            yield block, distance(one, other), limit


def of_the_step(block: Block, resolution: float, update: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers that a site's one step was taken by, before noise: it divides by a power of two."""
    assert block.steps is not None
    assert block.steps.a_round == 1
    steps = -update * (resolution * COUNTED / block.steps.block.derived_resolution)
    whole: NDArray[np.int64] = np.rint(steps).astype(np.int64)
    np.testing.assert_array_equal(whole, steps)
    return whole


NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.training if name.startswith(MODELLED) else (),
    )
    for name in CASES
]


@pytest.mark.parametrize("name", NAMES)
def test_one_patient_moves_no_block_by_more_than_its_noise_is_sized_for(name: str) -> None:
    case = CASES[name]()
    analysis = case.analysis
    farthest: dict[str, float] = defaultdict(float)
    for seed in range(case.tables):
        draw = np.random.default_rng(seed)
        more, who = made_up(draw, case)
        fewer = without(more, who)
        arrays = weights(draw, analysis) if isinstance(case.study.analysis, fc.Train) else case.arrays(draw)
        parts = set()
        for block, moved, limit in distances(case.study, analysis, (more, fewer), arrays):
            assert moved <= limit, f"{block.name}, table {seed}"
            parts |= {block.part} if moved else set()
            farthest[block.name] = max(farthest[block.name], moved / limit)
        assert len(parts) <= 1, "a patient is in one part"
    assert set(farthest) == {block.name for block in analysis.planned}, "every block was looked at"
    assert min(farthest.values()) > 0.5, "and moved by about as much as it may be"


def test_no_analysis_is_left_out() -> None:
    begins = {name.split()[0].strip(",") for name in CASES}
    assert begins == ({*KINDS} - {"train", "weighting", "impute"}) | {"fedsgd", "fedavg"}


# --- a test of the test: what breaks its word is caught, or held to it ------------------------------


@dataclass(frozen=True)
class OneStage:
    """A stage with what it adds given as a function of the rows."""

    block: Block
    of: Callable[[Rows], Contribution]
    name: str = "one"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (self.block,)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        return {self.block.name: self.of(rows)}

    def update(self, state: State, sums: Sums) -> State:
        return state


@dataclass(frozen=True)
class OneSum(Analysis):
    """An analysis of it."""

    stage: OneStage
    privacy: Privacy | None = field(default=None)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return (self.stage,)


SUM = Block("sum", (2,), row=1.0, bound=MAX_ROWS)
PEOPLE = describe(LABELS["binary"], rows_per_patient=2)


@cache
def neighbours() -> tuple[tuple[Table, Table], ...]:
    """Tables of at least two patients."""
    made = [made_up(np.random.default_rng(seed), PEOPLE) for seed in range(60)]
    pairs = tuple((table, without(table, who)) for table, who in made)
    return tuple(pair for pair in pairs if pair[1].n_patients)


def worst(block: Block, of: Callable[[Rows], Contribution]) -> float:
    """How far one patient moves the sum at most, as a share of how far it may."""
    analysis = OneSum(OneStage(block, of), PEOPLE.study.privacy)
    pairs = (distances(PEOPLE.study, analysis, pair, {}) for pair in neighbours())
    return max(moved / limit for pair in pairs for _, moved, limit in pair)


def values_of(rows: Rows, scale: float = 1.0) -> NDArray[np.float64]:
    """(n, 2) of the rows that count, each `scale` long."""
    return np.tile([0.6, 0.8], (len(rows.of("all")), 1)) * scale


def test_an_analysis_that_keeps_its_word_moves_as_far_as_it_may_and_no_farther() -> None:
    assert 0.99 < worst(SUM, lambda rows: Tally(values_of(rows))) <= 1.0
    assert 0.99 < worst(counts("sum", 1), lambda rows: Tally(rows=rows.of("all"))) <= 1.0
    once = counts("sum", 1, once=True)
    assert 0.99 < worst(once, lambda rows: Tally(rows=rows.patients("all"))) <= 1.0


def test_an_outer_product_moves_as_far_as_it_may_and_no_farther() -> None:
    product = replace(SUM, shape=(2, 2), outer=True)

    def of(scale: float) -> Callable[[Rows], Gram]:
        return lambda rows: Gram(values_of(rows, scale))

    for scale in (1.0, 1.5, 1e6):
        assert 0.99 < worst(product, of(scale)) <= 1.0


def test_rows_that_are_longer_than_declared_are_held_to_it() -> None:
    assert 0.99 < worst(SUM, lambda rows: Tally(values_of(rows, 1.5))) <= 1.0
    assert 0.99 < worst(SUM, lambda rows: Tally(values_of(rows, 1e6))) <= 1.0
    assert worst(SUM, lambda rows: Tally(values_of(rows, 1e300))) <= 1.0


def test_a_row_that_falls_into_more_cells_than_declared_is_held_to_it() -> None:
    def twice(rows: Rows) -> Tally:
        return Tally(cell=np.zeros((len(rows.of("all")), 2), np.int64))

    assert worst(counts("sum", 2, 3), twice) <= 1.0


def test_a_sum_that_claims_a_norm_that_it_does_not_keep_is_caught() -> None:
    proved = replace(SUM, proved=True)
    assert worst(proved, lambda rows: Proved(values_of(rows, 3.0).sum(0))) > 2.0
    assert worst(proved, lambda rows: Proved(values_of(rows, 0.4).sum(0))) <= 1.0


def test_rows_whose_values_depend_on_other_patients_are_caught() -> None:
    """With one patient more all of them change sides, though each row is as short as declared."""

    def ranked(rows: Rows) -> Tally:
        n = len(rows.of("all"))
        return Tally(values_of(rows) * np.where(n % 2, 1.0, -1.0))

    assert worst(SUM, ranked) > 1.0


def test_a_sum_that_is_divided_by_the_number_of_patients_is_caught() -> None:
    """A mean has no bound on what one patient moves it by, as rows are few."""
    proved = replace(SUM, row=0.1, proved=True)

    def mean(rows: Rows) -> Proved:
        first = rows.table.columns["age"][rows.patients("all")]
        return Proved(np.nan_to_num(np.clip(first, 18, 90)).mean() / 90 * np.ones(2))

    assert worst(proved, mean) > 1.0


def test_more_rows_of_a_patient_than_count_never_leave() -> None:
    with pytest.raises(ValueError, match="a patient has more than 2 rows in it"):
        worst(
            SUM, lambda rows: Tally(np.full((rows.table.n_rows, 2), 0.1), rows=np.arange(rows.table.n_rows))
        )
