"""`private_accuracy`: what epsilon 1.5 for a whole study leaves of a model, on two real data sets.

Both are trained by `fc.Train.private()`, whose settings are the same for all data: 200 rounds of
one clipped gradient, steps of 2.0, a clip of 0.5, the average of the second half. They were chosen
with sight of these two data sets (on NumPy sketches of both). Noise is shared under masks, one
site may collude, none drops out; test rows are scored exactly, outside the study.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import fedcohort as fc
from benchmarks.harness import at_least, data_folder, emit, reported
from benchmarks.heart import explicit_study, heart_databases, loader
from fedcohort.analyses.private_train import private_train
from fedcohort.engines.local import run_local
from fedcohort.sources.frame import table_from_frame
from fedcohort.study import Cohort, Study
from fedcohort.table import TEST, TRAIN, Table

SEEDS, HOSPITALS = 10, 3
PRIVACY = fc.Privacy(epsilon=1.5, delta=1e-3, evaluate_every=200)
BOUNDS = {
    "age": (18, 90), "sex": (1, 2), "bmi": (15, 45), "bp": (50, 140), "s1": (80, 320), "s2": (30, 250),
    "s3": (20, 100), "s4": (1, 10), "s5": (3, 6.5), "s6": (50, 130),
}  # fmt: skip
"""Clinical ranges in round numbers: pressure in mm Hg, cholesterols and glucose in mg/dl, s5 a logarithm."""

Loaders = Mapping[str, Callable[[Cohort, int], Table]]
Scores = tuple[float, float]


def private_scores(study: Study, loaders: Loaders) -> Scores:
    """Test AUC and accuracy of the private model, on all sites' test rows."""
    outcome = run_local(study, loaders, lambda rows: None)
    analysis = private_train(study)
    x, y = _rows(study, loaders, TEST)
    score = analysis.model.predict(outcome.state.arrays["weights"], x)[:, 0]
    return float(roc_auc_score(y, score)), float(((score >= 0.5) == y).mean())


def _rows(study: Study, loaders: Loaders, split: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    tables = [load(study.cohort, study.seed) for load in loaders.values()]
    encoded = [(*private_train(study).encoded(table), table.split) for table in tables]
    x = np.concatenate([x.take(part == split)[0] for x, _, part in encoded])
    return x, np.concatenate([y[part == split] for _, y, part in encoded])


def plain_auc(study: Study, loaders: Loaders) -> float:
    """scikit-learn's logistic regression on the pooled rows, without privacy."""
    (x, y), (test_x, test_y) = _rows(study, loaders, TRAIN), _rows(study, loaders, TEST)
    model = LogisticRegression(max_iter=5000).fit(x, y)
    return float(roc_auc_score(test_y, model.decision_function(test_x)))


def private(study: Study, seed: int) -> Study:
    """The benchmark's study over another cohort."""
    change = {"analysis": fc.Train.private(importance=False), "privacy": PRIVACY, "protection": "masks"}
    return Study.model_validate(study.model_copy(update={**change, "seed": seed}).model_dump())


def diabetes(seed: int) -> tuple[Study, Loaders]:
    """Three hospitals of different size and prevalence; 30 % of the patients for testing."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    frame = pd.DataFrame(x, columns=list(BOUNDS))
    frame["high"] = (y > 140).astype(int)
    frame["patient_id"] = [f"p{index}" for index in range(len(frame))]
    train, _ = train_test_split(frame.index, test_size=0.3, stratify=frame["high"], random_state=seed)
    frame["set"] = np.where(frame.index.isin(train), "train", "test")
    draw = np.random.default_rng(seed)
    share = 0.5 * draw.dirichlet([1.0] * HOSPITALS, 2) + 0.5 / HOSPITALS
    hospital = np.array([draw.choice(HOSPITALS, p=share[label]) for label in frame["high"]])
    columns = {name: fc.Numeric(low, high) for name, (low, high) in BOUNDS.items()}
    cohort = fc.Cohort(columns=dict(columns), label=fc.Binary("high"), split="set")
    study = fc.Study(name="diabetes", cohort=cohort, analysis=fc.Train.private())
    loaders = {
        f"hospital_{index}": partial(table_from_frame, frame[hospital == index]) for index in range(HOSPITALS)
    }
    return private(study, seed), loaders


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    folder = data_folder(parser.parse_args().data) / "heart_disease"
    with tempfile.TemporaryDirectory() as scratch:
        databases = heart_databases(folder, Path(scratch))
        loaders = {site: loader(path) for site, path in databases.items()}
        base = explicit_study(databases, "logistic", 0)
        heart = [private_scores(private(base, seed), loaders) for seed in range(SEEDS)]
        plain = plain_auc(private(base, 0), loaders)
    name = "private_accuracy: heart disease, epsilon 1.5, delta 1e-3, 10 seeds"
    auc, accuracy = np.mean(heart, axis=0)
    emit(at_least(f"{name}, test AUC", float(auc), plain, "", 0.85))
    emit(at_least(f"{name}, test accuracy", float(accuracy), None, "", 0.78))
    emit(reported(f"{name}, deviation of the AUC", float(np.std([one for one, _ in heart])), None, ""))
    studies = [diabetes(seed) for seed in range(SEEDS)]
    scores = [private_scores(study, loaders) for study, loaders in studies]
    plain = float(np.mean([plain_auc(study, loaders) for study, loaders in studies]))
    name = "private_accuracy: diabetes, epsilon 1.5, delta 1e-3, 10 seeds"
    auc = float(np.mean([one for one, _ in scores]))
    emit(at_least(f"{name}, test AUC", auc, plain, "", 0.82))
    emit(reported(f"{name}, deviation of the AUC", float(np.std([one for one, _ in scores])), None, ""))


if __name__ == "__main__":
    main()
