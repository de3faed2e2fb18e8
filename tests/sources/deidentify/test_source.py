"""What a batch looks like when it has passed: pseudonyms, moved dates, and none of what tells who it was."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import ConfigError, SchemaError
from fedcohort.sources.catalogue.schema import Declared
from fedcohort.sources.deidentify.pseudonym import pseudonym, shift_days
from fedcohort.sources.deidentify.rules import Rules, read_rules
from fedcohort.sources.deidentify.source import Deidentifier, deidentified
from fedcohort.sources.importer.batch import Batch, Part, Refusal, Source

KEY = bytes(range(32))
TODAY = datetime.date(2026, 11, 23)
AGE = Declared(Numeric(0, 120), "years")
SEX = Declared(Categorical(("f", "m")))
Column = Sequence[object]


def passed(
    columns: Mapping[str, Column],
    rules: Mapping[str, object] | None = None,
    declared: Mapping[str, Declared] | None = None,
    key: bytes = KEY,
) -> Mapping[str, Column]:
    """The columns of one batch of the table `visits`, de-identified; rows are patient 7's unless they say."""
    n = len(next(iter(columns.values())))
    made = Deidentifier(Rules.model_validate(rules or {}), key, {"visits": declared or {}}, today=TODAY)
    return made.apply(Batch("visits", {"patient_id": ["7"] * n, **columns}, n)).columns


def test_a_patient_has_one_pseudonym_in_every_table_and_import() -> None:
    ids = passed({"patient_id": [7, "7", "7.0", " 7", None]})["patient_id"]
    assert ids == [pseudonym(KEY, "7")] * 4 + [None]
    assert passed({"patient_id": ["7"]}, key=bytes(32))["patient_id"] != [ids[0]]


def test_what_names_somebody_is_left_out_and_what_measures_stays() -> None:
    columns: dict[str, Column] = {
        "name": ["Jane Doe"],
        "phone": ["555-123-4567"],
        "mrn": ["4711"],
        "remarks": ["anything"],
        "sex": ["f"],
        "bp": [120],
    }
    kept = passed(columns, declared={"sex": SEX, "bp": Declared(Numeric(0, 300))})
    assert sorted(kept) == ["bp", "patient_id", "sex"]
    assert (kept["sex"], kept["bp"]) == (["f"], [120])


def test_all_dates_of_a_patient_move_by_one_offset_whatever_their_spelling() -> None:
    days = datetime.timedelta(shift_days(KEY, "7"))
    day = datetime.date(2019, 3, 31)
    moved = day + days
    dates: dict[str, Column] = {
        "seen_date": [
            "2019-03-31",
            "2019-03-31 23:59:01",
            "2019-03-31T10:00:00.5+01:00",
            "20190331",
            "20190331235901",
        ],
        "dischtime": [day, datetime.datetime(2019, 3, 31, 8, 0), 20190331, None, ""],
    }
    got = passed(dates)
    iso, digits = moved.isoformat(), f"{moved:%Y%m%d}"
    assert got["seen_date"] == [iso, f"{iso} 23:59:01", f"{iso}T10:00:00.5+01:00", digits, f"{digits}235901"]
    assert got["dischtime"] == [moved, datetime.datetime(2019, 3, 31, 8, 0) + days, int(digits), None, None]


def test_a_date_in_a_sites_own_spelling_is_read_by_its_format() -> None:
    rule = {"columns": {"seen": {"role": "date", "format": "%d.%m.%Y"}}}
    moved = datetime.date(2019, 3, 31) + datetime.timedelta(shift_days(KEY, "7"))
    assert passed({"seen": ["31.03.2019", "31/03/2019", "1.1.19"]}, rule)["seen"] == [
        moved.isoformat(),
        None,
        None,
    ]


def test_the_year_alone_may_stay() -> None:
    dates: Column = [
        "2019-03-31",
        "20190331",
        datetime.date(2019, 3, 31),
        "2019-03",
        "2019",
        2019,
        20190331,
        "1931-01-01",
    ]
    years = passed({"seen_date": dates}, {"dates": "year"})["seen_date"]
    assert years == ["2019", "2019", "2019", "2019", "2019", 2019, 2019, "1936"]


