"""Consent with real processes: a person approves or refuses in another process, and the node obeys."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.errors import SchemaError, StudyError, StudyFailedError
from fedcohort.node import consent
from fedcohort.node.policy import read_policy
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.client import Handle, awaited
from fedcohort.study import Categorical, Numeric, Study, Train
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import load_or_create
from fedcohort.wire.signing import approval_signing_bytes
from tests.build import TABLE, cohort, describe_study, train_study
from tests.patience import until
from tests.processes.support import Group, Process, cli, random_name, wards

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with wards(tmp_path_factory.mktemp("asking"), n_sites=2, policy='approval = "ask"\n') as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Site a offers little: no bp, no training but logistic, no evaluation; b demands 100 patients."""
    with wards(tmp_path_factory.mktemp("strict"), n_sites=1) as group:
        folder = group.folder / "data"
        narrow = f'{TABLE} = ["age", "sex", "ill"]'
        group.add("narrow", folder / "a.db", 'analyses = ["describe"]\n', narrow)
        group.add("large", folder / "a.db", 'min_patients = 61\nmodels = ["mlp_medical"]\n')
        group.wait_linked()
        yield group


def answers(handle: Handle) -> dict[str, tuple[str, str]]:
    return {site["id"]: (site["state"], site["code"]) for site in handle.status["sites"]}


def asked(group: Group, study: Study) -> Handle:
    handle = group.connect().submit(study)
    both = {"a": ("asked", ""), "b": ("asked", "")}
    until(lambda: answers(handle) == both, "both sites have been asked")
    return handle


def approve(group: Group, site: str, study: str, *options: str) -> str:
    done = cli("approve", study, "--site", group.folder / f"{site}.toml", *options, cwd=group.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_study_stays_proposed_until_people_sign_in_another_process(asking: Group) -> None:
    handle = asked(asking, describe_study(random_name()))
    words = approve(asking, "a", handle.id[:12], "--yes")
    assert "Protection: masks." in words
    assert "With two hospitals each can subtract its own part from the sum" in words
    assert "approved; the running node sends it on" in words
    until(lambda: answers(handle)["a"] == ("approved", ""), "a's approval at the coordinator")
    time.sleep(1.0)
    assert handle.state == "proposed"
    approve(asking, "b", handle.id, "--yes")
    assert handle.wait(progress=False).report["patients"] == 120


def test_without_yes_nothing_is_signed(asking: Group) -> None:
    handle = asked(asking, describe_study(random_name()))
    done = cli("approve", handle.id, "--site", asking.folder / "a.toml", cwd=asking.folder)
    assert done.returncode == 1
    no = cli("approve", handle.id, "--site", asking.folder / "a.toml", cwd=asking.folder, typed="n\n")
    assert no.returncode == 1
    assert "nothing was signed; --refuse tells the coordinator" in no.stdout
    listed = cli("approve", "--site", asking.folder / "a.toml", cwd=asking.folder).stdout
    assert f"{handle.id[:12]}  asked" in listed
    assert f"study {handle.id[:12]} waits for an answer: `fedcohort approve" in asking.nodes["a"].text
    ended = asking.cli("cancel", handle.id[:12], cwd=asking.folder)
    assert ended.stdout == f"{handle.id[:12]}: cancelled\n"
    assert handle.status["error"]["code"] == "cancelled"
    for words in ("cancel", "start"):
        again = asking.cli(words, handle.id[:12], cwd=asking.folder)
        assert again.returncode == 1
        assert "is cancelled already" in again.stderr


def test_whoever_runs_a_study_is_told_whose_answer_it_waits_for(asking: Group) -> None:
    question = describe_study(random_name())
    path = asking.folder / "question.json"
    path.write_bytes(question.canonical)
    words, log = ["run", str(path), "--coordinator", asking.url], asking.folder / "run.log"
    running = Process(words, asking.folder, log, {"FEDCOHORT_TOKEN": asking.token}).start()
    until(lambda: "waiting for approval by a, b\n" in running.text, "the sites that are waited for")
    studies = asking.connect().rest.get("/api/studies")["studies"]
    (study,) = [row["id"] for row in studies if row["name"] == question.name]
    approve(asking, "a", study, "--yes")
    until(lambda: "waiting for approval by b\n" in running.text, "the site that is left")
    approve(asking, "b", study, "--yes")
    assert running.wait() == 0
    assert "column" in running.text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"state": "running", "sites": [], "error": None}, ""),
        ({"state": "proposed", "sites": [], "error": None}, "waiting for hospitals"),
        ({"state": "waiting", "sites": [], "error": {"message": "1 of 2 sites"}}, "waiting: 1 of 2 sites"),
        (
            {
                "state": "proposed",
                "sites": [
                    {"id": "a", "state": "asked", "code": ""},
                    {"id": "b", "state": "refused", "code": "refused-by-site"},
                    {"id": "c", "state": "approved", "code": ""},
                ],
                "error": None,
            },
            "waiting for approval by a; refused by b: refused-by-site "
            "(a person at the site said no; ask the site's operator)",
        ),
    ],
)
def test_what_a_study_waits_for_in_words(status: dict[str, Any], words: str) -> None:
    assert awaited(status) == words


