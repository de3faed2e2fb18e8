"""What the counting, the protections, the wire and the researcher's side say of a fault, each obeyed once."""

import json
import runpy
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import fedcohort as fc
from fedcohort import local_token
from fedcohort.analyses.contract import Analysis
from fedcohort.analyses.exact_sums import sum_values
from fedcohort.analyses.metrics import sum_errors
from fedcohort.analyses.model_of import check_capacity, inputs_of, outcome_of
from fedcohort.analyses.trained.at_work import at_work
from fedcohort.dashboard.shared.application import HEADERS
from fedcohort.engines.local import run_local
from fedcohort.handed_in import check_handed_in
from fedcohort.privacy.accounting import check_budget, epsilon, noise_multiplier
from fedcohort.privacy.events import GaussianRelease, LaplaceRelease, Release, Schedule
from fedcohort.privacy.plan import plan_noise
from fedcohort.privacy.samplers import discrete_gaussian, poisson_sample
from fedcohort.privacy.shares import honest_shares, integer_sensitivity
from fedcohort.protection import paillier
from fedcohort.protection.fixed_point import Segment, Shape, ring_bits, to_ring
from fedcohort.protection.neighbours import Graph
from fedcohort.protection.packing import pack
from fedcohort.protection.paillier_key import SecretKey, make_key
from fedcohort.researcher.client import load_study
from fedcohort.researcher.rest import Rest
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study, parse_study
from fedcohort.vector import FixedPoint
from fedcohort.wire.address import loopback_addresses
from fedcohort.wire.codec import decode_head, encode
from fedcohort.wire.identity import load_or_create
from fedcohort.wire.messages import Heads, LedgerHead, Task

from .analyses.test_coefficients import COLUMNS as SCORED
from .analyses.test_coefficients import DAYS as DAYS_IN
from .analyses.test_coefficients import ILL
from .analyses.test_coefficients import study as score
from .privacy.test_cohort_size import FRAME as SIXTY
from .privacy.test_cohort_size import study as small
from .privacy.test_room import counts_up_to
from .privacy.test_room import study as described
from .protection.test_neighbours import context
from .protection.test_packing import ring_of
from .remedies_obeyed_work import write
from .remedy_rows import Row, obey, refusal
from .test_remedies_of_studies import FRAME, VALID, describe, mended


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def releases(scale: float) -> Callable[[float], list[Release]]:
    """What a study releases besides, with noise of its own."""
    return lambda z: [GaussianRelease("g", 1.0, z, discrete=False), LaplaceRelease("metrics", 1.0, scale)]


