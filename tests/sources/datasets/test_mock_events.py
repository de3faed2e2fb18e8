"""`fedcohort data mock` of a study of events: nobody's event tables, all of whom the cohort selects."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")

from fedcohort.errors import CohortError, StoreError
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.datasets.mock_events import make_mock_events
from fedcohort.study import Cohort

WORDS = """
[codes]
creatinine = { loinc = ["2160-0"] }
infarction = { icd10 = ["I21*"] }
inpatient = { class = ["IMP"] }
statin = { atc = ["C10AA*"] }
[index]
encounter = "inpatient"
which = "first"
observed = ["-365d", "0d"]
[need.statin]
medication = "statin"
window = ["-90d", "0d"]
[exclude.earlier]
condition = "infarction"
window = ["-3650d", "0d"]
[columns.creatinine]
observation = "creatinine"
take = "last"
window = ["-24h", "0h"]
low = 10
high = 2000
unit = "umol/L"
[columns.age]
patient = "age"
low = 40
high = 60
[columns.sex]
patient = "sex"
levels = ["female", "male", "other"]
[label]
condition = "infarction"
take = "time_to"
window = ["1d", "366d"]
"""


def cohort(*changes: tuple[str, str]) -> Cohort:
    text = WORDS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return Cohort(**tomllib.loads(text))


def test_everybody_that_is_made_up_is_selected_with_values_in_their_range(tmp_path: Path) -> None:
    path = tmp_path / "mock.db"
    report = make_mock_events(path, cohort(), 60, 0.0, 1)
    assert report.written == 60
    table = load_cohort(path, cohort(), 0, {}, events=SiteEvents(in_event_tables({})))
    assert table.n_patients == 60
    known = table.columns["creatinine"][~np.isnan(table.columns["creatinine"])]
    assert 10 < len(known) < 60
    assert (known.min() >= 10, known.max() <= 2000) == (True, True)
    assert table.columns["age"].min() >= 40
    assert table.columns["age"].max() <= 60
    assert set(table.columns["sex"].tolist()) == {0, 1, 2}
    assert table.event is not None
    assert 0 < table.event.mean() < 1


def test_the_same_seed_makes_the_same_patients(tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        make_mock_events(tmp_path / name, cohort(), 20, 0.3, 5)
    here = SiteEvents(in_event_tables({}))
    one, other = (load_cohort(tmp_path / name, cohort(), 0, {}, events=here) for name in ("a.db", "b.db"))
    np.testing.assert_array_equal(one.columns["creatinine"], other.columns["creatinine"])
    assert one.patient_ids.tolist() == other.patient_ids.tolist()


def test_what_cannot_be_made_up_is_told_with_what_to_do(tmp_path: Path) -> None:
    concepts = cohort(('{ icd10 = ["I21*"] }', '{ omop = ["4329847+"] }'))
    with pytest.raises(CohortError, match=r"codes\.infarction: has concepts of omop alone"):
        make_mock_events(tmp_path / "a.db", concepts, 5, 0.0, 0)
    both = cohort(('{ icd10 = ["I21*"] }', '{ omop = ["4329847+"], icd10 = ["I21*"] }'))
    make_mock_events(tmp_path / "a.db", both, 5, 0.0, 0)
    with pytest.raises(StoreError, match="is there already; name a new file"):
        make_mock_events(tmp_path / "a.db", both, 5, 0.0, 0)
    make_mock_events(tmp_path / "b.db", both, 5, 0.0, 0)
