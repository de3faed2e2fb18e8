"""A Flower server: FedAvg, timed; with data it stops at the goal, measured on the test rows."""

import json
import time

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Timed(FedAvg):
    """FedAvg that notes how long each round takes."""

    times: list[float]
    began: float

    def configure_train(self, *arguments, **named):  # noqa: ANN002, ANN003, ANN201
        """A round begins."""
        self.began = time.perf_counter()
        return super().configure_train(*arguments, **named)

    def aggregate_train(self, *arguments, **named):  # noqa: ANN002, ANN003, ANN201
        """A round ends."""
        result = super().aggregate_train(*arguments, **named)
        self.times.append(time.perf_counter() - self.began)
        return result


def auc(score: np.ndarray, y: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half."""
    difference = score[y == 1][:, None] - score[y == 0][None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds and print what they took."""
    config = context.run_config
    sites, folder = int(config["sites"]), str(config["data"])
    strategy = Timed(
        fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=sites, min_train_nodes=sites
    )
    strategy.times = []
    began, reached = time.perf_counter(), []

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        if folder and number:
            with np.load(f"{folder}/test.npz") as data:
                w = arrays.to_numpy_ndarrays()[0]
                found = auc(data["x"] @ w[:-1] + w[-1], data["y"])
            if found >= float(config["goal"]) and not reached:
                reached.append(time.perf_counter() - began)
            return MetricRecord({"auc": found})
        return MetricRecord({"auc": 0.0})

    size = int(config["size"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(size, np.float32)]),
        num_rounds=int(config["rounds"]),
        evaluate_fn=evaluate,
    )
    print(
        "BENCH " + json.dumps({"rounds": strategy.times, "seconds_to_goal": (reached or [None])[0]}),
        flush=True,
    )