def test_what_is_no_date_is_missing_and_counted_never_kept() -> None:
    values: Column = ["Jane", "2019-13-01", "2019-03-31 Jane", "9999-12-31", "12", 3.5, True, [1]]
    made = Deidentifier(Rules(), KEY, {"visits": {}}, today=TODAY)
    batch = made.apply(Batch("visits", {"patient_id": ["7"] * 8, "seen_date": values}, 8))
    # 9999-12-31 stands for 'never': patient 7 moves back, so it can.
    assert shift_days(KEY, "7") < 0
    tally = {one.column: one for one in made.report().columns}["seen_date"]
    assert tally.blanked == 7
    assert batch.made_missing == {"seen_date cannot be read as a date": 7}


def test_a_birth_more_than_89_years_ago_is_told_as_90_or_older() -> None:
    births: Column = ["1936-11-23", "1936-11-24", "1920-05-05", datetime.date(1901, 1, 1), 1920]
    got = passed({"birth_date": births})["birth_date"]
    moved = datetime.date(1936, 11, 24) + datetime.timedelta(shift_days(KEY, "7"))
    assert got == ["1936-01-01", moved.isoformat(), "1936-01-01", datetime.date(1936, 1, 1), 1936]


def test_a_date_without_a_patient_does_not_stay() -> None:
    assert passed({"patient_id": [None], "seen_date": ["2019-03-31"]})["seen_date"] == [None]


DAYS = st.dates(datetime.date(1940, 1, 1), datetime.date(2026, 1, 1))


@given(st.lists(st.tuples(st.sampled_from("abc"), DAYS), min_size=1, max_size=30))
def test_intervals_and_order_within_a_patient_stay(visits: list[tuple[str, datetime.date]]) -> None:
    patients: Column = [patient for patient, _ in visits]
    dates: dict[str, Column] = {
        "patient_id": patients,
        "first_date": [day for _, day in visits],
        "last_date": [f"{day.isoformat()} 10:00" for _, day in visits],
    }
    got = passed(dates)
    for patient, (_, day), first, last in zip(
        patients, visits, got["first_date"], got["last_date"], strict=True
    ):
        moved = day + datetime.timedelta(shift_days(KEY, str(patient)))
        assert (first, last) == (moved, f"{moved.isoformat()} 10:00")


def test_ages_and_zip_codes_keep_what_safe_harbor_keeps() -> None:
    declared = {"age": AGE, "zip": Declared(Numeric(0, 99999))}
    got = passed(
        {"age": [34, 91.5, "94", "old", None], "zip": [2139, 3601, 60601, "x", None]}, declared=declared
    )
    assert got["age"] == [34, 90.0, "90", None, None]
    assert got["zip"] == [21, 0, 606, None, None]
    assert passed({"zip": ["02139", "03601"]})["zip"] == ["021", "000"]


def test_what_is_declared_follows_what_is_done() -> None:
    declared = {
        "age": AGE,
        "ssn": Declared(Numeric(0, 1e9)),
        "zip": Declared(Categorical(("02139", "02138", "60601"))),
        "sex": SEX,
        "visit_no": Declared(Categorical(("v1", "v2"))),
    }
    rules = Rules.model_validate({"tables": {"visits": {"visit_no": "code"}}})
    tables = Deidentifier(rules, KEY, {"visits": declared}, today=TODAY).tables["visits"]
    assert sorted(tables) == ["age", "sex", "visit_no", "zip"]
    assert tables["age"] == Declared(Numeric(0, 90), "years")
    assert tables["zip"].kind == Categorical(("021", "606"))
    codes = passed({"visit_no": ["v2", "v1", "v2"]}, rules.model_dump(), declared)["visit_no"]
    kind = tables["visit_no"].kind
    assert isinstance(kind, Categorical)
    assert list(codes) == [kind.levels[1], kind.levels[0], kind.levels[1]]


