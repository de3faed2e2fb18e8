"""diffprivlib's logistic regression on pooled rows; prints test AUC and accuracy by C as one line of JSON.

Run by the peer's interpreter: `diffprivlib_logistic.py ROWS EPSILON DATA_NORM`. ROWS is a file of NumPy's
with x, y, test_x and test_y of each seed. Objective perturbation (Chaudhuri, Monteleoni and Sarwate 2011):
one fit of (epsilon, 0), whose noise comes from the operating system.
"""

import json
import sys
import warnings

import numpy as np
from diffprivlib.models import LogisticRegression
from sklearn.metrics import roc_auc_score

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of C; 1 is the default of diffprivlib."""
DRAWS = 10
"""Fits for each seed, so that the mean is not of ten draws of noise only."""


def scores(
    rows: "np.lib.npyio.NpzFile", seed: int, strength: float, epsilon: float, norm: float
) -> list[float]:
    """AUC and accuracy of one fit on the test rows."""
    model = LogisticRegression(epsilon=epsilon, data_norm=norm, C=strength, max_iter=1000)
    model.fit(rows[f"x{seed}"], rows[f"y{seed}"])
    x, y = rows[f"test_x{seed}"], rows[f"test_y{seed}"]
    return [roc_auc_score(y, model.decision_function(x)), float((model.predict(x) == y).mean())]


def main() -> None:
    """Print all figures."""
    warnings.simplefilter("ignore")
    rows, epsilon, norm = np.load(sys.argv[1], allow_pickle=False), float(sys.argv[2]), float(sys.argv[3])
    seeds, found = range(len(rows.files) // 4), {}
    for strength in STRENGTHS:
        every = [scores(rows, seed, strength, epsilon, norm) for seed in seeds for _ in range(DRAWS)]
        (auc, accuracy), deviation = np.mean(every, axis=0), np.std(every, axis=0)
        found[f"{strength:g}"] = {"auc": auc, "accuracy": accuracy, "deviation": deviation[0]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
