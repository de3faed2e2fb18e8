"""Two studies that differ by few patients: the second waits for a person, whatever site.toml approves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fedcohort as fc
from fedcohort.analyses.glm.question import GLM
from fedcohort.analyses.weighting.question import Weighting
from fedcohort.columns import Column
from fedcohort.disclosure.rules import OPEN, Disclosure
from fedcohort.errors import StoreError
from fedcohort.node.answer import prepare
from fedcohort.node.consent import LocalSite, approve, receive_proposal
from fedcohort.node.differencing import FOLDER, KEY, Selected, differencing_lines, differs_by_few
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness import check_readiness
from fedcohort.node.running import open_node
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Categorical, Cohort, Describe, Numeric, Privacy, Study
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Approval, Event, Proposal
from fedcohort.wire.signing import study_signing_bytes
from tests.build import TABLE, frame_of, ward_rows, write_ward

ROWS = ward_rows(0)
NAME = "age"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    database = write_ward(tmp_path / "ward.db", ROWS)
    policy = SitePolicy(
        id="a", data=str(database), tables={TABLE: "*"}, coordinator="ws://127.0.0.1:1",
        state=tmp_path / "state", approval="auto", analyses=("describe",),
    )  # fmt: skip
    (tmp_path / "state").mkdir()
    store = SqlNodeStore(tmp_path / "state" / "node.db")
    yield LocalSite(policy, new_identity("a"), store)
    store.close()


def ages() -> list[float]:
    """Each age once, in order."""
    return sorted({float(str(row[NAME])) for row in ROWS if row[NAME] is not None})


def study(name: str, where: str | None = None, **more: object) -> Study:
    cohort = Cohort(table=TABLE, columns={NAME: Numeric(0, 120)}, where=where)
    return Study.model_validate({"name": name, "cohort": cohort, "analysis": Describe(), **more})


def asked(site: LocalSite, one: Study) -> bool:
    """Propose it; whether it waits for a person."""
    researcher = new_identity("r")
    signature = researcher.sign(study_signing_bytes(one.canonical))
    answer = receive_proposal(site, Proposal(one.canonical, "r", researcher.public_key, signature))
    if isinstance(answer, Event):
        assert answer == Event("asked", one.hash)
        return True
    assert isinstance(answer, Approval)
    assert answer.approved, answer.code
    return False


def test_a_study_without_one_patient_is_held(site: LocalSite) -> None:
    assert not asked(site, study("all"))
    assert asked(site, study("all but the oldest", f"{NAME} < {ages()[-1]}"))


def test_other_conditions_that_select_the_same_patients_are_held(site: LocalSite) -> None:
    """An answer at once would tell that nobody is between the two."""
    assert not asked(site, study("all"))
    assert asked(site, study("everybody", f"{NAME} <= {ages()[-1]}"))


def test_the_same_conditions_are_answered_again(site: LocalSite) -> None:
    where = f"{NAME} < {ages()[-1]}"
    assert not asked(site, study("first", where))
    assert not asked(site, study("second", where.replace(" < ", "   <  ")))
    assert len(list((site.policy.state / FOLDER).iterdir())) == 1


def weighted(name: str, **more: object) -> Study:
    """A regression in which the ill count, and nobody else."""
    columns = {NAME: Numeric(0, 120), "bp": Numeric(0, 300), "ill": Numeric(0, 1)}
    question = GLM(f"{NAME} ~ 1", weights="ill", **more)
    return Study(name=name, cohort=Cohort(table=TABLE, columns=columns), analysis=question)


def sum_of_ages(study: Study, n_ill: int) -> float:
    """As whoever reads the report, and knows how many are ill, computes it."""
    hospitals = {"a": frame_of(ROWS[::2]), "b": frame_of(ROWS[1::2])}
    report = fc.simulate(hospitals, disclosure=OPEN).run(study, progress=False).report
    if "glm" in report:
        return float(report["glm"]["coefficients"][0]["coef"]) * n_ill
    column = report["describe"][NAME]
    return float(column["mean"]) * float(column["n"])


def test_an_attack_by_a_weight_of_0_succeeds_without_the_rule_and_is_held_with_it(site: LocalSite) -> None:
    """The ill by weight, and the ill but for the oldest of them by `where`: the difference is that age."""
    known = sorted(float(str(row[NAME])) for row in ROWS if row["ill"] and row[NAME] is not None)
    oldest = known[-1]
    assert known[-2] < oldest
    by_where = study("the others", f"ill = 1 AND {NAME} < {oldest}")
    ages_of_the_ill = sum_of_ages(weighted("the ill"), len(known))
    assert ages_of_the_ill - sum_of_ages(by_where, len(known)) == pytest.approx(oldest)
    policy = site.policy.model_copy(update={"analyses": ("describe", "glm")})
    site = replace(site, policy=policy)
    assert not asked(site, by_where)
    assert asked(site, weighted("the ill"))
    without = replace(site, policy=policy.model_copy(update={"disclosure": Disclosure(min_cell=1)}))
    assert not asked(without, weighted("the ill once more"))


def test_a_weight_that_leaves_nobody_out_is_as_none(site: LocalSite) -> None:
    site = replace(site, policy=site.policy.model_copy(update={"analyses": ("describe", "glm")}))
    columns = {NAME: Numeric(0, 120), "bp": Numeric(1, 300)}
    cohort = Cohort(table=TABLE, columns=columns, where="bp > 0")
    assert not asked(site, Study(name="all", cohort=cohort, analysis=Describe()))
    by_bp = Study(name="weighted", cohort=cohort, analysis=GLM(f"{NAME} ~ 1", weights="bp"))
    assert not asked(site, by_bp)
    assert not asked(site, Study(name="offset", cohort=cohort, analysis=GLM(f"{NAME} ~ 1", offset="log(bp)")))


def test_what_an_analysis_chooses_by_is_compared_as_conditions_are(site: LocalSite) -> None:
    site = replace(site, policy=site.policy.model_copy(update={"analyses": ("describe", "glm", "weighting")}))
    columns: dict[str, Column] = {
        NAME: Numeric(0, 120),
        "bp": Numeric(0, 300),
        "ill": Categorical((0, 1)),
    }
    cohort = Cohort(table=TABLE, columns=columns)
    assert not asked(site, Study(name="all", cohort=cohort, analysis=Describe()))
    n_missing = sum(row["bp"] is None for row in ROWS)
    assert 0 < n_missing < 10
    assert asked(site, Study(name="measured", cohort=cohort, analysis=GLM(f"{NAME} ~ 1", offset="bp")))
    treated = Weighting(f"ill ~ {NAME}", "bp")
    assert not asked(site, Study(name="treated", cohort=cohort, analysis=treated))


def test_cohorts_that_differ_by_many_are_answered(site: LocalSite) -> None:
    assert not asked(site, study("all"))
    middle = float(np.median([float(str(row[NAME])) for row in ROWS if row[NAME] is not None]))
    assert not asked(site, study("the younger half", f"{NAME} < {middle}"))


def test_a_person_may_approve_what_is_held_and_is_told(site: LocalSite) -> None:
    held = study("all but the oldest", f"{NAME} < {ages()[-1]}")
    assert not asked(site, study("all"))
    assert asked(site, held)
    (line,) = differencing_lines(site.policy, held)
    assert (line.what, line.verdict) == ("earlier studies", "warning")
    assert "min_cell = 10" in line.found
    lines = check_readiness(site.policy, held).lines
    assert [one.verdict for one in lines if one.what == "earlier studies"] == ["warning"]
    assert approve(site, held.hash, "dr.a").approved
    assert len(list((site.policy.state / FOLDER).iterdir())) == 2


def test_data_that_have_grown_by_few_are_held(site: LocalSite, tmp_path: Path) -> None:
    assert not asked(site, study("first"))
    fewer = write_ward(tmp_path / "before.db", ROWS[:-3])
    earlier = replace(site, policy=site.policy.model_copy(update={"data": str(fewer)}))
    assert asked(earlier, study("again"))
    many = write_ward(tmp_path / "long before.db", ROWS[:-20])
    assert not asked(replace(site, policy=site.policy.model_copy(update={"data": str(many)})), study("more"))


def test_under_privacy_and_with_a_threshold_of_one_nothing_is_compared(site: LocalSite) -> None:
    one = f"{NAME} < {ages()[-1]}"
    assert not asked(site, study("all"))
    assert not asked(site, study("private", one, privacy=Privacy(epsilon=1.0)))
    open_ = site.policy.model_copy(update={"disclosure": Disclosure(min_cell=1)})
    assert not asked(replace(site, policy=open_), study("open", one))


def test_patients_are_kept_as_digests_under_the_sites_own_key(site: LocalSite) -> None:
    assert not asked(site, study("all"))
    (path,) = (site.policy.state / FOLDER).iterdir()
    patients = {str(row["patient_id"]) for row in ROWS}
    assert not any(patient.encode() in path.read_bytes() for patient in patients)
    assert path.stat().st_mode & 0o077 == 0
    assert (site.policy.state / KEY).stat().st_mode & 0o077 == 0
    assert len(Selected.from_bytes(path.read_bytes()).patients) == len(patients)


def test_a_memory_that_is_damaged_is_restored_as_it_is_told(site: LocalSite) -> None:
    assert not asked(site, study("all"))
    (path,) = (site.policy.state / FOLDER).iterdir()
    backup = path.read_bytes()
    path.unlink()
    path.mkdir()
    held = study("all but the oldest", f"{NAME} < {ages()[-1]}")
    with pytest.raises(StoreError, match="restore it from a backup of the folder state"):
        asked(site, held)
    path.rmdir()
    path.write_bytes(backup)
    assert asked(site, held)


def test_who_is_answered_is_remembered_where_approval_could_not_read(site: LocalSite) -> None:
    policy = site.policy.model_copy(update={"roster": site.policy.state / "roster"})
    store = site.store
    assert isinstance(store, SqlNodeStore)
    store.close()
    running = open_node(policy)
    try:
        one = study("all")
        asked(replace(running.site, policy=policy.model_copy(update={"data": "missing.db"})), one)
        assert not (policy.state / FOLDER).exists()
        prepare(running.node, one.hash)
        assert len(list((policy.state / FOLDER).iterdir())) == 1
    finally:
        running.worker.thread.shutdown()
        running.store.close()
        running.held.close()


@pytest.mark.parametrize(
    ("these", "those", "same", "few"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], True, False),
        ([1, 2, 3, 4], [1, 2, 3, 4], False, True),
        ([1, 2, 3, 4], [1, 2, 3], True, True),
        ([1, 2, 3, 4], [1], False, False),
        ([1, 2, 3, 4], [5, 6, 7, 8], False, False),
    ],
)
def test_few_are_fewer_than_the_threshold_or_nobody(
    these: list[int], those: list[int], same: bool, few: bool
) -> None:
    one = Selected("a", np.array(these, np.uint64))
    other = Selected("a" if same else "b", np.array(those, np.uint64))
    assert differs_by_few(one, other, 3) is few