@pytest.mark.parametrize(
    ("column", "bounds", "kept"),
    [
        ("survival_time", (0, 4000), True),
        ("days_to_death", None, True),
        ("birth_weight", (0, 6000), True),
        ("admit_date", None, False),
        ("admit_date", (0, 99999999), False),
    ],
)
def test_a_duration_stays_and_a_date_as_a_number_does_not(
    column: str, bounds: tuple[float, float] | None, kept: bool
) -> None:
    declared = {column: Declared(Numeric(*bounds) if bounds else Numeric())}
    assert (column in passed({column: [3000]}, declared=declared)) is kept


def test_a_birth_year_is_capped_and_stays_a_number() -> None:
    declared = {"birth_year": Declared(Numeric(1900, 2030))}
    assert passed({"birth_year": [1920, 1960]}, declared=declared)["birth_year"] == [1936, 1960]


def test_levels_that_tell_an_age_above_90_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"visits\.age_group: levels tell ages above 90"):
        passed({"age_group": ["0-89"]}, declared={"age_group": Declared(Categorical(("0-89", "95-99")))})


def test_levels_that_look_like_identifiers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"visits\.ward: a level has the shape") as caught:
        passed({"ward": ["a"]}, declared={"ward": Declared(Categorical(("a", "jane@example.org")))})
    assert "jane" not in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["jane@example.org", "555-123-4567", "MRN 4711", "KH-123456", datetime.date(2019, 1, 1)]
)
def test_a_kept_text_with_an_identifiers_shape_stops_the_column_by_name(secret: object) -> None:
    rules = {"columns": {"finding": "keep"}, "identifiers": [r"KH-\d{6}"]}
    with pytest.raises(SchemaError, match=r"visits\.finding: a text has the shape of") as caught:
        passed({"finding": ["clear", secret, None]}, rules)
    assert str(secret) not in str(caught.value)
    assert passed({"finding": ["clear", None]}, rules)["finding"] == ["clear", None]


def test_what_somebody_answers_for_stays_unread() -> None:
    assert passed({"version": ["1.2.3.4"]}, {"columns": {"version": "vouched"}})["version"] == ["1.2.3.4"]


def test_a_rule_of_a_table_comes_before_one_for_all() -> None:
    rules = {"columns": {"x": "remove"}, "tables": {"visits": {"x": "keep"}}}
    assert passed({"x": ["a"]}, rules)["x"] == ["a"]


def test_codes_link_within_a_column_and_to_nothing_else() -> None:
    rules = {"columns": {"visit_id": "code", "order_id": "code"}}
    got = passed({"visit_id": ["7", 7, "8"], "order_id": ["7", None, "8"]}, rules)
    assert got["visit_id"][0] == got["visit_id"][1] != got["visit_id"][2]
    assert not set(got["visit_id"]) & set(got["order_id"])
    assert got["order_id"][1] is None


def test_the_sources_own_name_of_a_column_counts_too() -> None:
    declared = {"x17": Declared(Numeric(0, 9)), "x18": Declared(Numeric(0, 9))}
    origins = {"visits": {"x17": "Telefonnummer", "x18": "GLU"}}
    made = Deidentifier(Rules(), KEY, {"visits": declared}, origins=origins)
    assert sorted(made.tables["visits"]) == ["x18"]
    assert "named like (D) telephone numbers in the source" in str(made.report())


def test_keys_still_tell_records_apart() -> None:
    declared = {"lab": Declared(Numeric()), "visit_no": Declared(Numeric(0, 99))}
    keys = {"visits": ["patient_id", "visit_id", "lab", "seen_date", "visit_no"]}
    made = Deidentifier(Rules(), KEY, {"visits": declared}, keys=keys, today=TODAY)
    columns: dict[str, Column] = {
        "patient_id": ["7", "7"],
        "visit_id": ["a", "b"],
        "lab": [12345678.0, 7.0],
        "seen_date": ["2019-03-31", "2019-04-01"],
        "visit_no": [1.0, 2.0],
    }
    got = made.apply(Batch("visits", columns, 2)).columns
    assert list(got) == list(columns)
    assert all(len(set(got[name])) == 2 for name in got if name != "patient_id")
    assert sorted(made.tables["visits"]) == ["visit_no"]
    assert all(str(value).startswith("c") for name in ("visit_id", "lab") for value in got[name])


