"""The words of a cohort of events: what may be written, what contradicts itself, and what is read aloud."""

import tomllib
from typing import Any

import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.columns import Binary, Categorical, Number, Numeric, Survival
from fedcohort.errors import StudyError
from fedcohort.event_words import milliseconds_of
from fedcohort.explain import explain
from fedcohort.handed_in import check_handed_in
from fedcohort.study import Cohort, Study, parse_study

WORDS = """
name = "kidneys"
[cohort.codes]
creatinine = { loinc = ["2160-0", "14682-9"], omop = ["3016723"] }
infarction = { icd10 = ["I21*", "I22*"], omop = ["4329847+"] }
[cohort.index]
encounter = true
which = "first"
at = "start"
observed = ["-365d", "0d"]
[cohort.need.any]
observation = "creatinine"
window = ["-365d", "0d"]
high = 1000
unit = "umol/L"
[cohort.exclude.earlier]
condition = "infarction"
window = ["-3650d", "0d"]
[cohort.columns.creatinine]
observation = "creatinine"
take = "last"
window = ["-24h", "0h"]
low = 10
high = 2000
unit = "umol/L"
[cohort.columns.age]
patient = "age"
low = 18
high = 100
[cohort.columns.since]
condition = "infarction"
take = "days_since"
window = ["-3650d", "-30d"]
[cohort.label]
condition = "infarction"
take = "any"
window = ["1d", "366d"]
[cohort.sequence]
window = ["-4h", "0h"]
step = "1h"
columns = ["creatinine"]
hold = "last"
[analysis]
kind = "describe"
"""


def words(*changes: tuple[str, str]) -> Study:
    text = WORDS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_study(tomllib.loads(text))


def refused(*changes: tuple[str, str]) -> str:
    with pytest.raises(StudyError) as fault:
        words(*changes)
    return str(fault.value)


def test_columns_and_label_of_events_are_ordinary_ones_with_the_declared_bounds() -> None:
    cohort = words().cohort
    assert cohort.table == "events"
    assert cohort.schema_["creatinine"] == Numeric(10, 2000, unit="umol/L")
    assert cohort.schema_["age"] == Numeric(18, 100)
    assert cohort.schema_["since"] == Numeric(30, 3650, unit="d")
    assert cohort.label == Binary("label")
    assert [name for name in cohort.schema_ if name.startswith("t0")] == [
        f"t00{step}.creatinine" for step in range(4)
    ]
    assert cohort.is_explicit


def test_the_canonical_form_is_read_as_the_same_study() -> None:
    study = words()
    assert parse_study(study.canonical) == study
    assert parse_study(study.canonical).hash == study.hash


def test_a_cohort_without_events_has_the_hash_that_it_always_had() -> None:
    study = Study(name="s", cohort=Cohort(columns={"age": Numeric(0, 100)}), analysis=fc.Describe())
    assert study.hash == "7e988b2aa03ffd3bfd703c9c70f6c5e5aadd430bb469efcbce422c0e4c68b504"


def test_python_has_the_same_words() -> None:
    written: dict[str, Any] = tomllib.loads(WORDS)
    assert fc.Study(name="kidneys", cohort=fc.Cohort(**written["cohort"]), analysis=fc.Describe()) == words()


def test_a_label_may_be_a_time_or_a_number() -> None:
    timed = words(('take = "any"\nwindow = ["1d"', 'take = "time_to"\nwindow = ["0d"')).cohort
    assert timed.label == Survival("label_time", "label_event", horizon=366)
    counted = words(('take = "any"\nwindow = ["1d"', 'take = "count"\nhigh = 5\nwindow = ["0d"')).cohort
    assert counted.label == Number("label", 0, 5)


