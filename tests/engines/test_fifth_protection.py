"""A fifth protection takes a record and its words, and no change of the program (`pads`)."""

import pytest

from fedcohort.errors import StudyError
from fedcohort.explain import explain
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.protection.words import WORDS
from fedcohort.study import parse_study
from fedcohort.wire.messages import Contribution, Help, OpenRequest, SiteId, Task
from tests.build import describe_study, explicit

from .pads import NAME, PAD_WORDS, PADS
from .support import Play, StuckError
from .test_protections import lose, study


@pytest.fixture
def pads(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PROTECTIONS, NAME, PADS)
    monkeypatch.setitem(WORDS, NAME, PAD_WORDS)
    return NAME


@pytest.mark.parametrize("lost", [(), ("e",)], ids=["nobody lost", "one lost"])
def test_it_gives_the_report_of_every_other_protection(pads: str, lost: tuple[SiteId, ...]) -> None:
    hidden = Play(study(pads), disturb=lose(*lost, phase=Task))
    plain = Play(study("none"), disturb=lose(*lost, phase=Task))
    assert hidden.go() == plain.go()
    assert hidden.survivors == plain.survivors == [tuple(site for site in "abcde" if site not in lost)]
    shown = {site: reply.body for site, _, reply in plain.seen if isinstance(reply, Contribution)}
    sealed = {site: reply.body for site, _, reply in hidden.seen if isinstance(reply, Contribution)}
    assert all(shown[site] != sealed[site] for site in "abcde")
    assert sum(isinstance(reply, Help) for _, _, reply in hidden.seen) == 5 - len(lost)


def test_it_goes_on_after_a_coordinator_that_was_killed(pads: str) -> None:
    first = Play(study(pads), disturb=lose("e", phase=OpenRequest))
    with pytest.raises(StuckError):
        first.go()
    second = Play(first.study, nodes=first.nodes, log=first.log)
    assert second.go()["patients"] == 300
    assert not any(isinstance(question, Task) for _, question, _ in second.seen)


def test_a_study_that_names_it_is_read_and_explained(pads: str) -> None:
    asked = explicit(describe_study("the fifth", protection=pads))
    assert parse_study(asked.canonical).hash == asked.hash
    assert PAD_WORDS.rests_on in explain(asked)


def test_without_its_record_there_is_no_such_protection() -> None:
    asked = explicit(describe_study("the fifth")).model_dump(mode="json")
    with pytest.raises(StudyError, match='protection: write "none", "masks", "paillier" or "ckks"'):
        parse_study({**asked, "protection": NAME})
