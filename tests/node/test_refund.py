"""What was set aside for a study that never began is free again; of one that began, nothing is."""

from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.errors import BudgetError, NotFoundError
from fedcohort.node.consent import LocalSite, stored_answer
from fedcohort.node.heads import WRITTEN_OFF
from fedcohort.node.ledger import added_cost
from fedcohort.node.records import Stored
from fedcohort.node.refund import refund
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.events import GaussianRelease
from fedcohort.wire.identity import load_or_create, new_identity
from tests.node.test_ledger import left, policy, propose, site, study
from tests.processes.support import cli

__all__ = ["site"]


def store_of(at: LocalSite) -> SqlNodeStore:
    assert isinstance(at.store, SqlNodeStore)
    return at.store


def release(at: LocalSite, name: str) -> None:
    """As a round of the study does."""
    asked = study(name)
    cost = added_cost(asked, None, [GaussianRelease("patients", 1.0, 10.0)])
    at.store.keep(Stored(asked.hash, 0, bytes(32), b"", "", "a"), cost)


def test_a_study_that_never_began_gives_back_all_of_it_and_is_ended(site: LocalSite) -> None:
    propose(site, study("first"))
    propose(site, study("second"))
    assert propose(site, study("third")).code == "budget-exhausted"
    free = refund(site, store_of(site), study("first").hash[:8], by="ada")
    assert (free.dataset, free.epsilon, free.delta) == ("records", 1.5, 1e-5)
    assert left(site) == pytest.approx((1.5, 9e-5))
    answer = stored_answer(site, study("first").hash)
    assert (answer.approved, answer.code) == (False, "refused-by-site")
    assert propose(site, study("first")).approved is False, "a person's no stands"
    assert propose(site, study("third")).approved
    kinds = [event["kind"] for event in store_of(site).events()]
    assert kinds.count("given-back") == 1
    assert store_of(site).verify() == len(kinds)


def test_a_study_that_has_released_anything_keeps_all_that_was_set_aside(site: LocalSite) -> None:
    propose(site, study("began"))
    release(site, "began")
    with pytest.raises(BudgetError, match="may have been decided by what they showed"):
        refund(site, store_of(site), study("began").hash)
    assert left(site)[0] == 1.5
    assert stored_answer(site, study("began").hash).approved


def test_it_is_given_back_once_and_only_where_something_was_set_aside(site: LocalSite) -> None:
    propose(site, study("first"))
    refund(site, store_of(site), study("first").hash)
    with pytest.raises(NotFoundError, match="nothing is set aside"):
        refund(site, store_of(site), study("first").hash)
    with pytest.raises(NotFoundError, match="0 studies begin"):
        refund(site, store_of(site), "ffff")
    assert left(site)[0] == 3.0


def test_killed_after_the_approval_ended_it_can_still_be_given_back(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    propose(site, study("first"))
    with monkeypatch.context() as dying:
        dying.setattr(SqlNodeStore, "refund", killed)
        with pytest.raises(KilledError):
            refund(site, store_of(site), study("first").hash)
    assert not stored_answer(site, study("first").hash).approved
    assert left(site)[0] == 1.5
    refund(site, store_of(site), study("first").hash)
    assert left(site)[0] == 3.0


def test_after_a_write_off_nothing_is_given_back_for_its_rounds_may_be_among_what_is_lost(
    site: LocalSite,
) -> None:
    propose(site, study("first"))
    site.store.note(WRITTEN_OFF, detail={"epoch": 1, "sequence": 9})
    with pytest.raises(BudgetError, match="written off once"):
        refund(site, store_of(site), study("first").hash)
    assert left(site)[0] == 1.5


@pytest.mark.processes
def test_the_command_says_what_is_free_again(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        'id = "a"\ndata = "a.db"\ncoordinator = "ws://127.0.0.1:1"\n[tables]\nrecords = "*"\n'
        "[budget.records]\nepsilon = 3.0\ndelta = 1e-4\n"
    )
    state = tmp_path / "state"
    state.mkdir()
    key = load_or_create(state / "site.key", "a")
    with closing(SqlNodeStore(state / "node.db")) as store:
        rules = policy(tmp_path).model_copy(update={"state": state})
        propose(LocalSite(rules, key, store), study("first"), new_identity("ada"))
    done = cli("ledger", "--site", "site.toml", "--give-back", study("first").hash[:10], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = "".join(done.stdout.splitlines()[:2])
    assert "epsilon 1.5 (delta 1e-05) of records is free again" in said
    assert (
        done.stdout.splitlines()[-1]
        == "  left: epsilon 3, delta 0.0001 (10 studies of the default delta, 1e-05)"
    )
