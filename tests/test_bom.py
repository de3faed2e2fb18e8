"""A byte-order mark, as Windows' editors write it, is no fault of a file that people write."""

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from fedcohort.cli.app import _read_question
from fedcohort.cli.support import read_secret_files
from fedcohort.node.policy import read_policy
from fedcohort.quickstart.config import read_config
from fedcohort.researcher.client import load_study
from fedcohort.sources.deidentify.rules import read_rules
from fedcohort.sources.dicom.options import read_options
from fedcohort.sources.importer.mapping import read_mapping

EXAMPLES = Path(__file__).parent.parent / "examples"
STUDY = b'{"name": "s", "cohort": {"columns": ["age"]}, "analysis": {"kind": "describe"}}'
MAPPING = b'[tables.labs]\npatient_id = "pid"\n[tables.labs.columns]\nage = { from = "alter" }\n'
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "study in TOML": ("study.toml", (EXAMPLES / "describe.toml").read_bytes(), load_study),
    "study in JSON": ("study.json", STUDY, load_study),
    "question in JSON": ("question.json", STUDY, _read_question),
    "site.toml": ("site.toml", (EXAMPLES / "site.toml").read_bytes(), read_policy),
    "config.json": ("config.json", (EXAMPLES / "flat_config" / "config.json").read_bytes(), read_config),
    "mapping": ("mapping.toml", MAPPING, read_mapping),
    "rules": ("rules.toml", b'dates = "shift"\n', read_rules),
    "options": ("options.toml", b'table = "images"\n', lambda path: read_options(path, {}, ())),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_with_a_mark_reads_as_without(tmp_path: Path, kind: str) -> None:
    name, content, read = READERS[kind]
    path = tmp_path / name
    path.write_bytes(content)
    without = read(path)
    path.write_bytes(codecs.BOM_UTF8 + content)
    assert read(path) == without


def test_a_secret_s_file_with_a_mark_holds_the_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(codecs.BOM_UTF8 + b"open sesame\r\n")
    environment = {"FEDCOHORT_TOKEN_FILE": str(tmp_path / "token")}
    read_secret_files(environment)
    assert environment["FEDCOHORT_TOKEN"] == "open sesame"
