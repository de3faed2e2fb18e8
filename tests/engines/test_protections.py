"""The same bits under every protection, whoever is lost and whenever; a lie opens nothing."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fedcohort.node.answer import answer
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, shape_from_text, zero_ring
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.study import Study
from fedcohort.wire.codec import encode
from fedcohort.wire.messages import Contribution, Event, Help, Message, OpenRequest, SiteId, Task
from tests.build import code_of, describe_study, explicit, protected_by

from .support import Disturb, Play, StuckError

pytestmark = pytest.mark.usefixtures("paillier_keys")

IN_A_PROCESS = {"ckks": pytest.mark.processes}
MARKED = {name: pytest.param(name, marks=IN_A_PROCESS.get(name, ())) for name in PROTECTIONS}
HIDDEN = [MARKED[name] for name, one in PROTECTIONS.items() if one.opening is not None]
KEYED = [MARKED[name] for name, one in PROTECTIONS.items() if one.setup is not None]


def study(protection: str, **changes: object) -> Study:
    return explicit(describe_study("the same bits", **protected_by(protection), **changes))


def lose(*lost: SiteId, phase: type[Message]) -> Disturb:
    """These sites do not answer such questions."""

    def disturb(site: SiteId, question: Message, reply: Message) -> Sequence[Message]:
        return [] if site in lost and isinstance(question, phase) else [reply]

    return disturb


@pytest.mark.processes
@pytest.mark.parametrize("lost", [(), ("e",)], ids=["nobody lost", "one lost"])
def test_every_protection_gives_the_same_report(lost: tuple[SiteId, ...]) -> None:
    reports = {}
    for protection in PROTECTIONS:
        play = Play(study(protection), disturb=lose(*lost, phase=Task))
        reports[protection] = play.go()
        assert play.survivors == [tuple(site for site in "abcde" if site not in lost)]
    assert all(report == reports["none"] for report in reports.values())


@pytest.mark.parametrize("protection", HIDDEN)
def test_no_contribution_shows_the_sites_integers(protection: str) -> None:
    play, plain = Play(study(protection)), Play(study("none"))
    play.go()
    plain.go()
    shown = [reply.body for _, _, reply in plain.seen if isinstance(reply, Contribution)]
    hidden = [reply.body for _, _, reply in play.seen if isinstance(reply, Contribution)]
    assert len(shown) == len(hidden) == 5
    for body in shown:
        telling = max(
            (body[at : at + 8] for at in range(0, len(body) - 7, 8)), key=lambda part: len(set(part))
        )
        assert len(set(telling)) >= 4
        assert all(body not in other and telling not in other for other in hidden)


@pytest.mark.parametrize("n_lost", [0, 1])
def test_masks_survive_the_loss_of_sites_before_they_help(n_lost: int) -> None:
    lost = tuple("abcde"[:n_lost])
    play = Play(study("masks"), disturb=lose(*lost, phase=OpenRequest))
    assert play.go()["patients"] == 300
    assert play.survivors == [("a", "b", "c", "d", "e")]


@pytest.mark.parametrize("phase", [Task, OpenRequest])
def test_masks_wait_below_the_threshold_and_nothing_is_opened(phase: type[Message]) -> None:
    play = Play(study("masks"), disturb=lose("d", "e", phase=phase))
    with pytest.raises(StuckError, match=r"3 of the 4 sites|3 of 5 sites have helped"):
        play.go()
    assert play.survivors == []


def test_masks_go_on_when_the_lost_sites_are_back() -> None:
    left = ["d", "e"]

    def disturb(site: SiteId, question: Message, reply: Message) -> Sequence[Message]:
        if isinstance(question, OpenRequest) and site in left:
            left.remove(site)
            return []
        return [reply]

    play = Play(study("masks"), disturb=disturb)
    assert play.go()["patients"] == 300
    assert play.reasons[-1] == ""


@pytest.mark.parametrize("protection", KEYED)
def test_when_one_site_does_not_decrypt_the_next_is_asked(protection: str) -> None:
    play = Play(study(protection), disturb=lose("a", "b", phase=OpenRequest))
    assert play.go()["patients"] == 300


@pytest.mark.parametrize("protection", HIDDEN)
def test_a_coordinator_that_was_killed_between_asking_and_adding_goes_on(protection: str) -> None:
    """What is to be opened is kept; sites that have helped already help with the very same again."""
    first = Play(study(protection), disturb=lose(*"abcde", phase=OpenRequest))
    with pytest.raises(StuckError):
        first.go()
    second = Play(first.study, nodes=first.nodes, log=first.log)
    assert second.go()["patients"] == 300
    assert not any(isinstance(question, Task) for _, question, _ in second.seen)


@pytest.mark.parametrize("protection", KEYED)
def test_help_is_the_sums_integers_and_nothing_else_of_a_decryption(protection: str) -> None:
    """A raw decryption of `ckks` would betray its key (Li and Micciancio 2021)."""
    plain, hidden = Play(study("none")), Play(study(protection))
    sums: dict[int, Ring] = {}

    def add(site: SiteId, question: Message, reply: Message) -> Sequence[Message]:
        stored = plain.nodes[site].store.last(plain.study.hash)
        assert stored is not None
        assert isinstance(reply, Contribution)
        sizes = shape_from_text(stored.shape).sizes
        add_ring(sums.setdefault(reply.round, zero_ring(sizes)), ring_from_bytes(reply.body, sizes))
        return [reply]

    plain.disturb = add
    plain.go()
    hidden.go()
    helps = {reply.round: reply.body for _, _, reply in hidden.seen if isinstance(reply, Help)}
    assert helps == {number: total.to_bytes() for number, total in sums.items()}


@pytest.mark.parametrize("protection", KEYED)
def test_the_coordinator_never_sees_the_studys_secret_key(protection: str) -> None:
    play = Play(study(protection))
    play.go()
    node = play.nodes["a"]
    stored = node.store.study_key(play.study.hash)
    assert stored is not None
    secret = node.keys.unlock(play.study.hash, stored.locked)
    assert len(secret) > 100
    pieces = [secret[start : start + 32] for start in range(6, len(secret) - 32, 64)]
    only_secret = [piece for piece in pieces if piece not in stored.public]
    assert only_secret
    passed = [encode(message) for _, question, reply in play.seen for message in (question, reply)]
    for data in (*passed, *play.log.kept.values()):
        assert not any(piece in data for piece in only_secret)


def requests_of(play: Play) -> dict[SiteId, OpenRequest]:
    return {site: question for site, question, _ in play.seen if isinstance(question, OpenRequest)}


def test_a_site_helps_with_the_same_request_again_and_with_no_other_of_the_round() -> None:
    play = Play(study("masks"))
    play.go()
    request = requests_of(play)["a"]
    once = answer(play.nodes["a"], request)
    assert isinstance(once, Help)
    smaller = tuple(site for site in request.survivors if site != "e")
    parcels = {site: parcel for site, parcel in request.extras.items() if site != "e"}
    other = replace(request, survivors=smaller, extras=parcels)
    assert code_of(answer(play.nodes["a"], other)) == "message-invalid"
    assert code_of(answer(play.nodes["a"], replace(request, attempt=1))) == "message-invalid"
    assert answer(play.nodes["a"], request) == once


def test_two_sets_of_one_round_cannot_both_be_opened() -> None:
    """The coordinator tells three sites that all survived and three that one was lost: neither is enough."""
    play = Play(study("masks"))
    play.go()
    fresh, contributions = Play(play.study), {}
    task = next(question for _, question, _ in play.seen if isinstance(question, Task))
    for site, node in fresh.nodes.items():
        reply = answer(node, task)
        assert isinstance(reply, Contribution)
        contributions[site] = reply
    helped: dict[int, list[SiteId]] = {5: [], 4: []}
    for survivors in (tuple("abcde"), tuple("abcd")):
        for site in survivors:
            parcels = {sender: contributions[sender].extras[site] for sender in survivors}
            ask = OpenRequest(task.study_hash, 0, 0, survivors, b"", parcels, tuple("abcde"))
            first_for_this_site = site in "abc" if len(survivors) == 5 else True
            if first_for_this_site and isinstance(answer(fresh.nodes[site], ask), Help):
                helped[len(survivors)].append(site)
    assert helped == {5: ["a", "b", "c"], 4: ["d"]}


def test_a_site_does_not_help_with_a_round_that_has_passed() -> None:
    play = Play(study("masks"))
    play.go()
    request = requests_of(play)["a"]
    assert code_of(answer(play.nodes["a"], replace(request, round=7))) == "message-invalid"


@pytest.mark.parametrize("protection", KEYED)
def test_a_single_ciphertext_is_not_decrypted_without_proofs_of_enough_contributions(protection: str) -> None:
    play = Play(study(protection))
    play.go()
    request = requests_of(play)["a"]
    forged = {site: proof[:-1] + bytes([proof[-1] ^ 1]) for site, proof in request.extras.items()}
    node = play.nodes["c"]
    alone = replace(request, survivors=("c",), extras={"c": request.extras["c"]})
    assert code_of(answer(node, alone)) == "too-few-sites"
    assert code_of(answer(node, replace(request, extras=forged))) == "message-invalid"
    assert code_of(answer(node, replace(request, extras={}))) == "message-invalid"
    assert isinstance(answer(node, request), Help)


@pytest.mark.parametrize("protection", HIDDEN)
def test_a_repeated_task_reseals_the_same_integers_and_looks_like_another(protection: str) -> None:
    play = Play(study(protection))
    play.go()
    site, task, first = next(found for found in play.seen if isinstance(found[1], Task))
    assert isinstance(task, Task)
    again = answer(play.nodes[site], replace(task, attempt=1))
    assert isinstance(first, Contribution)
    assert isinstance(again, Contribution)
    assert again.body != first.body
    assert len(again.body) == len(first.body)


@pytest.mark.parametrize("protection", HIDDEN)
def test_what_is_no_answer_costs_a_site_its_part_and_nobody_else_anything(protection: str) -> None:
    draw = np.random.default_rng(0)

    def disturb(site: SiteId, question: Message, reply: Message) -> Sequence[Message]:
        if site != "e" or not isinstance(reply, Contribution):
            return [reply]
        cut = int(draw.integers(1, len(reply.body)))
        return [
            replace(reply, site="d"),
            replace(reply, round=reply.round + 1),
            replace(reply, attempt=reply.attempt + 1),
            replace(reply, state_digest=bytes(32)),
            replace(reply, body=reply.body[:cut]),
            Event("asked", reply.study_hash),
        ]

    play = Play(study(protection), disturb=disturb)
    assert play.go()["patients"] == 240
    assert len(play.errors) == 6


@pytest.mark.processes
@pytest.mark.parametrize("n_sites", [1, 2, 3])
def test_few_sites_are_summed_under_every_protection(n_sites: int) -> None:
    sites = tuple("abc"[:n_sites])
    reports = [Play(study(name, min_sites=n_sites), sites=sites).go() for name in PROTECTIONS]
    assert all(report == reports[0] for report in reports)
