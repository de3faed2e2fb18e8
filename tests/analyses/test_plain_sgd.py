"""FedAvg over one hospital is stochastic gradient descent, written out here in NumPy."""

import numpy as np
import pytest

import fedcohort as fc
from fedcohort.analyses.algorithms.fedavg import epoch_batches
from fedcohort.analyses.contract import Draw

from .support import FRAMES, encoded, run, study

TOLERANCE = 1e-5
FIRST_TRAINING_ROUND = 1
"""Round 0 sums the moments."""


@pytest.mark.training
def test_one_hospital_is_plain_sgd_on_its_training_rows() -> None:
    frame = FRAMES["a"].sort_values("patient_id")
    numbers = frame.loc[frame["set"] == "train", ["age", "pressure"]]
    x = encoded(frame, numbers.mean(), numbers.std(ddof=0))
    y = frame["disease"].to_numpy(float)
    train_rows = np.flatnonzero(frame["set"] == "train")
    start = run(study(fc.Train(model="logistic", rounds=1, learning_rate=1e-12)), {"a": FRAMES["a"]})
    kernel, bias = np.split(start.arrays["weights"].astype(float), [x.shape[1]])
    for number in range(FIRST_TRAINING_ROUND, FIRST_TRAINING_ROUND + 3):
        for batch in epoch_batches(train_rows, 16, 2, Draw(0, "a", number).generator("batches")):
            rows = batch[batch >= 0]
            error = (1 / (1 + np.exp(-(x[rows] @ kernel + bias))) - y[rows]) / len(rows)
            kernel, bias = kernel - 0.2 * x[rows].T @ error, bias - 0.2 * error.sum()
    asked = fc.Train(model="logistic", rounds=3, local_epochs=2, batch_size=16, learning_rate=0.2)
    found = run(study(asked), {"a": FRAMES["a"]}).arrays["weights"]
    np.testing.assert_allclose(found, [*kernel, *bias], atol=TOLERANCE)
