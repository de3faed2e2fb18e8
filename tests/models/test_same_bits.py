"""The same call gives the same bits in another process."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.local import local_model
from fedcohort.models.start import start_tensorflow
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.training


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
        "from tests.models import test_same_bits\n"
        "print(test_same_bits.digest())\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", one_core],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
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
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert done.stdout.strip() == "set()"


def test_another_backend_of_keras_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(StudyError, match="KERAS_BACKEND=jax"):
        start_tensorflow.__wrapped__()


def test_threads_share_one_model_and_get_the_same_bits() -> None:
    local = local_model("mlp_medical", (2,), Head("binary", 1), 77)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 2)).astype(np.float32), np.ones(64, np.float32)
    batches = np.arange(64, dtype=np.int32).reshape(8, 8)

    def once(seed: int) -> bytes:
        again = local_model("mlp_medical", (2,), Head("binary", 1), 77)
        assert again is local
        return again.train(again.initial(), x, y, batches, learning_rate=0.5, seed=seed).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(once, range(20))) == [once(seed) for seed in range(20)]
