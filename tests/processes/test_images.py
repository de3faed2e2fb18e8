"""Images over real processes: a simulation's bits, a killed node, a planted image that is found nowhere."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from fedcohort.disclosure.rules import OPEN
from fedcohort.errors import StudyFailedError
from fedcohort.researcher.client import simulate
from fedcohort.researcher.result import Result
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.catalogue.stored_images import encode_image
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.study import Binary, Cohort, Image, Numeric, Study, Train
from tests.build import TABLE
from tests.processes.support import Group, comparable, random_name

pytestmark = pytest.mark.processes

SITES, ROUNDS = ("a", "b"), 30
COLUMNS = {
    "scan": Declared(Image(12, 16)),
    "age": Declared(Numeric(18, 100), "years"),
    "ill": Declared(Numeric(0, 1)),
}
PLANTED = np.random.default_rng(4711).integers(0, 256, (12, 16), dtype=np.uint8)


def scans(site: int, n: int = 40) -> list[dict[str, object]]:
    draw = np.random.default_rng([site, 3])
    rows: list[dict[str, object]] = []
    for index in range(n):
        ill = int(draw.integers(2))
        pixels = draw.integers(40 * ill, 200, (12, 16), dtype=np.uint8)
        age = float(draw.integers(20, 90))
        rows.append({"patient_id": f"s{site}p{index}", "scan": encode_image(pixels), "age": age, "ill": ill})
    return [*rows, {"patient_id": "planted", "scan": encode_image(PLANTED), "age": 61.0, "ill": 1}]


def cohort(**columns: Any) -> Cohort:
    kinds: dict[str, Any] = {"scan": Image(12, 16), "age": Numeric(18, 100), **columns}
    return Cohort(table=TABLE, columns=kinds, label=Binary("ill"))


def study(**changes: Any) -> Study:
    train = Train(model="image_and_record", rounds=ROUNDS, learning_rate=0.02, batch_size=8)
    settings = {"min_sites": 2, "round_timeout_seconds": 60.0, "protection": "masks", **changes}
    return Study(**{"name": random_name(), "cohort": cohort(), "analysis": train, **settings})


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with Group(tmp_path_factory.mktemp("images"), options=["--preload"]) as running:
        for index, site in enumerate(SITES):
            database = running.folder / "data" / f"{site}.db"
            database.parent.mkdir(exist_ok=True)
            write_rows(database, wide_table(TABLE, COLUMNS), COLUMNS, scans(index), MADE_UP)
            running.add(site, database, "", f'{TABLE} = "*"', "--preload")
        running.coordinator.start()
        running.wait_linked()
        yield running


@pytest.fixture(scope="module")
def disturbed(group: Group) -> Result:
    """A study whose node b is killed on its way, and one that every site refuses."""
    handle = group.connect().submit(study())
    group.wait_round(handle, 8)
    group.nodes["b"].kill()
    group.nodes["b"].start()
    group.wait_linked("b")
    result = handle.wait(progress=False)
    refused = group.submit_unchecked(study(cohort=cohort(scan=Image(16, 12))))
    with pytest.raises(StudyFailedError):
        refused.wait(progress=False)
    told = {site["code"] for site in refused.status["sites"]} - {""}
    assert told == {"schema-mismatch"}
    return result


def test_a_killed_node_comes_back_and_the_result_has_the_bits_of_a_simulation(disturbed: Result) -> None:
    frames = {site: pd.DataFrame(scans(index)) for index, site in enumerate(SITES)}
    undisturbed = simulate(frames, disclosure=OPEN).run(study(), progress=False)
    assert comparable(disturbed) == comparable(undisturbed)
    assert disturbed.report["refused"] == {}


def marks() -> list[bytes]:
    """Any two rows of the planted image's pixels, or a piece of its PNG."""
    rows = [PLANTED[row : row + 2].tobytes() for row in range(11)]
    data = encode_image(PLANTED)
    return [*rows, *(data[start : start + 24] for start in range(45, len(data) - 40, 24))]


def found(data: bytes) -> int:
    return sum(mark in data for mark in marks())


def test_the_planted_image_stands_in_no_file_but_the_sites_own_database(
    group: Group, disturbed: Result
) -> None:
    logs = [group.coordinator.log, *(group.nodes[site].log for site in SITES)]
    stores = [*group.state.rglob("*"), *(path for site in SITES for path in (group.folder / site).rglob("*"))]
    for path in (*logs, *stores):
        assert path.is_dir() or found(path.read_bytes()) == 0, path
    for site in SITES:
        assert found((group.folder / "data" / f"{site}.db").read_bytes()) > 5


def test_the_planted_image_is_in_no_answer_over_rest(group: Group, disturbed: Result, tmp_path: Path) -> None:
    paths = ["/api/federation", "/api/catalogue", "/api/studies"]
    for name in group.connect().studies()["id"]:
        paths += [f"/api/studies/{name}{end}" for end in ("", "/metrics", "/report", "/model")]
    with httpx.Client(base_url=group.url, headers=group.bearer, trust_env=False) as client:
        for path in paths:
            assert found(client.get(path).content) == 0, path
    with warnings.catch_warnings():  # of Keras, which converts its variables in an old way
        warnings.simplefilter("ignore", DeprecationWarning)
        folder = disturbed.save(tmp_path / "result")
    for file in folder.iterdir():
        assert found(file.read_bytes()) == 0, file


def test_the_catalogue_tells_the_images_declared_size_and_nothing_else(group: Group) -> None:
    for site in group.connect().catalogue().values():
        columns = site["tables"][TABLE]["columns"]
        assert columns["scan"] == {"kind": "image", "height": 12, "width": 16, "channels": 1}
