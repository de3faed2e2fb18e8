"""Which tables draw on one budget, what exact answers count, and that a lowered budget holds at once."""

import math
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.cli.app import app
from fedcohort.engines.local import Simulated
from fedcohort.errors import BudgetError, ConfigError, NotFoundError, PrivacyRequiredError
from fedcohort.node.answer import Node, answer
from fedcohort.node.budgets import Budget, BudgetGroup, groups_of
from fedcohort.node.check import Verdict, check_node
from fedcohort.node.consent import LocalSite, approve, read_approval
from fedcohort.node.heads import sign_head, take_heads, write_off
from fedcohort.node.ledger import accounts, epsilons
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.node.records import Reservation, StoredProposal
from fedcohort.node.settle import settle
from fedcohort.node.store import SqlNodeStore
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Cohort, Study, parse_study
from fedcohort.table import Table
from fedcohort.wire.messages import Contribution, Event, Heads, Task
from fedcohort.wire.signing import state_digest
from tests.deploy.earlier import restore

ROWS = pd.DataFrame({"patient_id": [f"p{i}" for i in range(60)], "age": [20.0 + i for i in range(60)]})
TABLES: dict[str, Literal["*"] | tuple[str, ...]] = {"records": ("age",), "copy": ("age",)}


def budget(epsilon: float, *tables: str, delta: float = 1e-3) -> Budget:
    return Budget(epsilon=epsilon, delta=delta, tables=tables or None)


def study(name: str, epsilon: float | None = 3.0, table: str = "records") -> Study:
    cohort = fc.Cohort(table=table, columns={"age": fc.Numeric(18, 90)}, split=None)
    privacy = None if epsilon is None else fc.Privacy(epsilon=epsilon, delta=1e-5)
    return fc.Study(name=name, cohort=cohort, analysis=fc.Describe(), privacy=privacy, protection="none")