PRIVACY = [
    Row("epsilon is {}; it must be a positive, finite number, such as 1.5",
        lambda: check_budget(0.0, 1e-5), lambda: check_budget(1.5, 1e-5)),
    Row("delta is {}; it must be at least {} and below 1, such as 0.00001",
        lambda: check_budget(1.5, 0.0), lambda: check_budget(1.5, 0.00001)),
    Row("ask for fewer metrics, or for a larger epsilon",
        lambda: noise_multiplier(releases(0.5), 1.5, 1e-5),
        lambda: (noise_multiplier(releases(0.5), 3.0, 1e-5), noise_multiplier(lambda z: releases(0.5)(z)[:1],
                                                                             1.5, 1e-5))),
    Row("take a resolution at least {} times finer",
        lambda: epsilon([GaussianRelease("metrics", 1.0, 2.0, shares=4)], 1e-5),
        lambda: epsilon([GaussianRelease("metrics", 3.0, 6.0, shares=4)], 1e-5)),
    Row("{}: patients are sampled with probability {}; it must be in (0, 1]",
        lambda: Schedule(3, 0.0), lambda: Schedule(3, 1.0)),
    Row("patients are sampled with probability {}; it must be in (0, 1]",
        lambda: poisson_sample(3, 0.0), lambda: poisson_sample(3, 1.0)),
    Row("noise schedule {}: it must be constant or decaying",
        lambda: Schedule(3, kind="rising"), lambda: Schedule(3, kind="decaying")),  # type: ignore[arg-type]
    Row("the noise of a decaying schedule ends at {}; from 0.01 to 1 are allowed",
        lambda: Schedule(3, final=0.0), lambda: Schedule(3, final=0.01)),
    Row("{}: {} is {}; it must be a positive number",
        lambda: GaussianRelease("x", 0.0, 1.0), lambda: GaussianRelease("x", 1.0, 1.0)),
    Row("{}: {} is {}; it must be a whole number of at least 1", lambda: Schedule(0), lambda: Schedule(1)),
    Row("noise: {} is {} steps; it must be a number from {} to {}",
        lambda: discrete_gaussian(0.0, 1), lambda: discrete_gaussian(1.0, 1)),
    Row("{} is {}; it must be a positive number",
        lambda: integer_sensitivity(0.0, 1.0, 1), lambda: integer_sensitivity(1.0, 1.0, 1)),
    Row("error is {}; it must be a number and not negative",
        lambda: integer_sensitivity(1.0, 1.0, 1, -1.0), lambda: integer_sensitivity(1.0, 1.0, 1, 0.0)),
    Row("ask for fewer releases, or for a larger epsilon",
        lambda: plan_noise(described(0.01), counts_up_to(100.0), 5),
        lambda: plan_noise(described(3.0), counts_up_to(100.0), 5)),
    Row('no share of the noise is sure; use noise = "site", or allow fewer',
        lambda: honest_shares(2, dropouts=1, colluders=1), lambda: honest_shares(2, dropouts=0, colluders=1)),
]  # fmt: skip


def curves(kinds: dict[str, Any] | None = None, privacy: fc.Privacy | None = None, **words: Any) -> fc.Study:
    """A study of survival; `by` ward, which has two levels."""
    columns = {"ward": fc.Categorical(["a", "b"])} if kinds is None else kinds
    cohort = fc.Cohort(columns=columns, label=fc.Survival("days", "died"))
    question = fc.KaplanMeier(**{"grid": [10.0, 20.0], "by": "ward", **words})
    return fc.Study(name="x", cohort=cohort, analysis=question, privacy=privacy)


def competing(causes: Any, asked: Any = None) -> fc.Study:
    """A study of competing causes."""
    label = fc.Survival("days", "died", causes=causes)
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 120)}, label=label)
    question = asked or fc.CumulativeIncidence(grid=[10.0, 20.0])
    return fc.Study(name="x", cohort=cohort, analysis=question)


def scored(label: Any = ILL, columns: dict[str, Any] | None = None, **words: Any) -> object:
    """A published score that is handed in: by age, whose missing values count as 60, or as said."""
    words = {"coefficients": {"age": 0.03}, "missing": {"age": 60.0}, **words}
    asked = score(fc.Coefficients(**words), label, columns)
    check_handed_in(asked)
    return at_work(asked, fc.Coefficients(**words))


SCORES = [
    Row("model: give a result, the folder that result.save wrote, or fc.Coefficients(...)",
        lambda: fc.Evaluate(model=5), lambda: fc.Evaluate(model=fc.Coefficients({"sex=m": 0.4}))),
    Row("{}: {} is no column of the cohort; it has {}",
        lambda: scored(coefficients={"weight": 1.0}, missing={"weight": 80.0}), scored),
    Row("{}: {} has levels; write {}={}",
        lambda: scored(coefficients={"sex": 1.0}, missing={}),
        lambda: scored(coefficients={"sex=f": 1.0}, missing={})),
    Row("{}: {} is no level of {}; it has {}",
        lambda: scored(coefficients={"sex=x": 1.0}, missing={}),
        lambda: scored(coefficients={"sex=m": 1.0}, missing={})),
    Row('cohort.label: link = "logit" gives a probability; take fc.Binary, or link = "identity"',
        lambda: scored(DAYS_IN), lambda: (scored(ILL), scored(DAYS_IN, link="identity"))),
    Row('cohort.label: link = "identity" gives a number; take fc.Number, or link = "logit"',
        lambda: scored(ILL, link="identity"),
        lambda: (scored(DAYS_IN, link="identity"), scored(ILL, link="logit"))),
    Row("analysis.model.missing: say as which value a missing number counts, for {}",
        lambda: scored(missing={}), lambda: scored(missing={"age": 60.0})),
    Row("analysis.model.missing: {} has no coefficient of a number; leave it out",
        lambda: scored(missing={"age": 60.0, "bp": 120.0}), lambda: scored(missing={"age": 60.0})),
    Row("{}: {} is a number; write {} without a level",
        lambda: scored(coefficients={"age=60": 1.0}, missing={}), lambda: scored(coefficients={"age": 1.0})),
    Row("cohort.columns: {} is an image, which has no coefficient; leave it out",
        lambda: scored(columns={**SCORED, "scan": fc.Image(4, 4)}), lambda: scored(columns=SCORED)),
    Row("cohort.bounds: {}: their middle or half width is no number that a computer has; write the bounds of "
        "the measurement, such as 18 and 90",
        lambda: scored(columns={**SCORED, "age": fc.Numeric(0.0, 5e-324)}),
        lambda: scored(columns={**SCORED, "age": fc.Numeric(18, 90)})),
]  # fmt: skip


