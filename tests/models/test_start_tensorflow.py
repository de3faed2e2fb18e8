"""How TensorFlow is started, and what is refused where somebody else started it."""

import os
import subprocess
import sys

import pytest

from fedcohort.models.start import SETTINGS

pytestmark = pytest.mark.training

# It says first what TensorFlow was started with, so that one start serves for that, too.
ATTACK = """
import os
from fedcohort.errors import StudyError
from fedcohort.models.start import start_tensorflow
start_tensorflow()
names = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA")
print(*(os.environ[name] for name in names))
from tests.models.attack_on_bits import attack
try:
    print(*attack())
except StudyError as error:
    print(error)
"""


MOST_CLIPS = 1.0 + 273**0.5 / 2**16
"""The clip, and the rounding of either sum of 273 weights to integers of a clip / 2^16."""


def run(program: str, **variables: str) -> str:
    """What a Python of its own prints, in an environment with no other settings than these."""
    own = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**own, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("instructions", [None, "SSE41", "AVX2", "AVX512_CORE"])
def test_steep_weights_turn_no_last_bit_of_others_into_a_clip(instructions: str | None) -> None:
    """Without a choice of the environment it is AVX, which children inherit as they do what was chosen."""
    chosen = {} if instructions is None else {"ONEDNN_MAX_CPU_ISA": instructions}
    started_with, found = run(ATTACK, **chosen).splitlines()
    assert started_with == f"0 1 {instructions or 'AVX'}"
    clips, scores = found.split()
    assert float(clips) <= MOST_CLIPS
    assert int(scores) == 0


@pytest.mark.parametrize(
    ("chosen", "started_with"),
    [({"TF_NUM_INTRAOP_THREADS": "2"}, "0 2 AVX"), ({"TF_ENABLE_ONEDNN_OPTS": "1"}, "1 1 AVX")],
    ids=str,
)
def test_with_other_settings_privacy_is_refused_or_holds(chosen: dict[str, str], started_with: str) -> None:
    """What the environment says already is left alone."""
    first, said = run(ATTACK, **chosen).splitlines()
    assert first == started_with
    if not said.startswith("privacy: on this machine"):
        clips, scores = said.split()
        assert float(clips) <= MOST_CLIPS
        assert int(scores) == 0


STARTED_BEFORE = """
import keras
from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.local import local_model
from fedcohort.models.private import private_model
import numpy as np
x = np.ones((4, 3), np.float32)
local = local_model("logistic", (3,), Head("binary", 1), 0)
print(local.predict(local.initial(), x).shape)
for private in (
    lambda: private_model("logistic", (3,), Head("binary", 1), 0),
    lambda: local.predict_apart(local.initial(), x),
):
    try:
        private()
        print("goes on")
    except StudyError as error:
        print(error)
"""


def test_privacy_is_refused_where_a_notebook_started_tensorflow_until_it_obeys_what_is_printed() -> None:
    shape, trained, measured = run(STARTED_BEFORE).splitlines()
    assert shape == "(4, 1)", "without privacy it goes on"
    assert trained == measured
    assert "TensorFlow was imported in this process without TF_ENABLE_ONEDNN_OPTS, TF_NUM" in trained
    first_line = trained.split("keras run: ")[1]
    assert run(first_line + STARTED_BEFORE).splitlines() == [shape, "goes on", "goes on"]
