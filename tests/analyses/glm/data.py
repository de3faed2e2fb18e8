"""Public clinical data as regressions need it, and what statsmodels says of all rows together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf

import fedcohort as fc
from fedcohort.columns import Column
from tests.analyses import clinical

COLUMNS = [
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca",
    "thal", "num",
]  # fmt: skip
"""Of heart-disease.names."""


@dataclass(frozen=True)
class Data:
    """Rows, their cohort, and a formula with the same in patsy's words."""

    frame: pd.DataFrame
    cohort: fc.Cohort
    formula: str
    patsy: str

    @property
    def sites(self) -> dict[str, pd.DataFrame]:
        return clinical.uneven(self.frame)

    def study(self, **words: Any) -> fc.Study:
        more = {name: words.pop(name) for name in ("privacy", "protection") if name in words}
        asked = fc.GLM(**{"formula": self.formula, **words})
        return fc.Study(name="glm", cohort=self.cohort, analysis=asked, **more)


def heart_disease() -> Data:
    folder = clinical.folder().parent / "heart_disease"
    parts = [
        pd.read_csv(folder / f"processed.{centre}.data", header=None, names=COLUMNS, na_values="?").assign(
            centre=centre
        )
        for centre in ("cleveland", "hungarian", "switzerland", "va")
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["disease"] = (frame["num"] > 0).astype(int)
    frame["patient_id"] = [f"p{row:04d}" for row in range(len(frame))]
    columns: dict[str, Column] = {
        "age": fc.Numeric(18, 100), "sex": fc.Categorical([0, 1]), "cp": fc.Categorical([1, 2, 3, 4]),
        "trestbps": fc.Numeric(), "thalach": fc.Numeric(40, 230),
    }  # fmt: skip
    return Data(
        frame,
        fc.Cohort(columns=columns, label=fc.Binary("disease")),
        "disease ~ age*C(sex) + C(cp) + trestbps + thalach",
        "disease ~ age*C(sex) + C(cp) + trestbps + thalach",
    )


def whas500() -> Data:
    frame = clinical.whas500()
    for name in ("gender", "chf", "fstat"):
        frame[name] = frame[name].astype(int)
    frame["weight"] = 1 + np.arange(len(frame)) % 3 / 2
    columns: dict[str, Column] = {
        "age": fc.Numeric(20, 110), "hr": fc.Numeric(), "sysbp": fc.Numeric(), "bmi": fc.Numeric(10, 60),
        "gender": fc.Categorical([0, 1]), "chf": fc.Categorical([0, 1]), "los": fc.Numeric(0, 100),
        "lenfol": fc.Numeric(0.5, 3000), "weight": fc.Numeric(),
    }  # fmt: skip
    return Data(
        frame,
        fc.Cohort(columns=columns, label=fc.Binary("fstat")),
        "fstat ~ age + C(gender) + hr + bs(bmi, knots=[25, 30]) + C(chf)",
        "fstat ~ age + C(gender) + hr + C(chf)"
        " + bs(bmi, knots=[25, 30], degree=3, lower_bound=10, upper_bound=60)",
    )


def flchain() -> Data:
    frame = clinical.flchain().rename(columns={"lambda": "lambda_"})
    frame["death"] = (frame["death"] == "dead").astype(int)
    frame["days"] = frame["futime"] + 1.0
    columns: dict[str, Column] = {
        "age": fc.Numeric(40, 110), "sex": fc.Categorical(["F", "M"]), "mgus": fc.Categorical(["no", "yes"]),
        "kappa": fc.Numeric(), "lambda_": fc.Numeric(), "creatinine": fc.Numeric(), "days": fc.Numeric(),
    }  # fmt: skip
    return Data(
        frame,
        fc.Cohort(columns=columns, label=fc.Binary("death")),
        "death ~ age + sex + log(kappa) + log(lambda_):sex + creatinine",
        "death ~ age + sex + np.log(kappa) + np.log(lambda_):sex + creatinine",
    )


ALL = {made.__name__: made for made in (heart_disease, whas500, flchain)}
FAMILIES = {
    "gaussian": sm.families.Gaussian(),
    "binomial": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
}


def pooled(
    data: Data, family: str, patsy: str | None = None, cov_type: str = "nonrobust", **words: Any
) -> Any:
    """What statsmodels fits to all rows together."""
    model = smf.glm(patsy or data.patsy, data.frame, family=FAMILIES[family], **words)
    return model.fit(tol=1e-14, maxiter=200, cov_type=cov_type)
