"""A noisy copy: as noisy as promised, within bounds, paid for before it is written."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedcohort.errors import BudgetError, CohortError, ConfigError, LedgerBehindError, SchemaError, StudyError
from fedcohort.node.budgets import Budget
from fedcohort.node.ledger import accounts, epsilons, released
from fedcohort.node.perturb import Bounded, noisy_column, perturb
from fedcohort.node.policy import SitePolicy
from fedcohort.node.store import SqlNodeStore
from tests.build import TABLE, ward_rows, write_ward
from tests.processes.support import cli


def policy(folder: Path, **changes: object) -> SitePolicy:
    database = folder / "a.db"
    if not database.exists():
        write_ward(database, ward_rows(0))
    given = {"id": "a", "data": str(database), "tables": {TABLE: "*"}, "coordinator": "ws://127.0.0.1:1"}
    whole = {**given, "state": folder, "budget": {TABLE: Budget(epsilon=2.0)}, **changes}
    return SitePolicy.model_validate(whole)


def test_a_column_has_laplace_noise_of_its_range_over_epsilon() -> None:
    column = Bounded("x", -1000.0, 1000.0)
    noise = noisy_column(np.zeros(4000), column, 50.0)
    assert np.mean(np.abs(noise)) == pytest.approx(2000 / 50, rel=0.1)  # the mean of |Laplace| is its scale
    assert np.median(noise) == pytest.approx(0.0, abs=4.0)


def test_values_beyond_the_bounds_and_missing_ones_show_nothing() -> None:
    column = Bounded("x", 0.0, 1.0)
    found = noisy_column(np.array([np.nan, 1e9, -1e9] * 50), column, 1.0)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_the_copy_is_charged_and_holds_only_noisy_numbers(tmp_path: Path) -> None:
    site = policy(tmp_path)
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        report = perturb(site, store, TABLE, 1.5, tmp_path / "noisy.db")
        assert (report.read, report.written) == (60, 60)
        (cost,) = store.costs()
        assert epsilons(cost)[0] == pytest.approx(1.5)
        assert {one.what for one in released(cost)} == {"perturbed age", "perturbed bp"}
        with pytest.raises(BudgetError, match=r"0\.5 \(delta"):
            perturb(site, store, TABLE, 1.0, tmp_path / "more.db")
        assert not (tmp_path / "more.db").exists()
    frame = pd.read_sql_table(TABLE, f"sqlite:///{tmp_path / 'noisy.db'}")
    assert set(frame.columns) == {"id", "patient_id", "age", "bp"}
    assert frame["age"].between(18, 100).all()
    assert not set(frame["age"]) & {row["age"] for row in ward_rows(0)} - {18.0, 100.0}
    assert frame["patient_id"].str.startswith("noisy-").all()


def test_a_copy_made_without_a_budget_is_recorded_and_counts_against_one_that_is_set_later(
    tmp_path: Path,
) -> None:
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        perturb(policy(tmp_path, budget={}), store, TABLE, 1.5, tmp_path / "noisy.db")
        (account,) = accounts(policy(tmp_path, budget={}), store.reservations(), store.costs())
        assert account.taken == (1.5, 0.0)
        (account,) = accounts(policy(tmp_path), store.reservations(), store.costs())
        assert account.left == pytest.approx((0.5, 1e-3))
        with pytest.raises(BudgetError, match=r"0\.5 \(delta"):
            perturb(policy(tmp_path), store, TABLE, 1.0, tmp_path / "more.db")


def test_an_older_copy_of_the_ledger_pays_for_no_copy_where_there_is_a_counter(tmp_path: Path) -> None:
    site = policy(tmp_path, counter=tmp_path / "elsewhere.counter")
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        perturb(site, store, TABLE, 1.5, tmp_path / "noisy.db")
    with closing(SqlNodeStore(tmp_path / "restored" / "node.db")) as older:
        with pytest.raises(LedgerBehindError):
            perturb(site, older, TABLE, 1.5, tmp_path / "more.db")
        assert older.costs() == []
    assert not (tmp_path / "more.db").exists()


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("inf"), float("nan")])
def test_an_epsilon_that_promises_nothing_is_refused(tmp_path: Path, epsilon: float) -> None:
    with (
        closing(SqlNodeStore(tmp_path / "node.db")) as store,
        pytest.raises(StudyError, match="positive, finite"),
    ):
        perturb(policy(tmp_path), store, TABLE, epsilon, tmp_path / "noisy.db")


def test_what_cannot_be_copied_is_refused_before_it_is_charged(tmp_path: Path) -> None:
    twice = [*ward_rows(0, 5), *ward_rows(0, 5)]
    write_ward(tmp_path / "twice.db", twice)
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        with pytest.raises(CohortError, match="several rows"):
            perturb(policy(tmp_path, data=str(tmp_path / "twice.db")), store, TABLE, 1.0, tmp_path / "n.db")
        with pytest.raises(SchemaError, match="does not offer"):
            perturb(policy(tmp_path), store, "other", 1.0, tmp_path / "n.db")
        with pytest.raises(SchemaError, match="no number with declared bounds"):
            perturb(policy(tmp_path, tables={TABLE: ["sex"]}), store, TABLE, 1.0, tmp_path / "n.db")
        with pytest.raises(ConfigError, match="exists already"):
            perturb(policy(tmp_path), store, TABLE, 1.0, tmp_path / "a.db")
        assert store.costs() == []


@pytest.mark.processes
def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    site = policy(tmp_path)
    (tmp_path / "site.toml").write_text(
        f'id = "a"\ndata = "{site.data}"\ncoordinator = "ws://127.0.0.1:1"\n[tables]\n{TABLE} = "*"\n'
    )
    (tmp_path / "state").mkdir()
    done = cli("data", "perturb", "--table", TABLE, "--epsilon", "1", "--into", "noisy.db", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "60 rows read, 60 written" in done.stdout
