"""lifelines on pooled patients; prints processor seconds and estimates as one line of JSON.

Run by the peer's interpreter: `lifelines_survival.py cox|km FILE`. FILE is one of NumPy's with `x` (n, p),
`time`, `event` and, for Cox, `site`: the model is stratified by it, with Efron's ties.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter, KaplanMeierFitter


def cox(data: "np.lib.npyio.NpzFile") -> dict[str, object]:
    """Coefficients and standard errors."""
    frame = pd.DataFrame(data["x"], columns=[f"x{j}" for j in range(data["x"].shape[1])])
    frame["time"], frame["event"], frame["site"] = data["time"], data["event"], data["site"]
    began = time.process_time()
    fitted = CoxPHFitter().fit(frame, "time", "event", strata=["site"])
    seconds = time.process_time() - began
    return {"seconds": seconds, "coef": fitted.params_.tolist(), "se": fitted.standard_errors_.tolist()}


def km(data: "np.lib.npyio.NpzFile") -> dict[str, object]:
    """The curve after each time at which somebody left."""
    began = time.process_time()
    fitted = KaplanMeierFitter().fit(data["time"], data["event"])
    seconds = time.process_time() - began
    curve = fitted.survival_function_["KM_estimate"]
    return {"seconds": seconds, "times": curve.index.tolist(), "survival": curve.tolist()}


def main() -> None:
    """Print what was asked for."""
    warnings.simplefilter("ignore")
    data = np.load(sys.argv[2], allow_pickle=False)
    print(json.dumps({"cox": cox, "km": km}[sys.argv[1]](data)))


if __name__ == "__main__":
    main()