def test_any_is_a_number_or_two_levels() -> None:
    def column(more: str) -> object:
        old = 'take = "days_since"'
        return words((old, f'take = "any"{more}')).cohort.schema_["since"]

    assert column("") == Numeric(0, 1)
    assert column("\nlevels = [0, 1]") == Categorical((0, 1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('take = "last"', 'take = "lst"', 'cohort.columns.creatinine.take: write "any"'),
        ('take = "last"', 'tke = "last"', "cohort.columns.creatinine.tke: there is no such key; write take"),
        ('take = "last"', 'take = "mean"\nlow2 = 1', "cohort.columns.creatinine.low2: there is no such key"),
        ('2000\nunit = "umol/L"', "2000", "cohort.columns.creatinine: a value needs low, high and unit"),
        ('["-24h", "0h"]', '["-24h", "2d"]', "columns.creatinine.window: overlaps the label's window"),
        ('["-4h", "0h"]', '["0h", "48h"]', "sequence.window: overlaps the label's window"),
        ('["-24h", "0h"]', '["0h", "-24h"]', "cohort.columns.creatinine.window: a window is [from, to)"),
        ('["-24h", "0h"]', '["-24x", "0h"]', "write a whole number of min, h, d, w or y"),
        ('["-24h", "0h"]', '["-999999y", "0h"]', "write a whole number of min, h, d, w or y"),
        ("encounter = true", 'encounter = "ward"', "index.encounter: codes has no list ward"),
        ("encounter = true\n", "", "cohort.index: name one kind of event"),
        ("encounter = true", "encounter = true\ndeath = true", "cohort.index: name one kind of event"),
        ('which = "first"', 'which = "every"', 'cohort.index: which = "every" needs at_most'),
        ('which = "first"', 'which = "first"\nat_most = 2', 'which = "every" needs at_most'),
        ('take = "any"', 'tke = "any"', "cohort.label.tke: there is no such key; write take"),
        ("loinc", "lonic", "no code system has this name"),
        ('"4329847+"', '"x4329847+"', "a concept of omop is a number"),
        ('"4329847+"', '"0"', "a concept of omop is a number"),
        ('"I21*"', '"I*1"', "a * stands at the end of a code only"),
        ("high = 1000\n", "", "a unit says what low and high are in"),
        ('patient = "age"', 'patient = "agee"', 'cohort.columns.age.patient: write "age" or "sex"'),
        ('patient = "age"', 'patient = "age"\ntake = "last"', "what is known of the patient has no event"),
        ('columns = ["creatinine"]', 'columns = ["age"]', "sequence.columns: age is no column of"),
        ('step = "1h"', 'step = "3h"', "step: the window must be a whole number of steps"),
        ("[cohort.index]", "[cohort.indx]", "cohort.indx: there is no such key; write index"),
        ("[cohort.codes]", '[cohort.codes]\nmore = { loinc = ["1-1"] }', "codes: more is used nowhere"),
        ("[cohort.index]", '[cohort.bounds]\nage = [20, 30]\n[cohort.index]', "where, bounds and a column"),
        ("[cohort.columns.age]", "[cohort.columns.weight]\nlow = 1\nhigh = 9\n[cohort.columns.age]",
         "columns.weight: say which events it is made of"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_told_where_it_is_written(old: str, new: str, told: str) -> None:
    assert told in refused((old, new))


def test_an_index_that_is_left_out_is_told() -> None:
    lines = WORDS.split("[cohort.index]")
    text = lines[0] + "[cohort.need.any]" + lines[1].split("[cohort.need.any]")[1]
    with pytest.raises(StudyError, match="index: is missing"):
        parse_study(tomllib.loads(text))


def test_a_study_cannot_say_other_columns_than_its_events_make() -> None:
    written = parse_study(words().canonical).model_dump(mode="json")
    written["cohort"]["columns"]["creatinine"]["high"] = 3000.0
    with pytest.raises(StudyError, match=r"columns\.creatinine: is not what its events make"):
        parse_study(written)


def test_the_rows_of_a_patient_are_those_that_privacy_counts() -> None:
    every = ('which = "first"', 'which = "every"\nat_most = 3')
    private = ("[analysis]", "[privacy]\nepsilon = 1.0\ndelta = 1e-3\nrows_per_patient = 2\n[analysis]")
    with pytest.raises(StudyError, match="rows_per_patient: a patient has up to 3 rows"):
        check_handed_in(words(every, private))
    check_handed_in(words(every, (private[0], private[1].replace("= 2", "= 3"))))
    check_handed_in(words((private[0], private[1].replace("= 2", "= 1"))))


def test_a_simulation_reads_rows_and_no_events() -> None:
    frame = pd.DataFrame({"age": [40.0, 50.0] * 20, "label": [0, 1] * 20})
    frames, asked = {"a": frame, "b": frame}, words()
    with pytest.raises(StudyError, match=r"cohort\.index: a data frame has a row a patient, and no events"):
        fc.simulate(frames).run(asked, progress=False)
    rows = Cohort(columns={"age": Numeric(18, 100)}, label="label")
    plain = asked.model_copy(update={"cohort": rows})
    assert fc.simulate(frames).run(plain, progress=False).report["sites"] == ["a", "b"]


def test_a_duration_is_whole_milliseconds() -> None:
    assert [milliseconds_of(one) for one in ("-1h", "0d", "2w", "1y", "5min")] == [
        -3_600_000, 0, 1_209_600_000, 31_557_600_000, 300_000,
    ]  # fmt: skip


def test_it_is_read_aloud_in_both_languages() -> None:
    english = explain(words())
    for line in (
        "A row a patient; time zero is when the first encounter begins.",
        "Kept only where the hospital has observed the patient all the time from -365d to 0d.",
        "Kept only with observation of creatinine between -∞ and 1000 umol/L from -365d to before 0d (any).",
        "Left out with condition of infarction from -3650d to before 0d (earlier).",
        "creatinine: last value of observation of creatinine from -24h to before 0h, of those from 10 to",
        "Of creatinine, the last value of each of 4 steps of 1h, from -4h to before 0h.",
        "Label: whether there is condition of infarction from 1d to before 366d",
        "List infarction: icd10 I21*, I22*; omop 4329847+",
    ):
        assert line in english
    chinese = explain(words(), language="zh")
    assert "每名患者一行；时间零点是首次就诊开始之时。" in chinese
    assert "排除" in chinese
    assert "whether" not in chinese
