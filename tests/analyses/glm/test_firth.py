"""Firth's penalised likelihood: the figures that logistf prints, and an independent maximisation."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import fedcohort as fc
from fedcohort.errors import StudyError
from tests.analyses.together import report_of

SEX2 = """
100001:1 100100:14 100101:3 100110:10 100111:12 1001111:1 101000:44 1010001:3 101100:15 1011001:1 101101:2
101110:7 101111:3 110100:2 110101:1 1101011:1 110110:1 1101111:1 111000:5 111100:3 000001:1 000100:2 000101:1
000110:8 000111:18 001000:42 001001:1 001100:1 001110:5 001111:6 010110:2 010111:4 011000:14 011001:1
011100:1 011111:2
"""
"""Of `sex2` (Foxman et al. 1997; Heinze and Schemper 2002), case age oc vic vicl vis and, where it is 1, dia,
with the number of women."""
NAMES = ["case", "age", "oc", "vic", "vicl", "vis", "dia"]
LOGISTF = {
    "Intercept": 0.12025405, "age": -1.10598131, "oc": -0.06881673, "vic": 2.26887464, "vicl": -2.11140817,
    "vis": -0.78831694, "dia": 3.09601166,
}  # fmt: skip


def sex2() -> pd.DataFrame:
    rows = []
    for cell in SEX2.split():
        levels, n = cell.split(":")
        rows += [[int(level) for level in levels.ljust(7, "0")]] * int(n)
    return pd.DataFrame(rows, columns=NAMES)


def study(formula: str, columns: dict[str, fc.Numeric], label: str, **words: object) -> fc.Study:
    cohort = fc.Cohort(columns=columns, label=fc.Binary(label))
    return fc.Study(name="firth", cohort=cohort, analysis=fc.GLM(formula, **{"firth": True, **words}))


def uneven(frame: pd.DataFrame) -> list[pd.DataFrame]:
    named = frame.assign(patient_id=[f"p{row:03d}" for row in range(len(frame))])
    mixed = named.iloc[np.random.default_rng(1).permutation(len(frame))]
    return [
        mixed.iloc[: len(frame) // 8],
        mixed.iloc[len(frame) // 8 : len(frame) // 2],
        mixed.iloc[len(frame) // 2 :],
    ]


def penalised(b: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    eta = x @ b
    mean = 1 / (1 + np.exp(-eta))
    information = x.T @ (x * (mean * (1 - mean))[:, None])
    return float(y @ eta - np.logaddexp(0, eta).sum() + np.linalg.slogdet(information)[1] / 2)


def test_the_figures_of_logistf_on_its_own_data() -> None:
    frame = sex2()
    assert len(frame) == 239
    columns = {name: fc.Numeric(0, 1) for name in NAMES[1:]}
    report = report_of(study("case ~ age + oc + vic + vicl + vis + dia", columns, "case"), uneven(frame))
    found = {row["name"]: row for row in report["glm"]["coefficients"]}
    assert {name: row["coef"] for name, row in found.items()} == pytest.approx(LOGISTF, rel=1e-6)
    x = np.column_stack([np.ones(239), frame[NAMES[1:]].to_numpy(np.float64)])
    y = frame["case"].to_numpy(np.float64)
    at = np.array([found[name]["coef"] for name in LOGISTF])
    assert report["glm"]["penalised_loglik"] == pytest.approx(penalised(at, x, y), rel=1e-10)
    mean = 1 / (1 + np.exp(-x @ at))
    errors = np.sqrt(np.diag(np.linalg.inv(x.T @ (x * (mean * (1 - mean))[:, None]))))
    np.testing.assert_allclose([found[name]["se"] for name in LOGISTF], errors, rtol=1e-8)


def test_separated_outcomes_have_finite_coefficients_where_the_likelihood_has_none() -> None:
    """Everybody above 6 has the outcome, and nobody below: maximised by another algorithm."""
    draw = np.random.default_rng(4)
    x = np.append(draw.uniform(0, 10, 38), [5.9, 6.1])
    frame = pd.DataFrame({"x": x, "z": draw.normal(0, 1, 40), "ill": (x > 6).astype(int)})
    columns = {"x": fc.Numeric(0, 10), "z": fc.Numeric()}
    with pytest.raises(StudyError, match=r"separation: x tells the outcome .*; take firth = true"):
        report_of(study("ill ~ x + z", columns, "ill", firth=False), uneven(frame))
    report = report_of(study("ill ~ x + z", columns, "ill"), uneven(frame))
    found = np.array([row["coef"] for row in report["glm"]["coefficients"]])
    design = np.column_stack([np.ones(40), frame[["x", "z"]]])
    y = frame["ill"].to_numpy(np.float64)
    best = minimize(lambda b: -penalised(b, design, y), np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found, best.x, rtol=1e-4)
    assert -best.fun <= penalised(found, design, y) + 1e-9