WARDS = {"ward": fc.Categorical(list(range(99)))}
DAYS = [float(day) for day in range(1, 2000)]
SURVIVAL = [
    Row("grid: write times in order, each once, such as [30, 60, 90]",
        lambda: curves(grid=[60.0, 30.0]), lambda: curves(grid=[30.0, 60.0, 90.0])),
    Row("at: a time beyond {}, the grid's last; let the grid reach farther",
        lambda: curves(at=[30.0]), lambda: curves(at=[30.0], grid=[10.0, 30.0])),
    Row("analysis.strata: the test compares groups within strata; name another column as `by`",
        lambda: curves(by=None, strata="ward"), lambda: curves(by="ward")),
    Row("cohort.label: incidence needs causes, such as fc.Survival(time, event, causes=(1, 2))",
        lambda: competing(()), lambda: competing((1, 2))),
    Row("causes: write two or more, in order, each once, such as [1, 2]; of one leave them out",
        lambda: (competing([1]), competing([2, 1])), lambda: competing([1, 2])),
    Row("cohort.label: {} does not tell causes apart; leave causes out of fc.Survival(...)",
        lambda: competing((1, 2), fc.Train()), lambda: competing((), fc.Describe())),
    Row("analysis.grid: times and levels make over {} cells; name fewer",
        lambda: curves(WARDS, grid=DAYS), lambda: curves(WARDS, grid=DAYS[:1000])),
    Row("privacy.rows_per_patient: {} counts a patient with one row; leave it out",
        lambda: curves(privacy=fc.Privacy(epsilon=1.0, rows_per_patient=2)),
        lambda: curves(privacy=fc.Privacy(epsilon=1.0))),
    Row("privacy: {} cannot be asked privately; leave out [privacy]",
        lambda: Analysis().for_privacy(fc.Privacy(epsilon=1.0)), Analysis),
]  # fmt: skip


def tabled(rows: str = "sex", columns: str = "ill", **words: Any) -> fc.Study:
    """A crosstab of the columns of a study of illness by sex and ward."""
    kinds: dict[str, Any] = {"sex": fc.Categorical(["f", "m"]), "ward": fc.Categorical(list("abc")),
                             "age": fc.Numeric(0, 120), "bed": fc.Categorical(range(400)),
                             "code": fc.Categorical(range(300))}  # fmt: skip
    cohort = fc.Cohort(columns=kinds, label=fc.Binary("ill"))
    return fc.Study(name="x", cohort=cohort, analysis=fc.Crosstab(rows, columns, **words))


