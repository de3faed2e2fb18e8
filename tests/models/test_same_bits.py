"""The same call gives the same bits in another process."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fedcohort.models.head import Head
from fedcohort.models.local import local_model


def digest() -> str:
    """Digest initial weights, a local round, a gradient and predictions of two models."""
    total = hashlib.sha256()
    for name, shape in (("mlp_medical", (13,)), ("cnn_medical", (16, 16, 3))):
        local = local_model(name, shape, Head("binary", 1), 5)
        generator = np.random.default_rng(0)
        x = generator.normal(size=(200, *shape)).astype(np.float32)
        y = (generator.random(200) < 0.5).astype(np.float32)
        batches = generator.permutation(200).astype(np.int32).reshape(-1, 40)
        trained = local.train(local.initial(), x, y, batches, learning_rate=0.1, l2=0.01, seed=3)
        gradient, _ = local.gradient(trained, x, y, seed=4)
        for values in (local.initial(), trained, gradient, local.predict(trained, x)):
            total.update(values.astype("<f4").tobytes())
    return total.hexdigest()


def test_a_process_on_one_core_computes_the_same_bits_as_this_one() -> None:
    one_core = (
        "import os\n"
        "if hasattr(os, 'sched_setaffinity'):\n"
        "    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import test_same_bits\n"
        "print(test_same_bits.digest())\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", one_core],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == [digest()], done.stderr
    assert done.stderr == ""


def test_importing_the_package_does_not_import_tensorflow() -> None:
    program = (
        "import sys, fedcohort.models, fedcohort.analyses.train\n"
        "print({'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"
