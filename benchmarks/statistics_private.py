"""`statistics_private`: what epsilon buys of a regression, of Cox and of survival curves, on real cohorts.

Four hospitals, one of which may collude, masks, noise shared. A repeat deals other patients to the hospitals:
patients are drawn with replacement from the cohort, which is the population whose values intervals have to
cover; noise is the operating system's. Errors are in standard errors of the exact fit of the same patients.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fedcohort as fc
from benchmarks.clinical import ALL, Clinical, flchain
from benchmarks.harness import Claim, data_folder, emit, say, under
from fedcohort.questions import Question

DELTA, SITES = 1e-5, 4
SHARES = (0.4, 0.3, 0.2, 0.1)
REPEATS = 300
EPSILONS = (1.0, 3.0)
PLACES = 10
"""Times of a private curve."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """What must hold of a data set at an epsilon; None: it is measured, and nothing is asked."""

    error: float | None = None
    loss: float | None = None
    width: float | None = None


TARGETS: Mapping[tuple[str, str, float], Target] = {
    ("logistic", "flchain", 1.0): Target(0.7, 0.005, 2.5),
    ("logistic", "whas500", 1.0): Target(width=3.5),
    ("cox", "flchain", 1.0): Target(None, 0.005, 2.5),
    ("cox", "whas500", 1.0): Target(None, 0.015, 3.5),
    **{
        (kind, name, 3.0): Target(1.0, 0.005)
        for kind in ("logistic", "cox")
        for name in ("flchain", "whas500", "lung")
    },
}


@dataclass(frozen=True)
class Repeat:
    """Of one private fit: estimates, ends of intervals, and the exact fit of the same patients."""

    private: pd.DataFrame
    exact: pd.DataFrame
    loss: float


def resampled(cohort: Clinical, seed: int) -> dict[str, pd.DataFrame]:
    """Other patients of the same population, at four hospitals."""
    generator = np.random.default_rng(seed)
    frame = cohort.frame.iloc[generator.integers(0, len(cohort.frame), len(cohort.frame))]
    frame = frame.assign(patient_id=[f"p{row}" for row in range(len(frame))])
    ends = np.round(np.cumsum(SHARES) * len(frame)).astype(int)[:-1]
    parts = np.split(np.arange(len(frame)), ends)
    return {f"site_{i}": frame.iloc[part] for i, part in enumerate(parts)}


def asked(kind: str, cohort: Clinical, epsilon: float | None) -> fc.Study:
    """The question, with and without privacy."""
    label: Any = "event"
    analysis: Question = fc.GLM(f"event ~ {cohort.terms}", family="binomial")
    if kind == "cox":
        label = fc.Survival("time", "event", horizon=cohort.horizon)
        analysis = fc.Cox(cohort.terms)
        if epsilon is not None:
            analysis = fc.Cox(cohort.terms, pieces=5, strata="none")
    privacy = None if epsilon is None else fc.Privacy(epsilon=epsilon, delta=DELTA)
    wanted = fc.Cohort(columns=cohort.columns, label=label, split=None)
    return fc.Study(name=kind, cohort=wanted, analysis=analysis, privacy=privacy, colluders=1)


def run(study: fc.Study, sites: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The table of coefficients."""
    table: pd.DataFrame = fc.simulate(sites).run(study, progress=False).table
    return table


def linear(cohort: Clinical, table: pd.DataFrame) -> Floats:
    """Of the cohort's patients the linear predictor, as far as it ranks them."""
    import formulaic

    x = pd.DataFrame(formulaic.model_matrix(cohort.terms, cohort.frame)).astype(float)
    known = [name for name in table.index if name in x.columns]
    return np.asarray(x[known].to_numpy() @ table.loc[known, "coef"].to_numpy(), np.float64)