TABLED = [
    Row("rows: a column is named twice; name another", lambda: tabled("sex", "sex"), tabled),
    Row("analysis.{}: {} is not among the cohort's columns; name it there, too",
        lambda: tabled("room"), lambda: tabled("ward")),
    Row("analysis.{}: {} has no levels; name a categorical column, or a label of levels",
        lambda: tabled("age"), lambda: (tabled("ward"), tabled("ill", "ward"))),
    Row("analysis.rows: levels make over {} cells; name columns of fewer",
        lambda: tabled("bed", "code"), lambda: tabled("bed", "ward")),
    Row("analysis.strata: Mantel-Haenszel is of two levels by two, and {} has {}; name columns of two "
        "levels, or leave strata out",
        lambda: tabled("ward", strata="sex"), lambda: (tabled(strata="ward"), tabled("ward"))),
]  # fmt: skip


def compared(column: str = "age", by: str = "sex", **words: Any) -> fc.Study:
    """A comparison of a number between the groups of the same study."""
    kinds: dict[str, Any] = {
        "sex": fc.Categorical(["f", "m"]),
        "age": fc.Numeric(0, 120),
        "bmi": fc.Numeric(),
    }
    cohort = fc.Cohort(columns=kinds, label=fc.Binary("ill"))
    return fc.Study(name="x", cohort=cohort, analysis=fc.Compare(column, by, **words))


COMPARED = [
    Row("by: this is the column itself; name the column that says the group",
        lambda: compared("age", "age"), compared),
    Row("analysis.column: {} is not a number; take fc.Crosstab for levels",
        lambda: compared("sex", "ill"), lambda: tabled("sex", "ill")),
    Row("{}: {} has no declared bounds, within which a grid lies; declare them",
        lambda: compared("bmi", grid=0.1), lambda: compared("age", grid=1.0)),
    Row("{}: {} has over {} cells in steps of {}; take wider steps, or narrower bounds",
        lambda: compared(grid=1e-6), lambda: compared(grid=0.1)),
]  # fmt: skip


def first_table(columns: dict[str, Any] | None = None, **words: Any) -> fc.Study:
    """A table of the patients of the same study."""
    kinds: dict[str, Any] = {"sex": fc.Categorical(["f", "m"]), "age": fc.Numeric(0, 120),
                             "bed": fc.Categorical(range(400))}  # fmt: skip
    cohort = fc.Cohort(columns=kinds if columns is None else columns)
    return fc.Study(name="x", cohort=cohort, analysis=fc.TableOne(**words))


def many_numbers(n: int) -> fc.Study:
    """Each of them nonnormal, by three wards."""
    numbers: dict[str, Any] = {f"x{place}": fc.Numeric(0, 1) for place in range(n)}
    return first_table({**numbers, "ward": fc.Categorical(list("abc"))}, by="ward", nonnormal=list(numbers))


FIRST_TABLES = [
    Row("nonnormal: a column is named twice; name it once",
        lambda: first_table(nonnormal=["age", "age"]), lambda: first_table(nonnormal=["age"])),
    Row("grid: {} is not among nonnormal; name it there, too",
        lambda: first_table(grid={"age": 1.0}), lambda: first_table(nonnormal=["age"], grid={"age": 1.0})),
    Row("analysis.by: {} has {} levels, and the table a column for each; name a column of {} levels or fewer",
        lambda: first_table(by="bed"), lambda: first_table(by="sex")),
    Row("analysis.nonnormal: {} is not a number; leave it out",
        lambda: first_table(nonnormal=["sex"]), first_table),
    Row("analysis.nonnormal: columns and levels make over {} quartiles; name fewer columns",
        lambda: many_numbers(200), lambda: many_numbers(100)),
    Row("cohort.columns: a table needs a column beside `by`; name a number or levels",
        lambda: first_table({"sex": fc.Categorical(["f", "m"])}, by="sex"), lambda: first_table(by="sex")),
]  # fmt: skip


def weighted(formula: str = "sex ~ age", outcome: str = "ill", **words: Any) -> fc.Study:
    """A weighted comparison in a study of illness by sex and ward."""
    kinds: dict[str, Any] = {"sex": fc.Categorical(["f", "m"]), "ward": fc.Categorical(list("abc")),
                             "age": fc.Numeric(0, 120)}  # fmt: skip
    cohort = fc.Cohort(columns=kinds, label=fc.Binary("ill"))
    return fc.Study(name="x", cohort=cohort, analysis=fc.Weighting(formula, outcome), **words)


