"""A code of refusal comes with words for whoever asked; nothing but the code has left the site."""

import pytest

from fedcohort.coordinator.telemetry import known_codes
from fedcohort.errors import CohortError, DicomError, FedcohortError, PolicyError
from fedcohort.node.consent import REFUSALS
from fedcohort.refusals import WORDS, explained, in_words
from fedcohort.researcher.client import awaited


def kinds(of: type[FedcohortError]) -> set[str]:
    return {of.code}.union(*(kinds(kind) for kind in of.__subclasses__()))


def test_every_refusal_of_a_policy_a_cohort_or_a_person_has_words_and_no_word_is_of_an_unknown_code() -> None:
    assert kinds(PolicyError) | kinds(CohortError) | set(REFUSALS) <= set(WORDS)
    assert set(WORDS) <= known_codes() | set(REFUSALS)
    assert DicomError.code not in WORDS, "no study meets it"


def test_an_exact_study_is_told_to_ask_with_privacy_and_a_greedy_one_to_ask_for_less() -> None:
    assert "give the study [privacy], or ask the site's operator" in in_words("privacy-required")
    assert "ask for a smaller epsilon" in in_words("budget-exhausted")
    assert in_words("of-a-later-version") == "of-a-later-version"
    assert in_words("") == ""
    twice = explained(["not-approved", "of-a-later-version", "not-approved"])
    assert twice == ". not-approved: nobody at the site has approved the study"


@pytest.mark.parametrize("code", ["privacy-required", "refused-by-site"])
def test_who_waits_reads_the_words_beside_the_site(code: str) -> None:
    sites = [{"id": "a", "state": "asked", "code": ""}, {"id": "b", "state": "refused", "code": code}]
    told = awaited({"state": "proposed", "sites": sites})
    assert told == f"waiting for approval by a; refused by b: {code} ({WORDS[code]})"
