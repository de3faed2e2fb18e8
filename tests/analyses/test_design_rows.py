"""Columns that are not held but made anew are the same to the last bit, and take no memory."""

import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses import design_rows
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw
from fedcohort.analyses.design import CHUNK
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.table import Table

COLUMNS: Mapping[str, Any] = {
    "x": fc.Numeric(-6, 6),
    "sex": fc.Categorical(("f", "m")),
    "ward": fc.Categorical(("a", "b", "c")),
    "weight": fc.Numeric(0, 5),
    "y": fc.Numeric(-50, 50),
    "n": fc.Numeric(0, 500),
    "died": fc.Categorical(("no", "yes")),
}
TERMS = "ns(x, knots=[-1, 1]) + C(sex)*C(ward)"


def frame(n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "patient_id": [f"p{seed}-{row:05d}" for row in range(n)],
            "x": draw.normal(0, 1, n).clip(-6, 6),
            "sex": draw.choice(["f", "m"], n),
            "ward": draw.choice(["a", "b", "c"], n),
            "weight": draw.integers(0, 4, n).astype(float),
        }
    )
    eta = 0.4 * made["x"] + 0.5 * (made["sex"] == "m") + 0.1 * seed
    made["y"] = eta + draw.normal(0, 1, n)
    made["n"] = draw.poisson(np.exp(eta) * draw.gamma(2, 0.5, n)).astype(float)
    made["died"] = np.where(draw.random(n) < 1 / (1 + np.exp(-eta)), "yes", "no")
    made.loc[::7, "x"], made.loc[3::11, "ward"] = np.nan, None
    return made


FITS: dict[str, dict[str, Any]] = {
    "binomial": {"formula": f"died ~ {TERMS}", "se": "robust"},
    "weighted": {"formula": f"y ~ {TERMS}", "weights": "weight"},
    "poisson": {"formula": f"n ~ {TERMS}", "family": "poisson", "site": "fixed"},
    "negative binomial": {"formula": f"n ~ {TERMS}", "family": "negative_binomial", "se": "robust"},
    "firth": {"formula": f"died ~ {TERMS}", "firth": True},
    "random": {"formula": "died ~ x + C(sex)", "site": "random"},
    "mixed": {"formula": f"y ~ {TERMS}", "site": "random"},
    "meta": {"formula": "died ~ x + C(sex)", "site": "meta"},
}


@pytest.mark.parametrize("words", FITS.values(), ids=FITS)
def test_columns_that_are_made_anew_give_the_same_bits(
    words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {f"site_{seed}": frame(n, seed) for seed, n in enumerate((400, 300, 200))}
    study = fc.Study(name="glm", cohort=fc.Cohort(columns=COLUMNS), analysis=fc.GLM(**words))
    held = fc.simulate(frames).run(study, progress=False).report
    monkeypatch.setattr(design_rows, "HELD", 0)
    assert fc.simulate(frames).run(study, progress=False).report == held


def near(found: Any, expected: Any) -> bool:
    """Whether numbers differ by rounding alone."""
    if isinstance(expected, Mapping):
        return all(near(found[name], part) for name, part in expected.items())
    if isinstance(expected, list | tuple):
        return all(near(one, other) for one, other in zip(found, expected, strict=True))
    return bool(
        found == (pytest.approx(expected, rel=1e-9, abs=1e-12) if type(expected) is float else expected)
    )


@pytest.mark.parametrize("strata", ["site", "sex"])
def test_columns_of_a_cox_model_that_are_made_anew_give_the_same_figures(
    strata: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {f"site_{seed}": frame(n, seed) for seed, n in enumerate((CHUNK + 500, 300, 200))}
    for one in frames.values():
        one["days"] = np.ceil(np.random.default_rng(1).exponential(20, len(one)) * np.exp(-one["y"] / 5))
    columns = {name: COLUMNS[name] for name in ("x", "sex", "ward", "weight")}
    cohort = fc.Cohort(columns=columns, label=fc.Survival("days", "died"))
    words: dict[str, Any] = {} if strata == "site" else {"strata": ["site", strata]}
    formula = "ns(x, knots=[-1, 1]) + C(ward) + weight"
    study = fc.Study(name="cox", cohort=cohort, analysis=fc.Cox(formula, grid=[5, 20, 60], **words))
    for one in frames.values():
        one["died"] = (one["died"] == "yes").astype(int)
    held: Any = fc.simulate(frames).run(study, progress=False).report
    monkeypatch.setattr(design_rows, "HELD", 0)
    found: Any = fc.simulate(frames).run(study, progress=False).report
    assert near(found["cox"], held["cox"])


def test_rows_times_columns_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    n, levels = 40 * CHUNK, 60
    codes = np.random.default_rng(1).integers(0, levels, (2, n))
    columns = {"a": codes[0], "b": codes[1], "died": (codes.sum(0) + np.arange(n)) % 2}
    ids = np.char.zfill(np.arange(n).astype(str), 6)
    table = Table(ids, columns, np.zeros(n, np.int8), one_row_each=True)
    names = tuple(f"l{level}" for level in range(levels))
    kinds = {"a": fc.Categorical(names), "b": fc.Categorical(names), "died": fc.Categorical(("no", "yes"))}
    study = fc.Study(
        name="glm", cohort=fc.Cohort(columns=kinds), analysis=fc.GLM("died ~ C(a) + C(b)", family="binomial")
    )
    whole = n * (2 * levels - 1) * 8
    monkeypatch.setattr(design_rows, "HELD", n)
    analysis, rows = build_analysis(study), Rows(table)
    state = analysis.start()
    stage = analysis.stage_at(0)
    assert stage is not None
    tracemalloc.start()
    try:
        site_sum(stage.blocks, stage.contribute(state, rows, Draw(0, "a", 0)), rows, private=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 4