LIFE = fc.Survival("t", "e")


def weighted_life(label: Any, n_times: int = 3) -> fc.Study:
    """A weighted comparison of survival on a grid of so many times."""
    kinds: dict[str, Any] = {"sex": fc.Categorical(["f", "m"]), "age": fc.Numeric(0, 120)}
    question = fc.Weighting("sex ~ age", LIFE, grid=[float(time) for time in range(1, n_times + 1)])
    return fc.Study(name="x", cohort=fc.Cohort(columns=kinds, label=label), analysis=question)


WEIGHTING = [
    Row("formula: write who is treated on the left, and what the choice depended on on the right, such as "
        "treated ~ age + C(sex)",
        lambda: (weighted("~ age"), weighted("sex ~ 1")), lambda: weighted("sex ~ age + C(ward)")),
    Row("outcome: {} is in the formula of the treatment, too, and has to come after it; leave it out there",
        lambda: weighted("sex ~ age + ill"), lambda: weighted("sex ~ age")),
    Row("analysis.formula: {} is not of two levels, untreated and treated; declare it as "
        "fc.Categorical([0, 1])",
        lambda: weighted("ward ~ age"), lambda: weighted("sex ~ age")),
    Row("analysis.outcome: {} is neither a number nor of two levels; declare another one",
        lambda: weighted(outcome="ward"), lambda: weighted("sex ~ C(ward)", "age")),
    Row("privacy: a weighted comparison cannot be asked privately, as one patient's weight has no bound; "
        "leave out [privacy]",
        lambda: weighted(privacy=fc.Privacy(epsilon=1.0)), weighted),
    Row("grid: it is of an outcome over time, fc.Survival(time, event); leave grid and at out",
        lambda: fc.Weighting("sex ~ age", "ill", grid=[30]), lambda: fc.Weighting("sex ~ age", "ill")),
    Row("grid: survival is shown at times of a grid; write one, such as [30, 60, 90]",
        lambda: fc.Weighting("sex ~ age", LIFE), lambda: fc.Weighting("sex ~ age", LIFE, grid=[30, 60, 90])),
    Row("analysis.outcome: a time and an event are the cohort's label; write the same fc.Survival(...) as "
        "cohort.label",
        lambda: weighted_life(fc.Binary("ill")), lambda: weighted_life(LIFE)),
    Row("analysis.grid: times and columns of the formula make over {} sums; write a coarser grid, or name "
        "fewer columns",
        lambda: weighted_life(LIFE, 10_000), lambda: weighted_life(LIFE, 1_000)),
]  # fmt: skip


def block(bound: float = 10.0) -> FixedPoint:
    return FixedPoint("w", (1,), bound, 2.0**-22)


def sent(value: float, bound: float = 10.0) -> object:
    """What a site makes of one number before it is protected."""
    layout = (block(bound),)
    return to_ring(layout, {"w": np.array([value])}, 3)


@cache
def two_keys() -> list[SecretKey]:
    """The one with the smaller modulus first."""
    return sorted((make_key(2048), make_key(2048)), key=lambda one: one.public.n)


def opened_with(own: bool) -> object:
    """Open a site's sealed numbers by the study's key, or by that of a site with another."""
    key, other = two_keys()
    shape = Shape((Segment(3000, 32, 2**21),), 2)
    sealed = paillier.seal(key, shape, ring_of([], [7] * 3000))
    return paillier.open_sum(key if own else other, shape, sealed, 1)