@pytest.mark.parametrize(
    ("column", "rules"),
    [
        ("seen_date", {"dates": "year"}),
        ("visit_id", {"columns": {"visit_id": "remove"}}),
        ("x", {"columns": {"x": "age"}}),
    ],
)
def test_a_key_that_would_no_longer_tell_records_apart_is_refused(
    column: str, rules: Mapping[str, object]
) -> None:
    with pytest.raises(ConfigError, match=rf"visits\.{column}: as a key"):
        Deidentifier(Rules.model_validate(rules), KEY, {"visits": {}}, keys={"visits": [column]})


def test_long_whole_numbers_without_bounds_stop_the_column() -> None:
    unbounded, bounded = Declared(Numeric()), Declared(Numeric(0, 1e10))
    with pytest.raises(SchemaError, match=r"visits\.kv: whole numbers of seven digits") as caught:
        passed({"kv": [1.0, 5551234.0, None]}, declared={"kv": unbounded})
    assert "5551234" not in str(caught.value)
    assert passed({"kv": [5551234.0]}, declared={"kv": bounded})["kv"] == [5551234.0]
    assert passed({"kv": [5551234.0]}, {"columns": {"kv": "keep"}}, {"kv": unbounded})["kv"] == [5551234.0]
    assert passed({"kv": [1234567.5, -3.0]}, declared={"kv": unbounded})["kv"] == [1234567.5, -3.0]


def test_a_batch_of_refusals_alone_passes() -> None:
    refusal = Refusal("in/DOE.csv", "line 1", "", "DOE.csv: its first line is no header")
    made = Deidentifier(Rules(), KEY, {"visits": {}})
    through = made.apply(Batch("visits", {}, 0, (refusal,)))
    assert "DOE" not in repr(through)
    assert through.refusals[0].reason == f"{made.part_name('in/DOE.csv')}: its first line is no header"


def test_files_of_a_folder_and_refusals_hide_names_that_nobody_typed() -> None:
    refusal = Refusal("DOE_JANE.csv", "line 3", "bp", "bp is not a number")
    batch = Batch("visits", {"patient_id": ["7"]}, 1, (refusal,))
    part = Part("DOE_JANE.csv", "records", lambda: "0", lambda _done: iter([batch]))
    masked = next(
        iter(deidentified(Source({"visits": {}}, [part]), Deidentifier(Rules(), KEY, {"visits": {}})).parts)
    )
    (through,) = masked.batches(0)
    assert masked.name == through.refusals[0].file
    assert "DOE" not in masked.name
    assert masked.digest() != "0"
    assert through.refusals[0].position == "line 3"
    named = Deidentifier(Rules(), KEY, {"visits": {}}, named=["DOE_JANE.csv"])
    assert named.part_name("DOE_JANE.csv") == "DOE_JANE.csv"
    assert Deidentifier(Rules(file_names="keep"), KEY, {}).part_name("a.csv") == "a.csv"


def test_another_key_or_rule_is_another_import() -> None:
    digests = {
        Deidentifier(rules, key, {}).digest
        for rules in (Rules(), Rules(dates="year"))
        for key in (KEY, bytes(32))
    }
    assert len(digests) == 4


