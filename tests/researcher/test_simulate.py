"""What researchers really hand to `fc.simulate`: accepted, or refused in words; and an interrupt ends it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.engines.local import run_local
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.support import FRAMES, study
from tests.patience import PATIENCE_SECONDS

A, B = (FRAMES[site] for site in list(FRAMES)[:2])
COLUMNS = ["age", "pressure"]


def describe(columns: object = COLUMNS, **changes: object) -> fc.Study:
    cohort = fc.Cohort(columns=columns)  # type: ignore[arg-type]
    return fc.Study(name="ages", cohort=cohort, analysis=fc.Describe(), **changes)  # type: ignore[arg-type]


def test_a_list_of_frames_is_numbered_sites_and_numbers_are_names() -> None:
    listed = fc.simulate([A, B]).run(describe(), progress=False)
    numbered = fc.simulate({1: A, 2: B}).run(describe(), progress=False)
    assert listed.report["sites"] == ["site_1", "site_2"]
    assert numbered.report["sites"] == ["1", "2"]
    assert listed.report["describe"] == numbered.report["describe"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (A, "DataFrame is no set of sites; give {'hospital_a': frame_a"),
        ("a.csv", "str is no set of sites"),
        ([], "give at least one frame"),
        ({"a": A, "b": "b.csv"}, "b: str is no pandas data frame"),
        ({"a": A, "": B}, "'' cannot be a site's name"),
        ({1: A, "1": B}, "'1' cannot be a site's name, or is there twice"),
        ({"a\nb": A}, "cannot be a site's name"),
        ([A, pd.concat([A, A[["age"]]], axis="columns")], "site_2: data frame: two columns are called age"),
    ],
)
def test_what_cannot_be_sites_is_refused_in_words(given: object, words: str) -> None:
    with pytest.raises(fc.FedcohortError) as refused:
        fc.simulate(given)  # type: ignore[arg-type]
    assert words in str(refused.value)


def test_numbers_of_numpy_and_an_index_of_pandas_are_taken_for_what_they_are() -> None:
    numpy_made = describe(A[COLUMNS].columns, seed=np.int64(3), min_sites=np.int32(2))
    assert numpy_made.canonical == describe(seed=3, min_sites=2).canonical
    whole: Any = np.int64(2)
    small: Any = np.uint8(16)
    half: Any = np.float32(0.5)
    train = fc.Train(rounds=whole, learning_rate=half, batch_size=small)
    assert train == fc.Train(rounds=2, learning_rate=0.5, batch_size=16)
    assert fc.Numeric(half, whole) == fc.Numeric(0.5, 2)
    levels = pd.Series([2, 1, 2]).unique()
    assert fc.Categorical(levels).levels == (2, 1)
    assert fc.Cohort(columns=np.array(COLUMNS)).columns == ("age", "pressure")  # type: ignore[arg-type]
    bounded = fc.Cohort(columns=COLUMNS, bounds={"age": (A["age"].min(), A["age"].max())})
    assert bounded.bounds["age"] == (float(A["age"].min()), float(A["age"].max()))


def test_what_numpy_holds_is_no_excuse_for_what_is_wrong() -> None:
    with pytest.raises(fc.StudyError, match="seed: write a whole number"):
        describe(seed=np.float64(0.5))
    with pytest.raises(fc.StudyError, match="columns"):
        describe(np.array([["age"]]))


def test_a_refusal_names_the_site_that_it_comes_from() -> None:
    asked = study(fc.Describe(), fc.Binary("disease")).model_copy(update={"protection": "none"})
    lacking = {"here": A, "elsewhere": A.drop(columns="age")}
    loaders = {site: (lambda *rest, f=frame: table_from_frame(f, *rest)) for site, frame in lacking.items()}
    with pytest.raises(fc.FedcohortError, match="elsewhere: data frame: has no column age"):
        run_local(asked, loaders, lambda _: None)


@pytest.mark.training
def test_an_interrupt_ends_a_simulation_and_nothing_computes_on() -> None:
    """As Ctrl-C does, and Jupyter's stop: the signal comes to the main thread, which only waits."""
    main, rounds = threading.main_thread().ident, []

    def interrupt_in_the_third(rows: list[object]) -> None:
        rounds.append(rows)
        if len(rounds) == 3 and main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    asked = study(fc.Train(model="logistic", rounds=100_000, importance=False), fc.Binary("disease"))
    loaders = {site: (lambda *rest, f=frame: table_from_frame(f, *rest)) for site, frame in FRAMES.items()}
    with pytest.raises(KeyboardInterrupt):
        run_local(asked, loaders, interrupt_in_the_third)  # type: ignore[arg-type]
    assert 3 <= len(rounds) < 100_000
    assert not [thread for thread in threading.enumerate() if thread.name == "fedcohort-local"]


@pytest.mark.processes
def test_names_in_any_script_are_printed_on_a_console_of_an_old_code_page(tmp_path: Path) -> None:
    """A BOM, as Windows' editors write it, and cp1252, as its consoles have it."""
    written = '\ufeffname = "心脏 ≥ 60"\n[cohort]\ncolumns = ["age"]\n[analysis]\nkind = "describe"\n'
    (tmp_path / "study.toml").write_text(written, encoding="utf-8")
    command = [sys.executable, "-m", "fedcohort", "explain", "study.toml"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert rb"Study: \u5fc3\u810f \u2265 60" in done.stdout
    code = "from fedcohort.researcher.client import load_study\n"
    code += "from fedcohort.researcher.progress import follow\n"
    code += "with follow(load_study('study.toml'), enabled=True) as f: f.note('waiting for 心脏')\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, rb"waiting for \u5fc3" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("study.toml", r"study: str is no study; give fc\.load_study\(path\)"),
        (None, r"study: NoneType is no study; give fc\.Study\(\.\.\.\), or fc\.load_study\(path\)"),
        ({"name": "ages"}, r"study: dict is no study; give fc\.Study"),
    ],
)
def test_what_is_no_study_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises(fc.StudyError, match=words):
        fc.simulate([A, B]).run(given)


@pytest.mark.training
def test_the_class_of_a_model_is_not_a_model() -> None:
    keras = pytest.importorskip("keras")
    with pytest.raises(fc.StudyError, match="model: write the name of a model, such as logistic, or give a"):
        fc.Train(model=keras.Sequential)


def test_a_number_s_column_may_stand_first_as_that_of_every_other_label() -> None:
    assert fc.Number("bp", 80, 200) == fc.Number(column="bp", low=80, high=200)
    with pytest.raises(fc.StudyError, match="number: low: is missing; write it"):
        fc.Number("bp", high=200)


def test_a_simulation_of_fewer_hospitals_than_the_study_asks_for_says_so_in_its_report() -> None:
    asked = describe(min_sites=3)
    (words,) = fc.simulate({"a": A, "b": A}).run(asked, progress=False).report["simulated"]["words"]
    assert words == (
        "The study asks for at least 3 hospitals (min_sites), and 2 were simulated; a federation of so few "
        "would refuse it."
    )
    alone = fc.simulate({"a": A}).run(describe(), progress=False).report["simulated"]["words"]
    assert 'it was simulated with protection = "none"' in alone[1]
    assert "simulated" not in fc.simulate({"a": A, "b": A}).run(describe(), progress=False).report
