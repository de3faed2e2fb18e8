"""config.json: the flat configuration as it is written, every key with an effect or refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fedcohort as fc
from fedcohort.errors import ConfigError
from fedcohort.quickstart.config import read_config, worker_of
from fedcohort.quickstart.federation_files import flat_study, join_token, worker_policy

FLAT: dict[str, Any] = {
    "workers": [
        {"id": "hospital_a", "host": "localhost", "port": 8777, "data": "mimic_a.db"},
        {"id": "hospital_b", "host": "localhost", "port": 8778, "data": "mimic_b.db"},
    ],
    "model": "cnn_medical",
    "epochs": 10,
    "batch_size": 32,
    "dp_epsilon": None,
    "encryption": None,
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**FLAT, **changes}))
    return path


def test_it_means_fedavg_with_one_local_epoch_a_round(tmp_path: Path) -> None:
    study = flat_study(read_config(write(tmp_path)))
    train = study.analysis
    assert isinstance(train, fc.Train)
    assert (train.model, train.algorithm, train.rounds) == ("cnn_medical", "fedavg", 10)
    assert (train.local_epochs, train.batch_size) == (1, 32)
    assert study.cohort.table == "records"


@pytest.mark.parametrize(
    ("word", "protection"), [(None, "none"), ("none", "none"), ("masks", "masks"), ("paillier", "paillier")]
)
def test_encryption_is_the_protection_of_the_study(tmp_path: Path, word: str | None, protection: str) -> None:
    assert flat_study(read_config(write(tmp_path, encryption=word))).protection == protection


def test_without_a_word_about_encryption_a_study_is_masked(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(json.dumps({key: value for key, value in FLAT.items() if key != "encryption"}))
    assert flat_study(read_config(path)).protection == "masks"


def test_a_worker_listens_on_its_port_and_offers_its_records(tmp_path: Path) -> None:
    path = write(tmp_path)
    policy = worker_policy(path, worker_of(read_config(path), "hospital_b", path))
    assert policy.listen is not None
    assert (policy.listen.host, policy.listen.port) == ("localhost", 8778)
    assert policy.data == str(tmp_path / "mimic_b.db")
    assert policy.tables == {"records": "*"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dp_epsilon": 0.0}, "dp_epsilon: must be a number from 1e-06 to 10,000, such as 1.5"),
        ({"dp_epsilon": "much"}, "dp_epsilon"),
        ({"encryption": "rot13"}, "encryption"),
        ({"model": "gpt"}, "model"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": "32"}, "batch_size"),
        ({"colour": "red"}, "colour: there is no such key; known are workers, model"),
        ({"workers": []}, "workers"),
        ({"workers": [FLAT["workers"][0]] * 2}, "two have the same id"),
        ({"workers": [{**FLAT["workers"][0], "port": 0}]}, "workers.0.port"),
        ({"workers": [{**FLAT["workers"][0], "id": "../etc"}]}, "workers.0.id"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, **changes))
    assert "config.json" in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "none.json"):
        with pytest.raises(ConfigError, match=name):
            read_config(tmp_path / name)


def test_an_unknown_worker_is_told_which_there_are(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ConfigError, match="hospital_a, hospital_b"):
        worker_of(read_config(path), "hospital_c", path)


def test_coordinator_and_node_find_the_same_join_token(tmp_path: Path) -> None:
    token = join_token(tmp_path, "hospital_a")
    assert len(token) > 40
    assert join_token(tmp_path, "hospital_a") == token
    assert join_token(tmp_path, "hospital_b") != token


def test_processes_that_start_together_find_one_whole_join_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: join_token(tmp_path, "hospital_a"), range(64)))
    assert len(found) == 1
    assert len(found.pop()) > 40
    assert [path.name for path in (tmp_path / "join").iterdir()] == ["hospital_a.token"]
