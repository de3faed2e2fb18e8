"""`statistics`: clinical statistics over hospitals against the reference libraries on the pooled patients.

Exactness: three hospitals of different sizes, protection `none` and `masks`, real cohorts; the claim is the
largest difference of any figure. Speed: processor seconds, in one process, of what hospitals compute and of
what follows from the sums (`summed`), against the library on the pooled rows; tables are read beforehand on
both sides.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# One thread on either side: more only spin over matrices as small as these, and processor time counts them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fedcohort as fc
from benchmarks.clinical import ALL, Clinical
from benchmarks.harness import (
    Claim,
    at_least_times_faster,
    at_most,
    data_folder,
    emit,
    median,
    run_peer,
    unavailable,
    under,
)
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, Report, Sums
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.columns import AnyLabel
from fedcohort.questions import Question
from fedcohort.table import Table

PROTECTIONS = ("none", "masks")
SHARES = (0.6, 0.3, 0.1)
REPEATS = 3
PEER_SECONDS = 1800.0
Floats = NDArray[np.float64]


def study(
    analysis: Question, columns: Mapping[str, Any], label: AnyLabel | None = None, protection: str = "none"
) -> fc.Study:
    """A study of all patients."""
    asked = fc.Cohort(columns=columns, label=label, split=None)
    return fc.Study(name="statistics", cohort=asked, analysis=analysis, protection=protection)


def summed(asked: fc.Study, tables: Mapping[str, Table]) -> Report:
    """The report, by what nodes and coordinator compute: no link, no protection, no integers."""
    analysis = build_analysis(asked)
    rows = {name: Rows(table) for name, table in tables.items()}
    state = analysis.start()
    while not state.finished:
        stage = analysis.stage_at(state.round)
        if stage is None:
            raise RuntimeError("no such round")
        parts = [
            site_sum(
                stage.blocks, stage.contribute(state, of_site, Draw(0, name, state.round)), of_site, False
            )
            for name, of_site in rows.items()
        ]
        values = {block.name: np.sum([part[block.name] for part in parts], axis=0) for block in stage.blocks}
        state = analysis.update(state, Sums(values, {}, len(parts)))
    return analysis.report(state)


def processor_seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median of several runs."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        taken.append(time.process_time() - began)
    return median(taken)


# --- exactness --------------------------------------------------------------------------------------


def exactness(cohort: Clinical) -> None:
    """Logistic regression, Cox and Kaplan-Meier of a cohort, under each protection."""
    sites = cohort.sites(np.random.default_rng(1), SHARES)
    pooled = pd.concat([part.assign(site=name) for name, part in sites.items()])
    expected = {"GLM": pooled_glm(cohort, pooled), "Cox": pooled_cox(cohort, pooled)}
    survival_label = fc.Survival("time", "event")
    regression: dict[str, tuple[Question, AnyLabel]] = {
        "GLM": (fc.GLM(f"event ~ {cohort.terms}", family="binomial"), "event"),
        "Cox": (fc.Cox(cohort.terms), survival_label),
    }
    for protection in PROTECTIONS:
        for name, (analysis, label) in regression.items():
            table = run(study(analysis, cohort.columns, label, protection), sites).table
            found = table[["coef", "se"]].to_numpy()
            emit(under(_exact(name, cohort, protection), _apart(found, expected[name]), "", 1e-8))
        times = np.unique(pooled["time"])
        curves = fc.KaplanMeier(grid=times.tolist())
        report: Any = run(study(curves, cohort.columns, survival_label, protection), sites).report
        survival = np.array(report["survival"]["groups"]["all"]["survival"])
        emit(
            under(
                _exact("Kaplan-Meier", cohort, protection), _apart(survival, pooled_curve(pooled)), "", 1e-12
            )
        )


def _exact(analysis: str, cohort: Clinical, protection: str) -> str:
    return f"statistics: {analysis}, {cohort.name}, {protection}, largest difference from the pooled library"


def _apart(found: Floats, expected: Floats) -> float:
    return float(np.max(np.abs(found - expected)))


def run(asked: fc.Study, sites: Mapping[str, pd.DataFrame]) -> fc.Result:
    """Over simulated hospitals."""
    return fc.simulate(sites).run(asked, progress=False)


def design(cohort: Clinical, pooled: pd.DataFrame) -> pd.DataFrame:
    """The columns that the terms make, by formulaic."""
    import formulaic

    return pd.DataFrame(formulaic.model_matrix(cohort.terms, pooled)).astype(float)


def pooled_glm(cohort: Clinical, pooled: pd.DataFrame) -> Floats:
    """(p, 2): coefficients and errors of statsmodels."""
    import statsmodels.api as sm

    fitted = sm.GLM(pooled["event"], design(cohort, pooled), sm.families.Binomial()).fit(tol=1e-14)
    return np.column_stack([fitted.params, fitted.bse])


def pooled_cox(cohort: Clinical, pooled: pd.DataFrame) -> Floats:
    """(p, 2): coefficients and errors of statsmodels, stratified by hospital."""
    from statsmodels.duration.hazard_regression import PHReg

    x = design(cohort, pooled).drop(columns="Intercept")
    model = PHReg(pooled["time"], x, pooled["event"], strata=pooled["site"], ties="efron")
    fitted = model.fit(maxiter=200, gtol=1e-12)
    return np.column_stack([fitted.params, fitted.bse])


def pooled_curve(pooled: pd.DataFrame) -> Floats:
    """After each distinct time, of scikit-survival."""
    from sksurv.nonparametric import kaplan_meier_estimator

    _, curve = kaplan_meier_estimator(pooled["event"].astype(bool), pooled["time"])
    return np.asarray(curve, np.float64)


# --- speed ------------------------------------------------------------------------------------------


def made_up(n: int, p: int, seed: int) -> tuple[dict[str, Any], Floats, Floats, Floats]:
    """Declared columns; numbers (n, p), an outcome of 0 and 1, and times of which 3,000 are distinct."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n, p)).clip(-6, 6)
    log_risk = x @ np.linspace(-0.3, 0.3, p)
    outcome = (generator.random(n) < 1 / (1 + np.exp(-log_risk))).astype(np.float64)
    times = np.clip(np.ceil(generator.exponential(np.exp(-log_risk)) * 1000), 1, 3000)
    return {f"x{j}": fc.Numeric(-6, 6) for j in range(p)}, x, outcome, times