def test_the_report_names_columns_and_no_values() -> None:
    made = Deidentifier(Rules(), KEY, {"visits": {"sex": SEX}}, today=TODAY)
    made.apply(Batch("visits", {"patient_id": ["7"], "sex": ["f"], "name": ["Jane"], "phone": ["555"]}, 1))
    text = str(made.report())
    assert "visits.name: left out (named like (A) names" in text
    assert "visits.sex: kept (closed list of levels)" in text
    assert "Jane" not in text
    assert KEY.hex() not in f"{text}{made!r}{made.report()!r}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dates = 'month'", "dates"),
        ("max_shift_days = 0", "max_shift_days"),
        ("shift = 3", "shift"),
        ("[columns]\nname = 'hide'", "columns.name"),
        ("[columns]\npatient_id = 'keep'", "always becomes a pseudonym"),
        ("[columns]\nbp = {role = 'keep', format = '%Y'}", "format is for"),
        ("identifiers = ['(']", "not a regular expression"),
        ("identifiers = ['x*']", "fits the empty text"),
        ("dates = ", "not TOML"),
        ("\x00", "not TOML"),
    ],
)
def test_a_faulty_rules_file_is_named_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_rules(path)
    assert "rules.toml" in str(caught.value)


def test_a_rules_file_is_read_and_an_empty_one_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("")
    assert read_rules(path) == Rules()
    path.write_text('as_of = 2026-01-01\n[tables.visits]\nseen = { role = "date", format = "%d.%m.%Y" }\n')
    assert read_rules(path).as_of == datetime.date(2026, 1, 1)
    with pytest.raises(ConfigError, match="--deidentify"):
        read_rules(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ({"columns": {"sexx": "remove"}}, "columns"),
        ({"tables": {"visits": {"sexx": "remove"}}}, "tables.visits"),
    ],
)
def test_a_rule_for_a_column_that_is_not_there_is_refused(rules: dict[str, object], where: str) -> None:
    words = rf"rules: \[{where}\] names sexx, which table visits does not have; it has patient_id, sex"
    made = Deidentifier(Rules.model_validate(rules), KEY, {"visits": {"sex": SEX}}, today=TODAY)
    with pytest.raises(ConfigError, match=words):
        made.apply(Batch("visits", {"patient_id": ["1"], "sex": ["f"]}, 1))


def test_a_rule_of_another_table_is_no_fault() -> None:
    rules = Rules.model_validate({"tables": {"labs": {"seen": "date"}}})
    made = Deidentifier(rules, KEY, {"visits": {"sex": SEX}}, today=TODAY)
    assert made.apply(Batch("visits", {"patient_id": ["1"], "sex": ["f"]}, 1)).columns["sex"] == ["f"]


@pytest.mark.parametrize("name", ["seen", "x17"])
def test_days_since_1970_move_as_the_dates_that_they_are(name: str) -> None:
    """20484 is 2026-01-31; 20454 is its year's first day; -40000 lies more than 90 years back.

    Whole days move: a time of day, the fraction, stays.
    """
    declared = {name: Declared(Numeric(-60_000, 21_000), "days since 1970-01-01")}
    batch = Batch("visits", {"patient_id": ["1"] * 4, name: [20484.0, 20474.25, None, 0.5]}, 4)
    made = Deidentifier(Rules(), KEY, {"visits": declared}, today=TODAY)
    shift = shift_days(KEY, "1")
    assert made.apply(batch).columns[name] == [20484.0 + shift, 20474.25 + shift, None, 0.5 + shift]
    batch = Batch("visits", {"patient_id": ["1"] * 2, name: [20484.0, -40000.0]}, 2)
    years = Deidentifier(Rules(dates="year"), KEY, {"visits": declared}, today=TODAY)
    oldest = (datetime.date(TODAY.year - 90, 1, 1) - datetime.date(1970, 1, 1)).days
    assert years.apply(batch).columns[name] == [20454.0, float(oldest)]


OLDEST = {"months": 1080.0, "d ": 32872.5, "tage": 32872.5, "years": 90.0}
"""90 years in the unit that a declaration or a name tells."""