def test_one_refusal_below_min_sites_fails_the_study_with_the_site_and_its_code(asking: Group) -> None:
    handle = asked(asking, describe_study(random_name()))
    assert "refused" in approve(asking, "b", handle.id, "--refuse", "--yes")
    with pytest.raises(StudyFailedError, match=r"too-few-sites: .* refused: b: refused-by-site"):
        handle.wait(progress=False)
    assert answers(handle)["b"] == ("refused", "refused-by-site")


def test_an_expired_approval_answers_nothing(asking: Group) -> None:
    handle = asked(asking, describe_study(random_name()))
    policy = read_policy(asking.folder / "a.toml")
    store = SqlNodeStore(policy.state / "node.db")
    site = consent.LocalSite(policy, load_or_create(policy.state / "site.key", "a"), store)
    signed = consent.approve(site, handle.id)
    past = replace(signed, expires_at=int(time.time()) - 60)
    past = replace(past, signature=site.identity.sign(approval_signing_bytes(past)))
    store.decide(handle.id, "approved", encode(past))
    store.close()
    approve(asking, "b", handle.id, "--yes")
    with pytest.raises(StudyFailedError, match=r"too-few-sites: .*a: approval-expired"):
        handle.wait(progress=False)
    assert answers(handle)["a"] == ("refused", "approval-expired")
    until(lambda: "approve the study again" in asking.nodes["a"].text, "the remedy in a's log")


def test_a_changed_study_is_another_study_and_needs_its_own_approval(asking: Group) -> None:
    study = describe_study(random_name())
    first = asked(asking, study)
    for site in ("a", "b"):
        approve(asking, site, first.id, "--yes")
    first.wait(progress=False)
    wider = study.model_copy(update={"cohort": cohort(where="age >= 18")})
    second = asked(asking, wider)
    assert second.id != first.id
    assert second.state == "proposed"
    second.cancel()


NARROW_COLUMNS = {"age": Numeric(18, 100), "sex": Categorical(("f", "m"))}