def hospitals(x: Floats, label: Floats, event: Floats | None = None) -> dict[str, Table]:
    """Three hospitals' tables."""
    ends = np.round(np.cumsum(SHARES) * len(x)).astype(int)[:-1]
    names = np.char.zfill(np.arange(len(x)).astype(str), 7)  # sorted, as a source gives them
    tables = {}
    for site, part in enumerate(np.split(np.arange(len(x)), ends)):
        columns = {f"x{j}": np.ascontiguousarray(x[part, j]) for j in range(x.shape[1])}
        tables[f"site_{site}"] = Table(
            names[part],
            columns,
            np.zeros(len(part), np.int8),
            label[part],
            None if event is None else event[part],
            one_row_each=True,
        )
    return tables


def logistic() -> None:
    """A million patients, 20 columns."""
    import statsmodels.api as sm

    columns, x, outcome, _ = made_up(1_000_000, 20, 1)
    terms = " + ".join(columns)
    asked = study(
        fc.GLM(f"died ~ {terms}", family="binomial"), columns, label=fc.Binary("died", negative=0, positive=1)
    )
    tables = hospitals(x, outcome)
    ours = processor_seconds(lambda: summed(asked, tables))
    with_one = sm.add_constant(x)
    theirs = processor_seconds(lambda: sm.GLM(outcome, with_one, sm.families.Binomial()).fit(), 1)
    name = "statistics: logistic regression, 1M x 20, processor seconds of all sums, against statsmodels"
    emit(at_least_times_faster(name, ours, theirs, "s processor", 10))