PROTECTION = [
    Row("do not fit in 64 bits; declare narrower bounds",
        lambda: ring_bits(block(1e15), 10), lambda: ring_bits(block(10.0), 10)),
    Row("block {}: not a finite number; lower the learning rate or check the data",
        lambda: sent(float("nan")), lambda: sent(1.0)),
    Row("block {}: a value lies beyond {}; lower the learning rate or declare wider bounds",
        lambda: sent(11.0), lambda: (sent(11.0, bound=20.0), sent(9.0))),
    Row("a value lies beyond its block's range; declare wider bounds",
        lambda: pack(Shape((Segment(1, 32, 5),), 2), ring_of([], [6]), 16),
        lambda: pack(Shape((Segment(1, 32, 6),), 2), ring_of([], [6]), 16)),
    Row("masks hold against {} at most; {} were asked for",
        lambda: Graph(context(40, colluders=99)).threshold,
        lambda: Graph(context(40, colluders=1)).threshold),
    Row("what was opened is not a sum under this key; compare the sites' versions and keys",
        lambda: opened_with(own=False), lambda: opened_with(own=True)),
    Row("a Paillier key of {} bits; choose one of {}", lambda: make_key(1024), lambda: make_key(2048)),
    Row("an error is not a finite number; lower the learning rate or check the data",
        lambda: sum_errors(np.array([[np.inf]])), lambda: sum_errors(np.array([[2.5]]))),
    Row("a value is beyond 2^127; declare bounds and clean the column",
        lambda: sum_values(np.array([[1e39]])), lambda: sum_values(np.array([[41.0]]))),
]  # fmt: skip


def trained(**changes: Any) -> tuple[Study, fc.Train]:
    """A study of a model, and its analysis."""
    train = {name: value for name, value in changes.items() if name != "protection"}
    asked = fc.Study(
        name="x", cohort=fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill")),
        analysis=fc.Train(model="logistic", rounds=3, **train), protection=changes.get("protection", "masks"),
    )  # fmt: skip
    assert isinstance(asked.analysis, fc.Train)
    return asked, asked.analysis


def capacity(n_weights: int = 50_000_000, **changes: Any) -> Callable[[], object]:
    return lambda: check_capacity(*trained(**changes), n_weights)


