"""Every example runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from benchmarks.images import hospital_databases
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient import NotebookClient
from sksurv.datasets import load_flchain

import fedcohort as fc
from fedcohort.engines.local import run_local
from fedcohort.explain import explain
from fedcohort.node.policy import read_policy
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.datasets import heart_disease
from fedcohort.sources.datasets.synthetic import synthesize
from fedcohort.table import Table
from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent
EXAMPLES, DATA = ROOT / "examples", ROOT.parent / "shared" / "data"


def run_on(databases: dict[str, str], study: fc.Study) -> dict[str, object]:
    """A study over databases of this machine, through the same code as nodes run."""
    catalogues = {site: catalogue(path, None) for site, path in databases.items()}
    explicit = study.model_copy(update={"cohort": resolve_cohort(study.cohort, catalogues)})
    offered = {
        site: {table: list(found["columns"]) for table, found in facts["tables"].items()}
        for site, facts in catalogues.items()
    }

    def load(site: str, cohort: fc.Cohort, seed: int, private: bool) -> Table:
        return load_cohort(databases[site], cohort, seed, offered[site], private=private)

    return run_local(explicit, {site: partial(load, site) for site in databases}, lambda rows: None).report


def test_describe_runs_on_simulated_hospitals(tmp_path: Path) -> None:
    databases = {f"hospital_{index}": str(tmp_path / f"{index}.db") for index in range(2)}
    for index, database in enumerate(databases.values()):
        synthesize(database, index, 100, 0)
    study = fc.load_study(EXAMPLES / "describe.toml")
    assert "age >= 40 and age < 80" in explain(study)
    report = run_on(databases, study)
    assert isinstance(report["describe"], dict)
    assert 40 <= report["describe"]["age"]["mean"] < 80


@pytest.mark.training
def test_breastmnist_trains_on_the_images_of_three_hospitals(tmp_path: Path) -> None:
    folder = Path(os.environ.get("FEDCOHORT_DATA", DATA))
    if not (folder / "medmnist").is_dir():
        pytest.skip(f"needs medmnist in {folder}; set FEDCOHORT_DATA")
    databases = {site: str(path) for site, path in hospital_databases(folder, tmp_path).items()}
    study = fc.load_study(EXAMPLES / "breastmnist.toml")
    short = study.analysis.model_copy(update={"rounds": 12, "average_rounds": 4})
    report = run_on(databases, study.model_copy(update={"analysis": short}))
    test = report["test"]
    assert isinstance(test, dict)
    assert test["auc"] > 0.65
    assert_every_pixel_came_through(folder, databases)


def assert_every_pixel_came_through(folder: Path, databases: dict[str, str]) -> None:
    """From the pictures as published, through DICOM files and the import, to what a model is given."""
    cohort = fc.Cohort(table="images", columns={"image": fc.Image(28, 28)}, split=None)
    tables = [load_cohort(path, cohort, 0, {"images": ["image"]}) for path in databases.values()]
    found = sorted(image.tobytes() for table in tables for image in table.images["image"].take())
    with np.load(folder / "medmnist" / "breastmnist.npz") as arrays:
        published = [
            image.tobytes() for part in ("train", "val", "test") for image in arrays[f"{part}_images"]
        ]
    assert found == sorted(published)


@pytest.mark.training
def test_heart_disease_trains_on_the_four_hospitals(tmp_path: Path) -> None:
    folder = Path(os.environ.get("FEDCOHORT_DATA", DATA)) / "heart_disease"
    if not folder.is_dir():
        pytest.skip(f"needs the UCI files in {folder}; set FEDCOHORT_DATA")
    reports = heart_disease.import_heart_disease(folder, tmp_path)
    databases = {Path(report.database).stem: report.database for report in reports}
    report = run_on(databases, fc.load_study(EXAMPLES / "heart_disease.toml"))
    assert isinstance(report["test"], dict)
    assert report["test"]["auc"] > 0.85


def test_the_site_file_is_valid() -> None:
    policy = read_policy(EXAMPLES / "site.toml")
    assert policy.approval == "ask"
    assert Path(policy.data).parent == EXAMPLES


def test_the_study_of_creatinine_runs_on_the_people_it_is_about() -> None:
    people, followed = load_flchain()
    frame = people[["age", "sex", "creatinine"]].assign(died=followed["death"], days=followed["futime"])
    frame["died"], frame["sex"] = frame["died"].astype(int), frame["sex"].astype(str)
    frame["patient_id"] = np.arange(len(frame)).astype(str)
    hospitals = {"north": frame.iloc[::2], "south": frame.iloc[1::2]}
    result = fc.simulate(hospitals).run(fc.load_study(EXAMPLES / "serum_creatinine.toml"), progress=False)
    assert result.table["p"]["creatinine"] < 0.001
    assert 1.2 < result.table["exp(coef)"]["creatinine"] < 1.4


@pytest.mark.processes
def test_the_script_runs() -> None:
    command = [sys.executable, str(EXAMPLES / "simulate.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert "test auc 0.9" in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.ipynb")))
def test_a_notebook_runs_and_draws_what_it_compares(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        pytest.skip("needs the Jupyter kernel python3: pip install ipykernel")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    read: Callable[..., Any] = nbformat.read
    notebook = read(EXAMPLES / name, as_version=4)
    NotebookClient(notebook, timeout=PATIENCE_SECONDS, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.processes
def test_a_notebook_shows_progress_without_asking_for_widgets() -> None:
    try:
        KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        pytest.skip("needs the Jupyter kernel python3: pip install ipykernel")
    new_notebook: Callable[[], Any] = nbformat.v4.new_notebook
    new_cell: Callable[[str], Any] = nbformat.v4.new_code_cell
    notebook = new_notebook()
    code = """
import fedcohort as fc, pandas as pd
frame = pd.DataFrame({"patient_id": [f"p{n}" for n in range(40)], "age": [float(20 + n) for n in range(40)]})
study = fc.Study(name="ages", cohort=fc.Cohort(columns={"age": fc.Numeric(18, 90)}), analysis=fc.Describe())
print(fc.simulate({"a": frame, "b": frame}).run(study).report["patients"])
"""
    notebook.cells.append(new_cell(code))
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert "ipywidgets" not in json.dumps(outputs)
    assert any(one.get("data", {}).get("text/plain") == "ages  1/1" for one in outputs)
    assert [one.text for one in outputs if one.get("name") == "stdout"] == ["80\n"]
