"""Who may connect: one node an id, the key that was pinned, a token that is not used up or revoked."""

import json
import shutil
from collections.abc import Iterator

import httpx
import pytest

from fedcohort.study import Study
from fedcohort.wire.identity import new_identity
from fedcohort.wire.signing import study_signing_bytes
from tests.build import describe_study, explicit
from tests.patience import until
from tests.processes.support import Group, Process, cli, random_name, wards

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    folder = tmp_path_factory.mktemp("members")
    with wards(folder, n_sites=2) as running:
        yield running


def says(process: Process, text: str) -> None:
    until(lambda: text in process.text, f"{text!r} in the log")


def post(group: Group, study: Study, token: str | None, **changes: str) -> httpx.Response:
    identity, study = new_identity("eve"), explicit(study)
    body = {
        "study": json.loads(study.canonical),
        "public_key": identity.public_key.hex(),
        "signature": identity.sign(study_signing_bytes(study.canonical)).hex(),
    }
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{group.url}/api/studies", json={**body, **changes}, headers=headers, trust_env=False)


def test_a_second_process_on_one_state_folder_ends_with_a_clear_error(group: Group) -> None:
    second = group.node(group.folder / "a.toml")
    second.log = group.folder / "second.log"
    assert second.start().wait() == 1
    assert "error (store):" in second.text
    assert "in use by another process" in second.text
    assert group.linked() == {"a", "b"}


def test_a_node_with_the_id_of_another_and_its_own_key_is_refused(group: Group) -> None:
    intruder = group.stranger("a", "intruder", token="made-up")
    says(intruder, "the other side refused: wrong-key")
    says(group.coordinator, "a: wrong-key")
    assert intruder.lives
    assert group.linked() == {"a", "b"}


def test_a_copy_of_a_node_with_its_key_is_turned_away_while_the_first_is_linked(group: Group) -> None:
    place = group.folder / "copy"
    group.site_file("a", group.folder / "data" / "a.db", place="copy")
    shutil.copytree(group.folder / "a", place / "a")
    twin = group.node(place / "a.toml")
    group.others.append(twin.start())
    says(twin, "already-connected")
    says(group.coordinator, "a: a second node with this id was turned away; stop one of the two")
    assert group.run(describe_study(random_name())).report["sites"] == ["a", "b"]
    twin.kill()


def test_a_site_that_was_not_invited_is_refused(group: Group) -> None:
    stranger = group.stranger("nobody", "stranger", token="made-up")
    says(stranger, "refused: unknown-site")
    says(group.coordinator, "nobody: unknown-site")


def test_a_wrong_join_token_is_refused_and_the_right_one_still_admits(group: Group) -> None:
    token = group.members(lambda members: members.invite_site("late"))
    wrong = group.stranger("late", "late", token="wrong")
    assert wrong.wait() == 1, "no retry makes a wrong token right"
    assert "error (config-invalid): the other side refused: bad-token" in wrong.text
    none = group.stranger("late", "none", token=None)
    assert none.wait() == 1
    assert "late has not joined yet, and no join token was given" in none.text
    assert "by --token" in none.text
    right = group.node(group.folder / "late" / "late.toml", token).start()
    group.others.append(right)
    group.wait_linked("late")
    again = group.stranger("late", "again", token)
    says(again, "refused: wrong-key")
    for process in (right, again):
        process.kill()
    group.members(lambda members: str(members.remove_site("late")))


def test_a_study_needs_a_token_that_is_known_and_not_revoked(group: Group) -> None:
    study = describe_study(random_name())
    token = group.members(lambda members: members.issue_token("grace"))
    assert post(group, study, None).json()["code"] == "not-authenticated"
    assert post(group, study, "guess").status_code == 401
    assert post(group, study, token).status_code == 202
    answer = cli("coordinator", "revoke", "--researcher", "grace", "--state", group.state, cwd=group.folder)
    assert answer.stdout == "1 tokens of grace revoked\n"
    refused = post(group, study, token)
    assert refused.status_code == 401
    assert "unknown or revoked" in refused.json()["message"]


def test_every_route_but_health_needs_the_token(group: Group) -> None:
    study = group.connect().studies()["id"][0]
    paths = ["federation", "catalogue", "events", "studies", f"studies/{study}", f"studies/{study}/report"]
    for path in [*paths, f"studies/{study}/metrics", f"studies/{study}/model", f"studies/{study}/events"]:
        assert httpx.get(f"{group.url}/api/{path}", trust_env=False).status_code == 401, path
    for path in ("start", "cancel"):
        assert httpx.post(f"{group.url}/api/studies/{study}/{path}", trust_env=False).status_code == 401, path
    assert httpx.get(f"{group.url}/healthz", trust_env=False).json()["status"] == "ok"


def test_a_study_signed_by_another_key_or_changed_after_signing_is_refused(group: Group) -> None:
    study = describe_study(random_name())
    other = post(group, study, group.token, public_key=new_identity("mallory").public_key.hex())
    assert (other.status_code, other.json()["code"]) == (401, "not-authenticated")
    signed = post(group, study, group.token, signature="00" * 64)
    assert signed.json()["code"] == "not-authenticated"
    changed = {**json.loads(explicit(study).canonical), "name": "another question"}
    response = httpx.post(
        f"{group.url}/api/studies",
        json={"study": changed, "public_key": "ab" * 32, "signature": "cd" * 64},
        headers={"Authorization": f"Bearer {group.token}"},
        trust_env=False,
    )
    assert response.json()["code"] == "not-authenticated"
    assert set(group.connect().studies()["name"]).isdisjoint({study.name, "another question"})