class Hospital:
    """A site whose operator changes site.toml; every node of it is as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.store = SqlNodeStore(folder / "node.db")
        self.keys = Simulated().join("a")

    def policy(self, **budgets: Budget) -> SitePolicy:
        return SitePolicy(
            id="a", data="a.db", tables=TABLES, coordinator="ws://x", protections=("none",), budget=budgets
        )

    def site(self, policy: SitePolicy) -> LocalSite:
        return LocalSite(policy, self.keys.identity, self.store)

    def approved(self, policy: SitePolicy, asked: Study) -> None:
        proposal = StoredProposal(asked.hash, asked.canonical, "ada", bytes(32), bytes(64))
        self.store.propose(proposal)
        approve(self.site(policy), asked.hash)

    def ask(self, policy: SitePolicy, asked: Study) -> str:
        def load(cohort: Cohort, seed: int, private: bool) -> Table:
            return table_from_frame(ROWS, cohort, seed, private=private)

        node = Node(
            "a", 10, self.store, self.keys, load, lambda encoded: read_approval(self.keys.identity, encoded),
            allow=lambda one: check_study(policy, one),
        )  # fmt: skip
        state = build_analysis(asked).start()
        digest = state_digest(state.phase, 0, state.arrays)
        told = answer(node, Task(asked.hash, 0, 0, state.phase, state.arrays, digest, ("a",)))
        assert isinstance(told, Contribution | Event)
        return "answered" if isinstance(told, Contribution) else told.code

    def left(self, policy: SitePolicy) -> dict[str, float]:
        found = accounts(policy, self.store.reservations(), self.store.costs())
        return {one.dataset: one.left[0] for one in found if one.left is not None}


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path)
    yield made
    made.store.close()


def test_a_lowered_budget_holds_for_studies_that_were_approved_before(hospital: Hospital) -> None:
    """Three studies of 3 under a budget of 10; under one of 3 the first to release is the only one."""
    rich, poor = hospital.policy(records=budget(10.0)), hospital.policy(records=budget(3.0))
    three = [study(f"s{number}") for number in range(3)]
    for one in three:
        hospital.approved(rich, one)
    assert [hospital.ask(poor, one) for one in three] == ["answered", "budget-exhausted", "budget-exhausted"]
    assert sum(epsilons(cost)[0] for cost in hospital.store.costs()) <= 3.0
    assert [hospital.ask(poor, one) for one in three[:2]] == ["answered", "budget-exhausted"]
    richer = hospital.policy(records=budget(6.0))
    assert [hospital.ask(richer, one) for one in three] == ["answered", "answered", "budget-exhausted"]


def test_views_and_copies_draw_on_the_account_of_their_data(hospital: Hospital) -> None:
    policy = hospital.policy(records=budget(4.0))
    hospital.approved(policy, study("of the table"))
    with pytest.raises(BudgetError, match=r"1 \(delta .* of 4 is left"):
        hospital.approved(policy, study("of its copy", table="copy"))
    with pytest.raises(PrivacyRequiredError, match="costs more than any budget"):
        hospital.approved(policy, study("exact of its copy", None, "copy"))
    hospital.approved(policy, study("small", 1.0, "copy"))
    assert hospital.left(policy) == {"records": pytest.approx(0.0)}


def test_groups_that_the_operator_names_share_no_patient(hospital: Hospital) -> None:
    apart = hospital.policy(one=budget(4.0, "records"), two=budget(3.0, "copy"))
    hospital.approved(apart, study("of the table"))
    hospital.approved(apart, study("of the other", table="copy"))
    assert hospital.left(apart) == {"one": 1.0, "two": 0.0}
    together = hospital.policy(both=budget(10.0, "records", "copy"))
    assert hospital.left(together) == {"both": 4.0}


def test_old_budgets_by_table_hold_together_the_smallest_against_all_that_was_spent(
    hospital: Hospital,
) -> None:
    apart = hospital.policy(one=budget(10.0, "records"), two=budget(5.0, "copy"))
    hospital.approved(apart, study("first", 3.0))
    hospital.approved(apart, study("second", 1.0, "copy"))
    old = hospital.policy(records=budget(10.0, delta=1e-4), copy=budget(5.0))
    (group,) = old.groups
    assert group.limit == replace(group.limit, group="copy", epsilon=5.0, delta=1e-4)
    assert hospital.left(old) == {"copy": pytest.approx(1.0)}
    assert hospital.ask(old, study("first", 3.0)) == "answered"
    with pytest.raises(BudgetError, match=r"1 \(delta"):
        hospital.approved(old, study("third", 1.5))


def test_what_was_spent_of_a_table_that_is_on_offer_no_more_counts_in_every_group(hospital: Hospital) -> None:
    policy = hospital.policy(one=budget(4.0, "records"), two=budget(3.0, "copy"))
    hospital.store.reserve(Reservation("ab" * 32, "renamed", 2.0, 0.0), policy.groups[0].limit)
    assert hospital.left(policy) == {"one": 2.0, "two": 1.0}


def test_a_group_without_tables_holds_all_that_no_other_names() -> None:
    tables = ("a", "b", "c", "d")
    mixed = {"own": budget(1.0, "a"), "x": budget(4.0), "y": budget(3.0)}
    own, rest = groups_of(tables, mixed)
    assert (own.tables, own.elsewhere) == (("a",), frozenset())
    assert (rest.name, rest.tables, rest.elsewhere) == ("y", ("b", "c", "d"), frozenset("a"))
    assert groups_of(tables, {}) == (BudgetGroup("a, b, c, d", tables, None),)


def exact_before(hospital: Hospital, name: str = "exact") -> Study:
    asked = study(name, None)
    hospital.approved(hospital.policy(), asked)
    assert hospital.ask(hospital.policy(), asked) == "answered"
    return asked


def test_exact_answers_before_a_budget_count_as_infinite_until_the_operator_says_otherwise(
    hospital: Hospital,
) -> None:
    asked, policy = exact_before(hospital), hospital.policy(records=budget(4.0))
    hospital.approved(hospital.policy(), study("private", 1.0))
    assert hospital.left(policy) == {"records": 0.0}
    with pytest.raises(BudgetError, match="count as infinite until you say what they count") as told:
        hospital.approved(policy, study("after", 0.5))
    assert "--settle STUDY --because WORDS" in str(told.value)
    assert hospital.ask(policy, study("private", 1.0)) == "budget-exhausted"
    settle(hospital.store, asked.hash[:8], "ward counts, published 2024", 0.5)
    assert hospital.store.details("settled") == [
        {"dataset": "records", "epsilon": 0.5, "because": "ward counts, published 2024"}
    ]
    assert hospital.left(policy) == {"records": 2.5}
    assert hospital.ask(policy, study("private", 1.0)) == "answered"
    assert hospital.store.verify() == len(hospital.store.events())


def test_an_exact_study_that_was_approved_and_never_answered_counts_nothing(hospital: Hospital) -> None:
    hospital.approved(hospital.policy(), study("exact", None))
    assert hospital.left(hospital.policy(records=budget(4.0))) == {"records": 4.0}


@pytest.mark.parametrize(
    ("which", "words", "epsilon", "error", "says"),
    [
        ("all", "", 0.0, ConfigError, "in 3 words or more"),
        ("all", "a good reason", math.inf, ConfigError, "0 or more"),
        ("all", "a good reason", -1.0, ConfigError, "0 or more"),
        ("ffff", "a good reason", 0.0, NotFoundError, "0 studies that count as infinite"),
        ("", "a good reason", 0.0, NotFoundError, "2 studies that count as infinite"),
    ],
)
def test_what_settles_nothing_is_refused(
    hospital: Hospital, which: str, words: str, epsilon: float, error: type[Exception], says: str
) -> None:
    exact_before(hospital), exact_before(hospital, "other")
    with pytest.raises(error, match=says):
        settle(hospital.store, which, words, epsilon)
    assert [one.epsilon for one in hospital.store.reservations()] == [math.inf, math.inf]


def test_after_a_write_off_nothing_is_left_that_settling_would_free(
    hospital: Hospital, tmp_path: Path
) -> None:
    exact_before(hospital)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("node.db*"):
        shutil.copy(path, copy)
    exact_before(hospital, "lost")
    head = sign_head(hospital.keys.identity, hospital.store)
    hospital.store.close()
    hospital.store = SqlNodeStore(copy / "node.db")
    policy = hospital.policy(records=budget(4.0))
    with pytest.raises(Exception, match="write-off"):
        take_heads(hospital.keys.identity, hospital.store, lambda _: None, Heads((head,)))
    write_off(hospital.site(policy), hospital.store)
    settle(hospital.store, "all", "nobody but us read it")
    assert hospital.left(policy) == {"records": 0.0}


def test_an_infinite_budget_pays_for_exact_studies_beside_a_group_that_has_one(hospital: Hospital) -> None:
    policy = hospital.policy(private=budget(4.0, "records"), public=budget(math.inf, "copy"))
    exact = study("public", None, "copy")
    hospital.approved(policy, exact)
    assert hospital.ask(policy, exact) == "answered"
    hospital.approved(policy, study("private of it", 9.0, "copy"))
    with pytest.raises(PrivacyRequiredError):
        hospital.approved(policy, study("exact", None))
    assert hospital.left(policy) == {"private": 4.0, "public": math.inf}


def test_the_ledger_of_ed08848_counts_its_exact_studies_as_infinite(tmp_path: Path) -> None:
    """Its stores hold exact and private studies of `ward` that were answered without a budget."""
    restore(tmp_path)
    with closing(SqlNodeStore(tmp_path / "a" / "node.db", exclusive=True)) as store:
        answered = {row.study_hash: row for row in store.reservations()}
        asked = {found.study_hash: parse_study(found.study) for found in store.proposals()}
        exact = {name for name, row in answered.items() if math.isinf(row.epsilon)}
        assert exact == {name for name in asked if asked[name].privacy is None and store.last(name)}
        assert exact
        assert {answered[name].dataset for name in exact} == {"ward"}


def site_file(folder: Path, budgets: str) -> Path:
    path = folder / "site.toml"
    path.write_text(
        'id = "a"\ndata = "data/a.db"\ncoordinator = "ws://127.0.0.1:1"\nstate = "a"\n'
        f'[tables]\nward = "*"\nview = "*"\n{budgets}'
    )
    return path


def verdicts(policy: SitePolicy) -> list[Verdict]:
    return [one for one in check_node(policy) if one.what in ("budget", "ledger")]


def test_node_check_tells_before_the_upgrade_what_old_budgets_become(tmp_path: Path) -> None:
    from fedcohort.node.policy import read_policy

    restore(tmp_path)
    old = "[budget.ward]\nepsilon = 5.0\n[budget.view]\nepsilon = 2.0\n"
    budgets, ledger = verdicts(read_policy(site_file(tmp_path, old)))
    assert (budgets.ok, ledger.ok) == (False, False)
    assert (
        "one budget, view (epsilon 2), holds for view, ward, and all that was spent is added"
        in budgets.remedy
    )
    assert "share none, say so by tables = [...]" in budgets.remedy
    assert "were answered before there was a budget, and count as infinite" in ledger.remedy
    named = old.replace("5.0\n", '5.0\ntables = ["ward"]\n').replace("2.0\n", '2.0\ntables = ["view"]\n')
    assert [one.what for one in verdicts(read_policy(site_file(tmp_path, named)))] == ["ledger", "ledger"]


def test_the_command_lists_exact_studies_and_does_what_its_remedy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    restore(tmp_path)
    site = str(site_file(tmp_path, "[budget.all]\nepsilon = 9.0\n"))
    shown = CliRunner().invoke(app, ["ledger", "--site", site])
    assert shown.output.startswith("all (view, ward): epsilon 9, delta 0.001\n")
    assert "answered without [privacy]: counts as infinite" in shown.output
    assert "left: epsilon 0, " in shown.output
    settled = CliRunner().invoke(
        app, ["ledger", "--site", site, "--settle", "all", "--because", "counts of wards, published"]
    )
    assert settled.exit_code == 0, settled.output
    assert "counts as epsilon 0 from now on" in settled.output
    assert "counts as infinite" not in settled.output
    assert "left: epsilon 0, " not in settled.output