@pytest.mark.parametrize(
    ("column", "unit", "ages", "kept"),
    [
        ("age", "months", [18, 1068, 1069, 1200], [18, 1068, 1080, 1080]),
        ("age_months", None, [18.5, 1200.0], [18.5, 1080.0]),
        ("age", "d", [400, 40000], [400, 32872]),
        ("alter_tage", None, [400], [400]),
        ("age", "years", [34, 95, 999, -1], [34, 90, None, None]),
    ],
)
def test_an_age_is_capped_in_its_own_unit(column: str, unit: str | None, ages: Column, kept: Column) -> None:
    assert passed({column: ages}, declared={column: Declared(Numeric(), unit)})[column] == kept
    bounded = Declared(Numeric(0, 50_000), unit)
    declared = Deidentifier(Rules(), KEY, {"visits": {column: bounded}}, today=TODAY).tables["visits"][column]
    assert isinstance(declared.kind, Numeric)
    assert declared.kind.bounds is not None
    assert declared.kind.bounds[1] == next(age for name, age in OLDEST.items() if name in f"{unit} {column}")


def test_an_age_that_cannot_be_in_years_is_asked_about() -> None:
    with pytest.raises(SchemaError, match=r"visits\.age: ages above 150 in a column without a unit"):
        passed({"age": [18, 1200]}, declared={"age": Declared(Numeric())})
    with pytest.raises(ConfigError, match=r"visits\.age: ages up to 1500 are not in years"):
        passed({"age": [18]}, declared={"age": Declared(Numeric(0, 1500))})
    with pytest.raises(ConfigError, match=r"visits\.age: an age in 'kg'"):
        passed({"age": [18]}, declared={"age": Declared(Numeric(0, 100), "kg")})
    remedied = Declared(Numeric(0, 1500), "months")
    assert passed({"age": [18, 1200]}, declared={"age": remedied})["age"] == [18, 1080]


BANDS = ("18-29", "30 to 89", "> 89", "adult")


def test_age_bands_and_their_levels_stay_alike() -> None:
    declared = {"age": Declared(Categorical(BANDS))}
    assert passed({"age": [*BANDS, None]}, declared=declared)["age"] == [*BANDS, None]
    made = Deidentifier(Rules(), KEY, {"visits": declared}, today=TODAY).tables["visits"]["age"]
    assert made.kind == Categorical(BANDS)
    rules = {"columns": {"age": "age"}}
    older = {"age": Declared(Categorical(("80-89", "90-94", "95+")))}
    assert passed({"age": ["80-89", "90-94", "95+"]}, rules, older)["age"] == ["80-89", "90+", "90+"]
    tables = Deidentifier(Rules.model_validate(rules), KEY, {"visits": older}, today=TODAY).tables
    assert tables["visits"]["age"].kind == Categorical(("80-89", "90+"))


@pytest.mark.parametrize("text", ["> 89", ">89", "90+", "≥ 90", ">= 90", "over 89"])
def test_what_safe_harbor_writes_for_old_ages_is_read(text: str) -> None:
    assert passed({"age": [text, "34"]})["age"] == [text, "34"]
    assert passed({"age": [text, 34]}, declared={"age": AGE})["age"] == [90.0, 34]


@pytest.mark.parametrize("column", ["x17", "kv"])
def test_whole_numbers_that_no_two_patients_share_are_asked_about(column: str) -> None:
    patients = [str(number) for number in range(200)]
    unbounded = {column: Declared(Numeric())}
    visits: dict[str, Column] = {"patient_id": patients, column: list(range(4000, 4200))}
    with pytest.raises(SchemaError, match=rf"visits\.{column}: whole numbers of which none belongs to two"):
        passed(visits, declared=unbounded)
    with pytest.raises(SchemaError, match="none belongs to two"):
        passed({**visits, column: [float("nan"), None, *map(float, range(4000, 4198))]}, declared=unbounded)
    assert len(passed(visits, {"columns": {column: "keep"}}, unbounded)[column]) == 200
    assert len(passed(visits, declared={column: Declared(Numeric(0, 9999))})[column]) == 200
    shared: dict[str, Column] = {"patient_id": patients, column: [n % 150 for n in range(200)]}
    assert len(passed(shared, declared=unbounded)[column]) == 200
    halves: dict[str, Column] = {"patient_id": patients, column: [n + 0.5 for n in range(200)]}
    assert len(passed(halves, declared=unbounded)[column]) == 200
