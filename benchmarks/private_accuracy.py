"""`private_accuracy`: what epsilon 1.5 for a whole study leaves of a model, on two real data sets.

Both are trained by `fc.Train.private()`, whose settings are the same for all data: 200 rounds of
one clipped gradient, steps of 2.0, a clip of 0.5, the average of the second half. They were chosen
with sight of these two data sets (on NumPy sketches of both). Noise is shared under masks, one
site may collude, none drops out; test rows are scored exactly, outside the study.

Beside it: scikit-learn's logistic regression without privacy, and diffprivlib's with the same epsilon and
delta = 0, both on the pooled rows, which are what no hospital would give away. diffprivlib is told the same
declared bounds, as the largest norm that a row within them can have. Its settings are its own defaults, and,
since ours were chosen with sight of the data, also the C that does best on the test rows.
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
from benchmarks.harness import Claim, at_least, data_folder, emit, reported, run_peer, unavailable
from benchmarks.heart import explicit_study, heart_databases, loader
from fedcohort.analyses.encode import Encoder
from fedcohort.analyses.model_of import model_of
from fedcohort.analyses.subjects import bounds_scaling, within_bounds
from fedcohort.engines.local import run_local
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Cohort, Study
from fedcohort.table import TEST, TRAIN, Table

SEEDS, DRAWS, HOSPITALS, EPSILON = 10, 3, 3, 1.5
"""Noise is drawn three times for each seed: a mean of ten draws is still uncertain by half a point."""
PRIVACY = fc.Privacy(epsilon=EPSILON, delta=1e-3, evaluate_every=200)
BOUNDS = {
    "age": (18, 90), "sex": (1, 2), "bmi": (15, 45), "bp": (50, 140), "s1": (80, 320), "s2": (30, 250),
    "s3": (20, 100), "s4": (1, 10), "s5": (3, 6.5), "s6": (50, 130),
}  # fmt: skip
"""Clinical ranges in round numbers: pressure in mm Hg, cholesterols and glucose in mg/dl, s5 a logarithm."""

Loaders = Mapping[str, Callable[[Cohort, int, bool], Table]]
Scores = tuple[float, float]


def private_scores(study: Study, loaders: Loaders) -> Scores:
    """Test AUC and accuracy of the private model, on all sites' test rows."""
    outcome = run_local(study, loaders, lambda rows: None)
    x, y = _rows(study, loaders, TEST)
    if not isinstance(study.analysis, fc.Train):
        raise TypeError("a training")
    model = model_of(study, study.analysis.model)
    score = model.predict(outcome.state.arrays["weights"], x)[:, 0]
    return float(roc_auc_score(y, score)), float(((score >= 0.5) == y).mean())


def _rows(study: Study, loaders: Loaders, split: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    tables = [load(study.cohort, study.seed, study.privacy is not None) for load in loaders.values()]
    encoder = Encoder(study.cohort, *bounds_scaling(study.cohort))
    bounded = [within_bounds(table, study.cohort) for table in tables]
    x = np.concatenate([encoder.features(table)[table.split == split] for table in bounded])
    return x, np.concatenate([encoder.targets(table)[table.split == split] for table in bounded])


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


def peer_scores(seeds: list[tuple[Study, Loaders]], scratch: Path) -> dict[str, dict[str, float]]:
    """diffprivlib's scores by C, on each seed's pooled rows; or {"unavailable": why}."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for number, (study, loaders) in enumerate(seeds):
        for prefix, split in (("", TRAIN), ("test_", TEST)):
            x, y = _rows(study, loaders, split)
            arrays |= {f"{prefix}x{number}": x, f"{prefix}y{number}": y}
    path = scratch / "rows.npz"
    np.savez(path, allow_pickle=False, **arrays)
    study = seeds[0][0]
    # A number lies within [-1, 1], and a column of levels is one 1: each adds at most 1 to the squared norm.
    norm = f"{np.sqrt(len(study.cohort.schema_)):.6f}"
    return run_peer("diffprivlib", "diffprivlib_logistic.py", str(path), f"{EPSILON}", norm, timeout=600)


def compare(title: str, seeds: list[tuple[Study, Loaders]], least: Scores, scratch: Path) -> None:
    """Print one data set's claims.

    Args:
        least: AUC and accuracy to be reached; 0 where the accuracy is reported only.
    """
    name = f"private_accuracy: {title}, epsilon {EPSILON}, delta 1e-3, {SEEDS} seeds"
    every = [private_scores(study, loaders) for study, loaders in seeds for _ in range(DRAWS)]
    (auc, accuracy), deviation = np.mean(every, axis=0), float(np.std([one for one, _ in every]))
    plain = float(np.mean([plain_auc(study, loaders) for study, loaders in seeds]))
    emit(at_least(f"{name}, test AUC", float(auc), plain, "", least[0]))
    if least[1]:
        emit(at_least(f"{name}, test accuracy", float(accuracy), None, "", least[1]))
    emit(reported(f"{name}, deviation of the AUC", deviation, None, ""))
    peer = peer_scores(seeds, scratch)
    if "unavailable" in peer:
        emit(unavailable(f"{name}, test AUC against diffprivlib, pooled", float(auc), "", str(peer)))
        return
    best = max(peer, key=lambda strength: peer[strength]["auc"])
    for strength, chosen in (("1", "its defaults"), (best, f"C {best}, the best on the test rows")):
        against, found = f"{name}, against diffprivlib on pooled rows with {chosen}", peer[strength]
        emit(beside(f"{against}, test AUC", float(auc), found["auc"]))
        emit(beside(f"{against}, test accuracy", float(accuracy), found["accuracy"]))
        emit(reported(f"{against}, deviation of the AUC", deviation, found["deviation"], ""))


def beside(claim: str, ours: float, peer: float) -> Claim:
    """Two figures of which the larger is better, without a target."""
    return Claim(claim, ours, peer, "", ours / peer, "reported", None)


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    folder = data_folder(parser.parse_args().data) / "heart_disease"
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        databases = heart_databases(folder, scratch)
        loaders = {site: loader(path) for site, path in databases.items()}
        base = explicit_study(databases, "logistic", 0)
        compare(
            "heart disease", [(private(base, seed), loaders) for seed in range(SEEDS)], (0.85, 0.78), scratch
        )
        compare("diabetes", [diabetes(seed) for seed in range(SEEDS)], (0.82, 0.0), scratch)


if __name__ == "__main__":
    main()
