"""`fedcohort approve` as it is typed tells that a private study would wait, before anything is signed."""

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.columns import Numeric
from fedcohort.node.consent import LocalSite, receive_proposal
from fedcohort.node.keys import confirm
from fedcohort.node.policy import read_policy
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Cohort, Describe, Privacy, Study
from fedcohort.wire.identity import load_or_create, new_identity
from fedcohort.wire.messages import Event, Proposal
from fedcohort.wire.signing import study_signing_bytes
from tests.build import ward_rows, write_ward

COHORT = Cohort(table="ward", columns={"age": Numeric(18, 90)})
PRIVATE = Study(name="private", cohort=COHORT, analysis=Describe(), privacy=Privacy(epsilon=1.0))
EXACT = Study(name="exact", cohort=COHORT, analysis=Describe())


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """The site.toml of one of two hospitals, which has been asked for both studies."""
    path = tmp_path / "site.toml"
    write_ward(tmp_path / "a.db", ward_rows(0, 3))
    path.write_text('id = "a"\ndata = "a.db"\ncoordinator = "ws://127.0.0.1:1"\n[tables]\nward = ["age"]\n')
    policy = read_policy(path)
    confirm(policy.roster, "b", new_identity("b").public_key)
    identity, researcher = load_or_create(policy.state / "site.key", "a"), new_identity("r")
    with closing(SqlNodeStore(policy.state / "node.db")) as store:
        for study in (PRIVATE, EXACT):
            signature = researcher.sign(study_signing_bytes(study.canonical))
            proposal = Proposal(study.canonical, "r", researcher.public_key, signature)
            assert receive_proposal(LocalSite(policy, identity, store), proposal) == Event(
                "asked", study.hash
            )
    return path


def typed(site: Path, study: Study, *options: str) -> str:
    done = CliRunner().invoke(app, ["approve", study.hash, "--site", str(site), *options], input="n\n")
    return " ".join(done.output.split())


def test_approve_warns_of_a_private_study_that_would_wait_before_it_signs(asked: Path) -> None:
    told = typed(asked, PRIVATE)
    warning = "WARNING: countersigning: private studies need countersignatures of 2 other sites"
    assert 0 < told.find(warning) < told.find("Sign for 30 days?")
    assert "set counter in site.toml" in told
    assert "WARNING" not in typed(asked, EXACT)
    assert "WARNING" not in typed(asked, PRIVATE, "--refuse")


def test_approve_says_nothing_where_others_can_countersign(asked: Path) -> None:
    confirm(read_policy(asked).roster, "c", new_identity("c").public_key)
    told = typed(asked, PRIVATE)
    assert "WARNING" not in told
    assert "Sign for 30 days?" in told
