"""`accounting`: the noise multiplier of a whole study, solved anew.

The floor is to account for the study once, at the multiplier that was found, by dp_accounting's own
accountant, where we search for it; both take turns. Constant schedules are also solved by dp_accounting's
calibration. Importing dp_accounting takes about a second, once a process, and is not counted on either side.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import dp_accounting
from dp_accounting import pld

from benchmarks.harness import at_least, at_most, emit, in_turns, reported, seconds_of, under
from fedcohort.privacy import accounting
from fedcohort.privacy.events import GaussianRelease, Schedule

DELTA, WEIGHTS, REPEATS = 1e-5, 8705, 3
STUDIES = (
    ("200 rounds, full batch", Schedule(200), 1.5, 1.0),
    ("200 rounds, a tenth sampled", Schedule(200, 0.1), 1.5, 2.0),
    ("10,000 steps, a hundredth sampled", Schedule(10_000, 0.01), 1.5, 3.0),
    ("200 rounds, a tenth sampled, decaying", Schedule(200, 0.1, "decaying"), 1.5, 4.0),
    ("100,000 steps, a thousandth sampled, decaying", Schedule(100_000, 0.001, "decaying"), 1.0, 4.0),
    ("100 rounds, a hundredth sampled, decaying", Schedule(100, 0.01, "decaying"), 8.0, 0.6),
)
"""Name, schedule, epsilon, and at most how many times the floor (docs/benchmarks.md tells why so many)."""


def ours(releases: Callable[[float], Sequence[GaussianRelease]], epsilon: float) -> tuple[float, float]:
    """Seconds, and the multiplier; nothing remembered from before."""
    accounting.forget()
    began = time.perf_counter()
    multiplier = accounting.noise_multiplier(releases, epsilon, DELTA)
    return time.perf_counter() - began, multiplier


def event(releases: Sequence[GaussianRelease]) -> dp_accounting.DpEvent:
    """The same releases in dp_accounting's words, continuous noise in place of discrete."""
    builder = dp_accounting.DpEventBuilder()
    for release in releases:
        one = dp_accounting.GaussianDpEvent(release.sigma / release.sensitivity)
        builder.compose(dp_accounting.PoissonSampledDpEvent(release.sampling_probability, one), release.count)
    return builder.build()


def accounted_once(releases: Sequence[GaussianRelease]) -> float:
    """Epsilon, by dp_accounting's own accountant, on its own grid."""
    return float(pld.PLDAccountant().compose(event(releases)).get_epsilon(DELTA))


def theirs(releases: Callable[[float], Sequence[GaussianRelease]], epsilon: float) -> tuple[float, float]:
    """Seconds and multiplier of dp_accounting's own calibration, to the same precision."""
    began = time.perf_counter()
    multiplier = dp_accounting.calibrate_dp_mechanism(
        pld.PLDAccountant,
        lambda multiplier: event(releases(multiplier)),
        epsilon,
        DELTA,
        dp_accounting.LowerEndpointAndGuess(0.3, 4.0),
        tol=5e-4,
    )
    return time.perf_counter() - began, multiplier


def main() -> None:
    """Print all claims."""
    for name, schedule, epsilon, times in STUDIES:
        releases = partial(
            schedule.releases, what="gradients", sensitivity=2.0**18, dimension=WEIGHTS, shares=3
        )
        _, multiplier = ours(releases, epsilon)
        used = accounted_once(releases(multiplier)) / epsilon
        seconds, floor = in_turns(
            REPEATS,
            partial(seconds_of, partial(ours, releases, epsilon)),
            partial(seconds_of, partial(accounted_once, releases(multiplier))),
        )
        what = f"accounting: noise of {name}, against accounting for it once"
        emit(at_most(what, seconds, floor, "s", times))
        emit(at_least(f"accounting: share of epsilon used, {name}", used, None, "of 1", 0.99))
        emit(under(f"accounting: share of epsilon used, {name}", used, "of 1", 1.0))
        if schedule.kind == "constant":
            peer, other = theirs(releases, epsilon)
            what = f"{name}, against calibrate_dp_mechanism"
            emit(reported(f"accounting: noise of {what}", seconds, peer, "s"))
            emit(reported(f"accounting: the noise multiplier of {what}", multiplier, other, "sensitivities"))


if __name__ == "__main__":
    main()
