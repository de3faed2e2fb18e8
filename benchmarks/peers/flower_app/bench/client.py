"""A Flower client: echoes the vector, or takes one epoch of SGD on its hospital's rows."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()
RATE, BATCH = 0.1, 32


def epoch(weights: np.ndarray, x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One pass of logistic regression over shuffled batches; the last weight is the intercept."""
    w = weights.astype(np.float64)
    order = generator.permutation(len(y))
    for start in range(0, len(y), BATCH):
        rows = order[start : start + BATCH]
        features = np.c_[x[rows], np.ones(len(rows))]
        error = 1 / (1 + np.exp(-features @ w)) - y[rows]
        w -= RATE * features.T @ error / len(rows)
    return w.astype(np.float32)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer one round."""
    weights = message.content["arrays"].to_numpy_ndarrays()[0]
    folder, n = str(context.run_config["data"]), 1.0
    if folder:
        site = int(context.node_config["partition-id"])
        with np.load(f"{folder}/site_{site}.npz") as data:
            weights, n = epoch(weights, data["x"], data["y"], np.random.default_rng()), float(len(data["y"]))
    else:
        weights = weights + 1
    content = RecordDict({"arrays": ArrayRecord([weights]), "metrics": MetricRecord({"num-examples": n})})
    return Message(content=content, reply_to=message)