@pytest.mark.parametrize(
    ("study", "codes"),
    [
        (describe_study("no bp"), {"narrow": "schema-mismatch", "large": "cohort-too-small"}),
        (
            describe_study("no table", cohort=cohort(table="pharmacy")),
            {"a": "schema-mismatch", "narrow": "schema-mismatch", "large": "schema-mismatch"},
        ),
        (
            train_study("no training", 2, cohort=cohort(columns=NARROW_COLUMNS)),
            {"narrow": "policy-refused", "large": "policy-refused"},
        ),
        (
            describe_study("small", cohort=cohort(columns=NARROW_COLUMNS, where="age < 19")),
            {"a": "cohort-too-small", "narrow": "cohort-too-small", "large": "cohort-too-small"},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Study) else "",
)
def test_a_policy_refuses_with_its_code(strict: Group, study: Study, codes: dict[str, str]) -> None:
    handle = strict.submit_unchecked(study)
    with pytest.raises(StudyFailedError, match="too-few-sites"):
        handle.wait(progress=False)
    refusals = {site: code for site, (state, code) in answers(handle).items() if state == "refused"}
    assert refusals == codes
    assert "site.toml" not in str(handle.status["error"])


def test_a_researcher_reads_which_site_lacks_which_column_before_anything_is_sent(strict: Group) -> None:
    with pytest.raises(SchemaError, match="site narrow: does not offer column bp"):
        strict.connect().submit(describe_study(random_name()))


def test_a_model_that_is_not_allowed_is_refused(strict: Group) -> None:
    own = Train(model="cnn_medical", rounds=1)
    study = Study(name=random_name(), cohort=cohort(), analysis=own)
    handle = strict.submit_unchecked(study)
    with pytest.raises(StudyFailedError):
        handle.wait(progress=False)
    assert answers(handle)["large"] == ("refused", "policy-refused")
    assert "models does not allow 'cnn_medical'" in strict.nodes["large"].text


def test_what_a_site_signed_is_in_its_own_log_and_the_chain_is_whole(strict: Group, tmp_path: Path) -> None:
    done = cli("node", "audit", "--site", strict.folder / "narrow.toml", cwd=tmp_path)
    assert "entries, the chain is whole" in done.stdout


def test_hospitals_that_count_in_two_units_are_not_added_up(strict: Group) -> None:
    def days(members: Members) -> str:
        told = members.catalogues(["a"])["a"]
        told["tables"][TABLE]["columns"]["age"]["unit"] = "days"  # type: ignore[index]
        members.seen("a", told)
        return "a"

    strict.members(days)
    asked = describe_study(random_name(), cohort=cohort(columns=NARROW_COLUMNS), min_sites=2)
    handle = strict.submit_unchecked(asked)
    with pytest.raises(StudyFailedError, match="schema-mismatch: column age: in days at site a, in years at"):
        handle.wait(progress=False)


def test_a_cancelled_study_is_refused_again_in_words_until_it_is_to_go_on(asking: Group) -> None:
    study = describe_study(random_name(), min_sites=2)
    federation = asking.connect()
    handle = federation.submit(study)
    handle.cancel()
    assert handle.state == "cancelled"
    with pytest.raises(StudyFailedError, match="cancelled: the researcher cancelled it"):
        handle.wait(progress=False)
    with pytest.raises(StudyError, match=r"was cancelled after 0 exchanges.*resume=True.*--resume"):
        federation.submit(study)
    assert handle.state == "cancelled"
    path = asking.folder / "again.json"
    path.write_bytes(study.canonical)
    again = asking.cli("run", path, "--resume", "--no-wait", cwd=asking.folder)
    assert again.stdout.strip() == handle.id
    assert handle.state == "proposed"
    handle.cancel()


def test_a_study_that_version_01_cancelled_reads_as_cancelled(tmp_path: Path) -> None:
    with contextlib.closing(CoordinatorStore(tmp_path / "coordinator.db")) as store:
        store.submit(Submission("ab" * 32, "old", b"{}", "ada", b"", b"", 1))
        store.set_state("ab" * 32, "failed", "cancelled", "the researcher cancelled it")
        assert [row["state"] for row in store.studies()] == ["cancelled"]
        found = store.study("abababab")
        assert found is not None
        assert found["state"] == "cancelled"


def test_a_running_nodes_trust_is_not_forgotten_under_it(asking: Group) -> None:
    site = asking.folder / "a.toml"
    refused = cli("node", "forget", "--site", site, cwd=asking.folder)
    assert refused.returncode == 1
    assert "a's node is running" in refused.stderr
    assert asking.linked() == {"a", "b"}
    asking.nodes["a"].signal(SIGTERM)
    asking.nodes["a"].wait()
    done = cli("node", "forget", "--site", site, cwd=asking.folder)
    assert done.stdout == "forgotten; start the node with a new token to join\n", done.stderr
    asking.nodes["a"].more = {
        "FEDCOHORT_JOIN_TOKEN": asking.members(lambda members: members.invite_site("a", again=True))
    }
    asking.nodes["a"].start()
    asking.wait_linked("a", "b")
