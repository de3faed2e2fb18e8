"""The ledger: studies add up, nothing is spent twice or unseen, and what is left is named."""

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.cli.app import app
from fedcohort.errors import BudgetError, PolicyError
from fedcohort.node.budgets import Budget
from fedcohort.node.consent import LocalSite, approve, receive_proposal
from fedcohort.node.ledger import accounts, added_cost, cost_of, epsilons, released
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.node.records import Limit, Reservation, Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.events import GaussianRelease, LaplaceRelease
from fedcohort.study import Study
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.messages import Approval, Proposal
from fedcohort.wire.signing import study_signing_bytes
from tests.patience import PATIENCE_SECONDS

BUDGET = Budget(epsilon=3.0, delta=1e-4)


def study(name: str, epsilon: float | None = 1.5, delta: float = 1e-5) -> Study:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
    privacy = None if epsilon is None else fc.Privacy(epsilon=epsilon, delta=delta)
    return fc.Study(name=name, cohort=cohort, analysis=fc.Train.private(rounds=5), privacy=privacy)


def policy(folder: Path) -> SitePolicy:
    return SitePolicy(
        id="a", data="a.db", tables={"records": "*"}, coordinator="ws://127.0.0.1:1", state=folder,
        approval="auto", budget={"records": BUDGET},
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    store = SqlNodeStore(tmp_path / "node.db")
    yield LocalSite(policy(tmp_path), new_identity("a"), store)
    store.close()


def propose(site: LocalSite, asked: Study, researcher: Identity | None = None) -> Approval:
    researcher = researcher or new_identity("ada")
    signature = researcher.sign(study_signing_bytes(asked.canonical))
    answer = receive_proposal(site, Proposal(asked.canonical, "ada", researcher.public_key, signature))
    assert isinstance(answer, Approval)
    return answer


def left(site: LocalSite) -> tuple[float, float]:
    store = site.store
    assert isinstance(store, SqlNodeStore)
    (account,) = accounts(site.policy, store.reservations(), store.costs())
    assert account.left is not None
    return account.left


def test_approval_reserves_the_whole_study_and_studies_add_up(site: LocalSite) -> None:
    assert propose(site, study("first")).approved
    assert left(site) == pytest.approx((1.5, 9e-5))
    assert propose(site, study("second")).approved
    assert left(site) == pytest.approx((0.0, 8e-5))
    refused = propose(site, study("third", 0.1))
    assert (refused.approved, refused.code) == (False, "budget-exhausted")


def test_a_researcher_s_studies_of_one_day_are_limited_by_name_and_by_key(site: LocalSite) -> None:
    limited = replace(site, policy=site.policy.model_copy(update={"studies_a_day": 2}))
    ada = new_identity("ada")
    assert propose(limited, study("first", 0.1), ada).approved
    assert propose(limited, study("second", 0.1)).approved, "another key of the same name"
    third = study("third", 0.1)
    refused = propose(limited, third)
    assert (refused.approved, refused.code) == (False, "too-many-studies")
    signature = ada.sign(study_signing_bytes(third.canonical))
    renamed = receive_proposal(limited, Proposal(third.canonical, "eve", ada.public_key, signature))
    assert isinstance(renamed, Approval)
    assert renamed.code == "too-many-studies"
    assert propose(limited, study("first", 0.1), ada).approved, "what was approved stands"
    assert propose(site, third).approved, "site.toml allows more now, and the question is looked at again"


def test_the_same_study_is_reserved_once(site: LocalSite) -> None:
    asked = study("again")
    for _ in range(3):
        assert propose(site, asked).approved
        assert approve(site, asked.hash).approved
    assert left(site)[0] == 1.5


def test_a_refusal_names_what_is_left(site: LocalSite) -> None:
    propose(site, study("first", 2.5))
    wanted = Reservation("ff" * 32, "records", 1.0, 1e-5)
    with pytest.raises(BudgetError, match=r"asks for epsilon 1 .* 0.5 \(delta 9e-05\) of 3 is left"):
        site.store.reserve(wanted, Limit("records", BUDGET.epsilon, BUDGET.delta))


def test_delta_is_a_budget_of_its_own(site: LocalSite) -> None:
    assert propose(site, study("first", 0.1, 9e-5)).approved
    assert propose(site, study("second", 0.1, 2e-5)).code == "budget-exhausted"


@pytest.mark.parametrize(
    ("asked", "code"),
    [(study("exact", None), "privacy-required"), (study("greedy", 3.1), "budget-exhausted"),
     (study("loose", 0.1, 2e-3), "policy-refused")],
)  # fmt: skip
def test_what_no_budget_pays_is_refused_before_anything_is_computed(
    site: LocalSite, asked: Study, code: str
) -> None:
    assert propose(site, asked).code == code
    assert left(site) == (3.0, 1e-4)


def test_without_a_budget_a_study_without_privacy_is_as_free_as_before(tmp_path: Path) -> None:
    free = policy(tmp_path).model_copy(update={"budget": {}})
    check_study(free, study("exact", None))
    with pytest.raises(PolicyError, match="max_delta"):
        check_study(free, study("loose", 1.0, 0.5))


def _reserve(path: str, number: int, results: "multiprocessing.Queue[bool]") -> None:
    store = SqlNodeStore(Path(path))
    try:
        store.reserve(Reservation(f"{number:064}", "records", 1.5, 1e-5), Limit("records", 3.0, 1e-4))
        results.put(True)
    except BudgetError:
        results.put(False)
    store.close()


def test_what_was_approved_before_there_was_a_budget_counts_against_it(site: LocalSite) -> None:
    free = replace(site, policy=site.policy.model_copy(update={"budget": {}}))
    assert propose(free, study("before", 2.0)).approved
    assert left(site) == pytest.approx((1.0, 9e-5))
    assert propose(site, study("after", 1.5)).code == "budget-exhausted"


def test_what_an_earlier_program_released_without_a_reservation_counts_and_is_shown(
    site: LocalSite, tmp_path: Path
) -> None:
    store = site.store
    assert isinstance(store, SqlNodeStore)
    free = replace(site, policy=site.policy.model_copy(update={"budget": {}}))
    asked = study("before", 2.0)
    assert propose(free, asked).approved
    release = GaussianRelease("gradient", 1.0, 1000.0, part="train")
    store.keep(Stored(asked.hash, 0, bytes(32), b"", "", "a"), added_cost(asked, None, [release]))
    copied = LaplaceRelease("perturbed age", 1.0, 4.0)
    store.charge(cost_of("ab" * 32, "records", 0.0, [copied]))
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection, connection:
        connection.execute("DELETE FROM reservations")
    (account,) = accounts(free.policy, store.reservations(), store.costs())
    assert (account.budget, account.left) == (None, None)
    assert account.taken == pytest.approx((2.25, 1e-5))  # the study's whole epsilon, and 1/4 of the copy
    assert left(site) == pytest.approx((0.75, 9e-5))
    assert propose(site, study("after", 1.0)).code == "budget-exhausted"
    assert propose(site, study("small", 0.7)).approved
    assert approve(site, asked.hash).approved  # reserved now, and once
    assert left(site)[0] == pytest.approx(0.05)


def test_the_ledger_shows_what_was_spent_with_no_budget_as_with_one_that_is_set_later(
    tmp_path: Path,
) -> None:
    text = 'id = "a"\ndata = "a.db"\ncoordinator = "ws://127.0.0.1:1"\n[tables]\nrecords = "*"\n'
    (tmp_path / "site.toml").write_text(text)
    (tmp_path / "state").mkdir()
    with closing(SqlNodeStore(tmp_path / "state" / "node.db")) as store:
        here = LocalSite(policy(tmp_path).model_copy(update={"budget": {}}), new_identity("a"), store)
        asked = study("first", 4.0)
        assert propose(here, asked).approved
    shown = CliRunner().invoke(app, ["ledger", "--site", str(tmp_path / "site.toml")])
    assert "records: no budget; epsilon 4 and delta 1e-05 of private studies are set aside" in " ".join(
        shown.output.split()
    )
    assert f"{asked.hash[:12]}  reserved 4 (delta 1e-05), spent 0.000" in shown.output
    (tmp_path / "site.toml").write_text(text + "[budget.records]\nepsilon = 10.0\n")
    shown = CliRunner().invoke(app, ["ledger", "--site", str(tmp_path / "site.toml")])
    assert f"{asked.hash[:12]}  reserved 4" in shown.output
    assert "left: epsilon 6, delta 0.00099" in shown.output


def test_a_smaller_budget_holds_at_once_and_a_larger_one_gives_more(site: LocalSite) -> None:
    assert propose(site, study("first", 1.5)).approved
    for given, code in ((1.0, "budget-exhausted"), (1.5, "budget-exhausted"), (3.5, "")):
        changed = {"records": Budget(epsilon=given, delta=1e-4)}
        now = replace(site, policy=site.policy.model_copy(update={"budget": changed}))
        assert propose(now, study("second", 1.5)).code == code


def test_studies_that_cost_next_to_nothing_are_refused_for_each_tells_whether_a_cohort_is_large_enough(
    site: LocalSite, caplog: pytest.LogCaptureFixture
) -> None:
    assert propose(site, study("cheap", 1e-6)).code == "budget-exhausted"
    assert "least_epsilon is 0.05, and the study asks for 1e-06" in caplog.text
    assert propose(site, study("fair", 0.05)).approved


@pytest.mark.processes
def test_processes_that_spend_at_once_do_not_both_get_the_last(tmp_path: Path) -> None:
    SqlNodeStore(tmp_path / "node.db").close()
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bool] = context.Queue()
    path = str(tmp_path / "node.db")
    workers = [context.Process(target=_reserve, args=(path, number, results)) for number in range(5)]
    for worker in workers:
        worker.start()
    granted = [results.get(timeout=PATIENCE_SECONDS) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(granted) == [False, False, False, True, True]


def test_what_was_released_stands_in_the_ledger_before_and_after_a_restart(tmp_path: Path) -> None:
    asked, store = study("restart"), SqlNodeStore(tmp_path / "node.db")
    release = GaussianRelease("gradient", 100.0, 1000.0, dimension=2, part="train", shares=2)
    cost = None
    for number in range(3):
        cost = added_cost(asked, cost, [release])
        store.keep(Stored(asked.hash, number, bytes(32), b"", "", "a"), cost)
    store.close()
    again = SqlNodeStore(tmp_path / "node.db")
    found = again.cost(asked.hash)
    assert found is not None
    assert [one.count for one in released(found)] == [3]
    shared, alone = epsilons(found)
    assert 0 < shared < alone
    kinds = [event["kind"] for event in again.events()]
    assert kinds == ["release"] * 3
    again.close()


def test_a_tampered_ledger_breaks_the_chain(site: LocalSite, tmp_path: Path) -> None:
    from fedcohort.errors import StoreError

    propose(site, study("first"))
    store = site.store
    assert isinstance(store, SqlNodeStore)
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection, connection:
        connection.execute("UPDATE events SET detail = replace(detail, '1.5', '0.1') WHERE kind = 'reserved'")
    with pytest.raises(StoreError, match="altered"):
        store.verify()
