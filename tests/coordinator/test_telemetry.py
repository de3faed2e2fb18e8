"""What Prometheus reads: the text format, the right numbers, and never a label that a stranger chose."""

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedcohort.coordinator.telemetry import BUCKETS, Stopwatch, Telemetry, exposition, known_codes
from fedcohort.coordinator.traffic import Traffic

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Found:
    """Every sample, as Prometheus' own parser reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(telemetry: Telemetry, errors: int = 0) -> Found:
    sites, studies = Counter(connected=2, lost=1), Counter(running=1, finished=4)
    return read(exposition(telemetry, sites, studies, errors))


def test_sites_and_studies_are_told_by_state_those_without_any_too() -> None:
    found = told(Telemetry(), errors=3)
    assert found["fedcohort_sites", (("state", "connected"),)] == 2
    assert found["fedcohort_sites", (("state", "invited"),)] == 0
    assert found["fedcohort_studies", (("state", "finished"),)] == 4
    assert found["fedcohort_studies", (("state", "failed"),)] == 0
    assert found["fedcohort_database_errors_total", ()] == 3


def test_a_round_counts_once_in_the_histogram_and_its_parts_add_up() -> None:
    telemetry = Telemetry()
    watch = Stopwatch(telemetry, began=0.0)
    now = iter([2.0, 2.02])
    spent = {"exchange": 1, "compute_seconds": 0.5, "seal_seconds": 0.25, "network_seconds": 0.25}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedcohort.coordinator.telemetry.time.monotonic", lambda: next(now))
        watch.stored(spent, 0.125)
        watch.stored({}, 0.01)
    found = told(telemetry)
    assert found["fedcohort_round_seconds_count", ()] == 2
    assert found["fedcohort_round_seconds_sum", ()] == pytest.approx(2.02)
    assert found["fedcohort_round_seconds_bucket", (("le", "0.025"),)] == 1
    assert found["fedcohort_round_seconds_bucket", (("le", "1.0"),)] == 1
    assert found["fedcohort_round_seconds_bucket", (("le", "+Inf"),)] == 2
    parts = {labels[0][1]: value for (name, labels), value in found.items() if "part_seconds" in name}
    assert parts["compute"] == 0.5
    assert parts["store"] == pytest.approx(0.135)
    assert sum(parts.values()) == pytest.approx(2.02)


def test_a_site_that_lies_about_its_time_says_no_more_than_the_round_took() -> None:
    telemetry = Telemetry()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedcohort.coordinator.telemetry.time.monotonic", lambda: 3.0)
        Stopwatch(telemetry, began=0.0).stored({"compute_seconds": 1.8e13}, 0.0)
    assert telemetry.parts["compute"] == 3.0


def test_bytes_of_all_messages_with_sites_are_told_by_direction() -> None:
    found = told(Telemetry(carried=Traffic(sent=104, received=16)))
    assert found["fedcohort_link_bytes_total", (("direction", "out"),)] == 104
    assert found["fedcohort_link_bytes_total", (("direction", "in"),)] == 16


def test_a_code_that_is_none_of_ours_is_other() -> None:
    telemetry = Telemetry()
    for code in ("cohort-too-small", "cohort-too-small", 'evil"} 1\nfedcohort_fake 1', "x" * 64):
        telemetry.count_refusal("site", code)
    found = told(telemetry)
    assert found["fedcohort_refusals_total", (("by", "site"), ("code", "cohort-too-small"))] == 2
    assert found["fedcohort_refusals_total", (("by", "site"), ("code", "other"))] == 2
    assert ("fedcohort_fake", ()) not in found


def test_every_code_is_a_label_without_need_of_escapes() -> None:
    assert {"store", "ledger-behind", "internal"} <= known_codes()
    assert [code for code in known_codes() if not code.replace("-", "").isalpha()] == []
    assert list(BUCKETS) == sorted(BUCKETS)