def auc(cohort: Clinical, table: pd.DataFrame) -> float:
    """On the cohort's own patients."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(cohort.frame["event"], linear(cohort, table)))


def concordance(cohort: Clinical, table: pd.DataFrame) -> float:
    """Harrell's, on the cohort's own patients."""
    from sksurv.metrics import concordance_index_censored

    risk, frame = linear(cohort, table), cohort.frame
    return float(concordance_index_censored(frame["event"].astype(bool), frame["time"], risk)[0])


def repeats(kind: str, cohort: Clinical, epsilons: Sequence[float], n: int) -> dict[float, list[Repeat]]:
    """So many private fits at each epsilon, beside one exact fit of the same patients."""
    score: Callable[[Clinical, pd.DataFrame], float] = auc if kind == "logistic" else concordance
    found: dict[float, list[Repeat]] = {epsilon: [] for epsilon in epsilons}
    for seed in range(n):
        sites = resampled(cohort, seed)
        exact = run(asked(kind, cohort, None), sites)
        reached = score(cohort, exact)
        for epsilon in epsilons:
            private = run(asked(kind, cohort, epsilon), sites).loc[exact.index]
            found[epsilon].append(Repeat(private, exact, reached - score(cohort, private)))
    return found


def claims(kind: str, cohort: Clinical, n: int) -> None:
    """Error, loss, coverage and width over all repeats, at each epsilon."""
    population = run(asked(kind, cohort, None), resampled_once(cohort))["coef"]
    for epsilon, found in repeats(kind, cohort, EPSILONS, n).items():
        told(kind, cohort, epsilon, population, found)


def told(kind: str, cohort: Clinical, epsilon: float, population: pd.Series, found: list[Repeat]) -> None:
    """The claims of one epsilon."""
    errors = np.stack([((r.private["coef"] - r.exact["coef"]) / r.exact["se"]).abs() for r in found])
    covered = np.stack([(r.private["low"] <= population) & (population <= r.private["high"]) for r in found])
    widths = np.stack(
        [(r.private["high"] - r.private["low"]) / (r.exact["high"] - r.exact["low"]) for r in found]
    )
    target = TARGETS.get((kind, cohort.name, epsilon), Target())
    name = f"statistics_private: {kind}, {cohort.name}, epsilon {epsilon:g}"
    emit(_limit(f"{name}, median error in standard errors", float(np.median(errors)), target.error))
    loss = float(np.mean([r.loss for r in found]))
    emit(_limit(f"{name}, loss of {'AUC' if kind == 'logistic' else 'C-index'}", loss, target.loss))
    coverage = float(covered.mean())
    covers = 0.9 <= coverage <= 0.99
    emit(Claim(f"{name}, coverage of 95 % intervals", coverage, None, "", None, ".90 to .99", covers))
    emit(_limit(f"{name}, median width against the exact interval", float(np.median(widths)), target.width))


def _limit(name: str, value: float, limit: float | None) -> Claim:
    return (
        Claim(name, value, None, "", None, "reported", None)
        if limit is None
        else under(name, value, "", limit)
    )


def resampled_once(cohort: Clinical) -> dict[str, pd.DataFrame]:
    """The cohort itself, which is the population, at four hospitals."""
    return cohort.sites(np.random.default_rng(0), SHARES)


def curves(cohort: Clinical, n: int) -> None:
    """Survival by sex over ten intervals: how far a private curve is off the exact one."""
    private = [(place + 1) * cohort.horizon / PLACES for place in range(PLACES)]
    exact = np.arange(1.0, cohort.horizon + 1).tolist()  # every day, as patients' times are written
    off = []
    for seed in range(n):
        sites, found = resampled(cohort, seed), []
        for grid, privacy in ((private, fc.Privacy(epsilon=1.0, delta=DELTA)), (exact, None)):
            wanted = fc.Cohort(columns=cohort.columns, label=fc.Survival("time", "event"), split=None)
            question = fc.KaplanMeier(grid=grid, by="sex")
            study = fc.Study(name="curves", cohort=wanted, analysis=question, privacy=privacy)
            report: Any = fc.simulate(sites).run(study, progress=False).report
            places = np.searchsorted(grid, private)
            groups = report["survival"]["groups"].values()
            found.append(np.array([np.array(group["survival"])[places] for group in groups]))
        off.append(found[0] - found[1])
    rms = float(np.sqrt(np.mean(np.square(off))))
    emit(under(f"statistics_private: Kaplan-Meier by sex, {cohort.name}, epsilon 1, rms", rms, "", 0.004))


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of real data")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", help="a kind: logistic, cox or curves")
    options = parser.parse_args()
    folder = data_folder(options.data)
    for kind in ("logistic", "cox"):
        for make in ALL:
            if options.only in (None, kind):
                say(f"{kind}, {make.__name__}")
                claims(kind, make(folder), options.repeats)
    if options.only in (None, "curves"):
        curves(flchain(folder), options.repeats)


if __name__ == "__main__":
    main()