def cox() -> None:
    """100,000 patients against lifelines, and a round of a million against one product of matrices."""
    columns, x, _, times = made_up(100_000, 20, 2)
    event = (np.random.default_rng(3).random(len(x)) < 0.5).astype(np.float64)
    label = fc.Survival("time", "event")
    asked, tables = study(fc.Cox(" + ".join(columns)), columns, label=label), hospitals(x, times, event)
    ours = processor_seconds(lambda: summed(asked, tables))
    site = np.repeat(np.arange(len(tables)), [table.n_rows for table in tables.values()])
    theirs = peer("cox", x=x, time=times, event=event, site=site)
    name = "statistics: Cox by site, 100k x 20, processor seconds of all sums, against lifelines"
    emit(_against(name, ours, theirs, 10))

    columns, x, _, times = made_up(1_000_000, 20, 4)
    event = (np.random.default_rng(5).random(len(x)) < 0.5).astype(np.float64)
    asked = study(fc.Cox(" + ".join(columns)), columns, label=label)
    analysis = build_analysis(asked)
    rows = Rows(next(iter(hospitals(x, times, event).values())))
    first, stage = analysis.stage_at(0), analysis.stage_at(1)
    if first is None or stage is None:
        raise RuntimeError("no such round")
    draw, here = Draw(0, "a", 0), rows.table.n_rows
    state = analysis.start()
    moments = site_sum(first.blocks, first.contribute(state, rows, draw), rows, False)
    state = analysis.update(state, Sums(moments))
    site_sum(stage.blocks, stage.contribute(state, rows, draw), rows, False)  # sorts once
    seconds = processor_seconds(
        lambda: site_sum(stage.blocks, stage.contribute(state, rows, draw), rows, False)
    )
    part, weights = x[:here], np.random.default_rng(6).random(here)
    product = processor_seconds(lambda: (part * weights[:, None]).T @ part)
    name = f"statistics: Cox, a site's round, {here:,} x 20, 3,000 times, against one numpy X'WX"
    emit(at_most(name, seconds, product, "s processor", 3))


def curve() -> None:
    """A million patients against lifelines."""
    columns, x, _, times = made_up(1_000_000, 1, 7)
    event = (np.random.default_rng(8).random(len(x)) < 0.5).astype(np.float64)
    grid = np.arange(1.0, 3001.0)
    asked = study(fc.KaplanMeier(grid=grid.tolist()), columns, label=fc.Survival("time", "event"))
    tables = hospitals(x, times, event)
    ours = processor_seconds(lambda: summed(asked, tables))
    name = "statistics: Kaplan-Meier, 1M patients, processor seconds, against lifelines"
    emit(_against(name, ours, peer("km", time=times, event=event), 20))


def table_one() -> None:
    """100,000 patients, ten numbers and ten columns of four levels, by arm, against tableone."""
    from tableone import TableOne

    generator = np.random.default_rng(9)
    n, levels = 100_000, ("a", "b", "c", "d")
    numbers = {f"x{j}": generator.standard_normal(n).clip(-6, 6) for j in range(10)}
    codes = {f"c{j}": generator.integers(0, 4, n) for j in range(10)} | {"arm": generator.integers(0, 2, n)}
    columns: dict[str, Any] = {name: fc.Numeric(-6, 6) for name in numbers}
    columns |= {name: fc.Categorical(levels[:2] if name == "arm" else levels) for name in codes}
    ids = np.char.zfill(np.arange(n).astype(str), 7)
    ends = np.round(np.cumsum(SHARES) * n).astype(int)[:-1]
    tables = {
        f"site_{site}": Table(
            ids[part],
            {name: np.ascontiguousarray(values[part]) for name, values in {**numbers, **codes}.items()},
            np.zeros(len(part), np.int8),
            one_row_each=True,
        )
        for site, part in enumerate(np.split(np.arange(n), ends))
    }
    table_one: Any = fc.TableOne
    asked = study(table_one(by="arm"), columns)
    ours = processor_seconds(lambda: summed(asked, tables))
    frame = pd.DataFrame({**numbers, **{name: np.array(levels)[code] for name, code in codes.items()}})
    categorical = [name for name in codes if name != "arm"]
    described = [*numbers, *categorical]
    theirs = processor_seconds(
        lambda: TableOne(
            frame, columns=described, categorical=categorical, groupby="arm", pval=True, smd=True
        ),
        1,
    )
    name = "statistics: table one, 100k x 20, processor seconds, against tableone"
    emit(at_least_times_faster(name, ours, theirs, "s processor", 50))


def _against(name: str, ours: float, theirs: Mapping[str, Any], times: float) -> Claim:
    if "unavailable" in theirs:
        return unavailable(name, ours, "s processor", str(theirs["unavailable"]))
    return at_least_times_faster(name, ours, float(theirs["seconds"]), "s processor", times)


def peer(what: str, **arrays: NDArray[Any]) -> dict[str, Any]:
    """lifelines' figures, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patients.npz"
        np.savez(path, allow_pickle=False, **arrays)
        return run_peer("lifelines", "lifelines_survival.py", what, str(path), timeout=PEER_SECONDS)


def main() -> None:
    """Print all claims."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of real data")
    folder = data_folder(parser.parse_args().data)
    for cohort in ALL:
        exactness(cohort(folder))
    for speed in (logistic, cox, curve, table_one):
        speed()


if __name__ == "__main__":
    main()