def with_image(name: str) -> fc.Cohort:
    return fc.Cohort(columns={name: fc.Image(8, 8), "age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))


def own_model(**more: object) -> Callable[[], object]:
    config = {"class_name": "Sequential", "config": {"layers": []}, **more}
    train = {"kind": "train", "model": config}
    return lambda: check_handed_in(parse_study(mended(VALID, {"analysis": train})))


def labelled(label: object) -> Callable[[], object]:
    return lambda: outcome_of(fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=label))  # type: ignore[arg-type]


STUDIES = [
    Row('take protection = "masks"', capacity(protection="ckks"), capacity(protection="masks")),
    Row("take sgd or momentum, or leave out average_rounds",
        capacity(server_optimizer="adam", average_rounds=1),
        lambda: (capacity(server_optimizer="sgd", average_rounds=1)(),
                 capacity(server_optimizer="momentum", average_rounds=1)(),
                 capacity(server_optimizer="adam")())),
    Row("stands beside ordinary columns, which are called so together; rename it",
        lambda: inputs_of(with_image("record")), lambda: inputs_of(with_image("scan"))),
    Row("cohort.label: a model needs a binary, class or number label",
        labelled(fc.Survival("time", "event")),
        lambda: [labelled(one)() for one in (fc.Binary("ill"), fc.Classes("ill", (0, 1, 2)),
                                             fc.Number(column="ill", low=0, high=9))]),
    Row("the cohort's label say it; leave it out",
        own_model(compile_config={"optimizer": "adam"}), own_model()),
    Row("{}: must be a table of keys, such as name, [cohort] and [analysis]",
        lambda: parse_study(b"[]"), lambda: parse_study(json.dumps(VALID).encode())),
    Row("{}: is empty; write name, [cohort] and [analysis]",
        lambda: load_study(write("empty.toml", "\n")),
        lambda: load_study(write("empty.toml", 'name = "x"\n[cohort]\ncolumns = ["age"]\n[analysis]\n'
                                               'kind = "describe"\n'))),
]  # fmt: skip


def token_in(folder: str) -> Callable[[], object]:
    def put() -> object:
        write("file", "no folder")
        local_token.write_token(Path(folder) / "token", "secret")
        return local_token.read_token(Path(folder) / "token")

    return put


def key_of(text: str | None) -> object:
    """The site's key where its file holds this; with None it is what a backup kept."""
    path, kept = Path("site.key"), Path("kept.key")
    if not kept.exists():
        load_or_create(kept, "a")
    path.write_bytes(kept.read_bytes() if text is None else text.encode())
    path.chmod(0o600)
    return load_or_create(path, "a")


def task_with(array: Any) -> bytes:
    return encode(Task("ab" * 32, 0, 0, "train", {"x": array}, bytes(32), ("a", "b")))


def ledger_head() -> LedgerHead:
    return LedgerHead("a", 0, 3, bytes(32), bytes(64))


WIRE = [
    Row("{}: the name cannot be resolved; check it and the DNS settings",
        lambda: loopback_addresses("no-such-host.invalid"), lambda: loopback_addresses("localhost")),
    Row("array {}: the wire does not carry {}; use float64 or int64",
        lambda: task_with(np.zeros(2, np.complex128)),
        lambda: (task_with(np.zeros(2, np.float64)), task_with(np.zeros(2, np.int64)))),
    Row("a stored ledger head that cannot be read; restore the database from a backup",
        lambda: decode_head(encode(Heads(()))), lambda: decode_head(encode(Heads((ledger_head(),))))),
    Row("{}: not a key file; restore it from a backup", lambda: key_of("half a key"), lambda: key_of(None)),
    Row("{}: {}; make the folder writable",
        token_in("file"), token_in("folder")),
]  # fmt: skip


def answered(status: int, text: str, headers: dict[str, str] | None = None) -> Callable[[], object]:
    """Ask who answers so at the address."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text, headers=headers))
    return lambda: Rest(httpx.Client(base_url="http://127.0.0.1:9", transport=transport)).get("/api/studies")


RESEARCHER = [
    Row("what answers at this address is no coordinator of this version ({}); check it",
        answered(200, "[]"), answered(200, '{"studies": []}')),
    Row("give the coordinator's own, such as https://HOST:8760",
        answered(401, "{}", dict(HEADERS)), answered(200, '{"studies": []}')),
]  # fmt: skip

TABLES = [
    *PRIVACY,
    *SURVIVAL,
    *WEIGHTING,
    *TABLED,
    *COMPARED,
    *FIRST_TABLES,
    *SCORES,
    *PROTECTION,
    *STUDIES,
    *WIRE,
    *RESEARCHER,
]


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row.said[:60])
def test_a_deed_succeeds_once_it_is_done_as_told(row: Row) -> None:
    obey(row)


def test_what_is_no_study_is_loaded_by_the_call_that_is_told() -> None:
    Path("study.toml").write_text('name = "x"\n[cohort]\ncolumns = ["age"]\n[analysis]\nkind = "describe"\n')
    fed = fc.simulate([FRAME, FRAME])
    for wrong in ("study.toml", VALID):
        given: Any = wrong
        message = refusal("study: {} is no study; give {}", lambda: fed.run(given))  # noqa: B023
        assert "fc.load_study(path)" in message
    assert fed.run(fc.load_study("study.toml"), progress=False).report["describe"]
    assert fed.run(describe(), progress=False).report["describe"]


def test_a_study_in_python_is_run_as_it_is_told() -> None:
    lines = ["import fedcohort as fc", "result = fc.simulate(frames).run(asked, progress=False)"]
    script = write("x.py", "\n".join(lines))
    refusal("{}: a study is read from TOML or JSON; run what is Python, and call fed.run there",
            lambda: load_study(script))  # fmt: skip
    found = runpy.run_path(str(script), {"frames": [FRAME, FRAME], "asked": describe()})
    assert found["result"].report["describe"]


def test_a_cohort_of_too_few_is_widened_as_it_is_told() -> None:
    def run(where: str) -> None:
        asked = small(fc.Describe(), where=where, protection="masks", epsilon=1000.0)
        run_local(asked, {site: partial(table_from_frame, SIXTY) for site in "abc"}, lambda _: None)

    refusal("widen `where`, or ask more hospitals; what was released is paid for", lambda: run("age > 200"))
    run("age > 20")
