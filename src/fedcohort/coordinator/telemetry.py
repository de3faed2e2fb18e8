"""What the coordinator counts of itself, for Prometheus: sites, studies, rounds, refusals; never patients.

Everything here is about the machinery. Numbers live since the process began, as the text format
expects of counters (https://prometheus.io/docs/instrumenting/exposition_formats/); how
long computing and sealing took is what the slowest site of a round says.
"""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import fedcohort
from fedcohort.analyses.contract import Row
from fedcohort.coordinator.traffic import Traffic
from fedcohort.errors import FedcohortError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SITE_STATES = ("connected", "lost", "invited")
STUDY_STATES = ("proposed", "running", "waiting", "finished", "failed", "cancelled")
PARTS = ("compute", "seal", "network", "open")
OTHER = "other"

Sample = tuple[str, Mapping[str, str], float]


@dataclass
class Telemetry:
    """Counters of one process.

    Attributes:
        rounds: how many took up to each of BUCKETS seconds, the last entry more.
        parts: seconds of all rounds, by what they were spent on.
        carried: bytes of all messages with sites.
        refusals: by code, of sites and of the REST.
    """

    rounds: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    round_seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    carried: Traffic = field(default_factory=Traffic)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count_refusal(self, by: str, code: str) -> None:
        """Note that a site, or the REST, has said no; a code that is none of ours is `other`."""
        self.refusals[by, code if code in known_codes() else OTHER] += 1


@dataclass
class Stopwatch:
    """The rounds of one study, from the end of one to the end of the next."""

    telemetry: Telemetry
    began: float = field(default_factory=time.monotonic)

    def stored(self, spent: Row, seconds: float) -> None:
        """A round is durable: it is over, and the next one begins.

        Args:
            spent: the parts of its time that are known.
            seconds: how long it took to write it down.
        """
        now, telemetry = time.monotonic(), self.telemetry
        whole, self.began = now - self.began, now
        telemetry.rounds[bisect_left(BUCKETS, whole)] += 1
        telemetry.round_seconds += whole
        # A site may say what it likes of its own time, but not that it took longer than the round.
        said = {part: float(spent.get(f"{part}_seconds") or 0.0) for part in PARTS}
        bounded = {part: min(its, whole) for part, its in said.items()}
        for part, its in {**bounded, "store": seconds}.items():
            telemetry.parts[part] += its
        telemetry.parts["other"] += max(0.0, whole - seconds - sum(bounded.values()))


def known_codes() -> frozenset[str]:
    """The code of every error that we know."""

    def below(kind: type[FedcohortError]) -> Iterator[str]:
        yield kind.code
        for subclass in kind.__subclasses__():
            yield from below(subclass)

    return frozenset(below(FedcohortError))


def exposition(
    telemetry: Telemetry,
    sites: Counter[str],
    studies: Counter[str],
    database_errors: int,
) -> str:
    """All numbers in Prometheus' text format.

    Args:
        sites, studies: how many there are now, by state.
    """
    lines: list[str] = []

    def add(name: str, kind: str, words: str, samples: list[Sample]) -> None:
        lines.append(f"# HELP fedcohort_{name} {words}")
        lines.append(f"# TYPE fedcohort_{name} {kind}")
        lines.extend(_line(f"fedcohort_{name}{end}", labels, value) for end, labels, value in samples)

    def by(label: str, counts: Mapping[str, float]) -> list[Sample]:
        return [("", {label: key}, value) for key, value in sorted(counts.items())]

    add("build_info", "gauge", "The program's version.", [("", {"version": fedcohort.__version__}, 1)])
    add("sites", "gauge", "Sites by state.", by("state", {state: sites[state] for state in SITE_STATES}))
    add(
        "studies",
        "gauge",
        "Studies by state.",
        by("state", {state: studies[state] for state in STUDY_STATES}),
    )
    add("round_seconds", "histogram", "Whole rounds.", _histogram(telemetry))
    parts = by("part", telemetry.parts)
    add("round_part_seconds_total", "counter", "Where the rounds' time went.", parts)
    flow = {"in": telemetry.carried.received, "out": telemetry.carried.sent}
    add("link_bytes_total", "counter", "Bytes of messages with sites.", by("direction", flow))
    refused: list[Sample] = [
        ("", {"by": who, "code": code}, count) for (who, code), count in sorted(telemetry.refusals.items())
    ]
    add("refusals_total", "counter", "Refusals by site or REST, and code.", refused)
    add("database_errors_total", "counter", "Transactions that failed.", [("", {}, database_errors)])
    return "\n".join(lines) + "\n"


def _histogram(telemetry: Telemetry) -> list[Sample]:
    samples: list[Sample] = []
    total = 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), telemetry.rounds, strict=True):
        total += count
        samples.append(("_bucket", {"le": bound}, total))
    return [*samples, ("_sum", {}, telemetry.round_seconds), ("_count", {}, total)]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    """One sample; labels are words of ours, which need no escapes."""
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"
