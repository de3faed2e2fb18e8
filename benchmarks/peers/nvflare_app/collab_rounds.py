"""The same rounds through NVFLARE's collab API: the server calls a function of every client."""

import json
import os
import time

import numpy as np
from nvflare.collab import collab


@collab.publish
def add_one(model: np.ndarray) -> np.ndarray:
    """The client's part: add one to the model, without training."""
    return model + 1


@collab.main
def average() -> None:
    """The server's part: average the clients' models and log the seconds of every round."""
    model = np.zeros(int(os.environ["BENCH_SIZE"]), dtype=np.float32)
    seconds = []
    for _ in range(int(os.environ["BENCH_ROUNDS"])):
        start = time.perf_counter()
        answers = [answer for _, answer in collab.clients.add_one(model)]
        model = np.mean(answers, axis=0)
        seconds.append(round(time.perf_counter() - start, 3))
    whole = len(answers) == int(os.environ["BENCH_SITES"]) and bool(np.all(model == len(seconds)))
    print("COLLAB " + json.dumps({"rounds": seconds, "whole": whole}), flush=True)
