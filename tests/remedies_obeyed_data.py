"""Which remedies of the data rooms are obeyed beside their errors, and the accounts that obeying takes.

A remedy is found by the words of its text, with {} where a value is filled in; a piece is enough where no
other text has it. `tests/test_remedies_all_data.py` holds every text of these rooms to this.
"""

import codecs
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65533


@contextlib.contextmanager
def open_folder() -> Iterator[None]:
    """A working folder which every account reaches, as none of pytest's is."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with contextlib.chdir(folder):
            yield


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """An account that is not root, for which modes count; what it imports must have been imported before."""
    is_root = os.geteuid() == 0
    for encoding in ("ascii", "latin-1", "utf-8", "utf-16", "idna"):
        codecs.lookup(encoding)  # Python remembers for good where it found none
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


ROOMS = (
    "quickstart/", "sources/catalogue/", "sources/cohort/", "sources/datasets/", "sources/deidentify/",
    "sources/dicom/", "sources/fhir/", "sources/events/", "sources/importer/", "storage/",
)  # fmt: skip
VERBS = (
    "ask|cast|change|check|choose|close|coarsen|compare|convert|copy|correct|declare|delete|drop|enable|fetch|free|get|"
    "give|grant|import|install|keep|leave|let|lower|make|mask|merge|move|name|narrow|pip|raise|reduce|remove|rename|"
    "replace|restore|run|save|say|see|send|set|split|start|stop|take|try|undo|unpack|update|use|vouch|wait|widen|write"
)
REMEDY = re.compile(
    rf"(?:^|[;:,(]|\bor|\band|\belse|\bthen|\bonly|\bmust|\bfile|\bothers) ?(?:say "
    rf")?(?:{VERBS})\b"
)
"""Something to do, as our messages tell it: at the beginning, or after what is wrong."""

OBEYED: dict[str, dict[str, tuple[str, ...]]] = {
    "sources/cohort/events/test_cohort.py": {
        "test_what_a_site_does_not_offer_is_refused_before_anything_is_read": (
            "events: this site does not offer {}; add it to tables.events in its site.toml, or leave it",
        ),
        "test_lists_and_indexes_that_are_of_omop_alone_are_refused_with_what_to_add": (
            "index.cohort_definition: generated cohorts are an OMOP site's",
        ),
    },
    "processes/test_events.py": {
        "test_a_kind_that_a_site_does_not_offer_is_told_before_the_study_is_sent": (
            "site {}: does not offer events of {}; leave them out, or ask the site",
        ),
    },
    "test_event_words.py": {
        "test_a_simulation_reads_rows_and_no_events": (
            "cohort.index: a data frame has a row a patient, and no events",
        ),
    },
    "test_remedies.py": {
        "test_a_reading_account_s_predictions_go_into_another_database": (
            "name another database by --into, such as --into predictions.db, or an account that may",
        ),
        "test_postgresql_down_and_a_wrong_password_are_two_messages": (
            "cannot be reached; check host, port and network",
            "refused the account; check user, password and pg_hba.conf",
            "does not exist on the server; check the name",
        ),
    },
    "test_remedies_of_studies.py": {
        "test_a_cohort_is_mended_as_the_sites_catalogues_demand": (
            "column {}: {} at site {}, {} at site {}; say in the study which it is",
            "leave unit out, and give bounds in the sites' own",
            "let one of them convert it: unit and local_unit in its mapping file",
            "site {}: does not offer table {}; choose another table, or ask the site",
            "site {}: does not offer column {}; leave it out, or ask the site",
            "column {}: text without declared levels; give fc.Categorical([...])",
            "site {}: column {} holds words, not numbers; give fc.Categorical",
            "import them with one declared size at every site",
            "a study may only narrow them",
            "label {}: a text without declared levels; give fc.Binary or fc.Classes in the study",
        ),
        "test_what_counts_as_yes_is_said_as_the_message_writes_it": (
            "and so counts as yes; give fc.Binary({}, positive={}) or positive={}",
        ),
        "test_frames_are_given_as_it_is_told": (
            "simulate: give at least one frame, such as {'hospital_a': frame}",
            "take another one for each, of at most {} characters in one line",
            "simulate: {}: {} is no pandas data frame; give one",
            "{}: two columns are called {}; rename one",
            "give {'hospital_a': frame_a, 'hospital_b': frame_b}, or a list of frames",
        ),
        "test_a_comparison_of_two_kinds_is_mended_as_it_is_told": (
            "write texts in single quotes and numbers without, as the column holds them",
        ),
        "test_a_where_is_written_as_its_message_says": (
            "where: {} is not one boolean expression; write such as age >= 18 AND sex = 1",
            "where: {} is not true or false; write such as {} = 1",
            "write such as 18 <= age AND age <= 65, or age BETWEEN 18 AND 65",
        ),
        "test_a_where_is_mended_as_it_is_told": (
            "where: write one boolean expression, or leave where out",
            "the pattern ends with its escape character; write it twice, or something after it",
            "is not a column that every site offers in {}; write a text in single quotes",
        ),
        "test_a_private_where_compares_as_it_is_told": (
            "compare columns as they are, or let the hospital offer a column with the result",
        ),
    },
    "test_remedies_of_sites.py": {
        "test_an_import_succeeds_once_it_is_done_as_told": (
            "{}: there is no folder {}; correct --key, or make the folder first",
            "{}: {}; give the rules' file by --deidentify",
            "its first line must name each column once{}",
            'has no column {}; say in a mapping file which one names the patient: patient_id = "…" and '
            "others = true below its table, or, where each record is a patient of its own, --number-patients",
            "--encoding {}: unknown; write such as utf-8, cp1252 or utf-16",
            "{}: {}; give the mapping file by --mapping",
            "such names are the database's own; choose another",
            "{}: not a file in an existing folder; check the path",
        ),
        "test_an_import_under_another_mapping_is_taken_back_by_the_command_that_is_told": (
            "take that import back (`fedcohort data undo --into DATABASE` lists them)",
        ),
        "test_a_file_of_another_format_is_imported_by_the_command_that_is_told": (
            "is a SQLite database: import its tables by `fedcohort data import sql",
        ),
        "test_a_database_that_is_not_there_is_made_by_an_import_and_help_says_how": (
            "check the path, or make it by an import: `fedcohort data import --help`",
        ),
        "test_a_command_runs_once_it_is_typed_as_told": (
            "{}: the database has no such table; correct --table",
            "{}: has no column {}; correct --quasi or --sensitive",
        ),
        "test_a_key_that_others_can_read_is_closed_by_the_command_that_is_told": (
            "{}: others can read this key; run chmod 600 on it, or make a new one",
        ),
    },
    "cli/data/test_cli_import.py": {
        "test_a_column_of_which_nothing_can_be_read_stops_the_import_and_the_remedy_reads_it": (
            "dates, which may be written in another form: in the rules file ({}) say how",
        ),
        "test_levels_of_which_a_rule_leaves_none_are_named_with_the_rule": (
            "{}: fewer than two of its levels would be left ({}); say remove, or keep",
        ),
        "test_a_decimal_comma_is_hinted_at_and_read_where_the_mapping_says_so": (
            'write {} = "{}" below the table in the mapping file',
        ),
        "test_a_table_without_patients_is_numbered_where_it_is_said": (
            "{}: has no column {}; say in a mapping file which one names the patient",
        ),
    },
    "sources/datasets/test_fetch.py": {
        "test_other_bytes_are_refused_and_not_kept": (
            "{}: the bytes are not those of the public original (SHA-256 differs); try again later",
        ),
        "test_a_folder_that_cannot_be_made_is_named": (
            "{}: {}; check the folder's permissions and free space",
        ),
        "test_a_different_file_of_that_name_is_left_alone": (
            "{}: is not the public original; move it away and fetch again",
        ),
        "test_a_broken_download_goes_on_with_the_next_file": ("{}: the server answered {}; try again later",),
        "test_offline_is_said_with_the_remedy": (
            "{}: no download ({}); check network and proxy (HTTPS_PROXY), or copy the files by hand",
        ),
    },
    "sources/datasets/test_public.py": {
        "test_missing_and_strange_files_are_named": (
            "heart-disease: no centre {}; choose {}",
            "processed.{}.data: holds no usable row; fetch the original files again",
            "{}: {}; give the folder of the UCI files, or run `fedcohort data fetch heart-disease`",
            "{}: is not text; fetch the original files again",
        ),
        "test_a_broken_split_is_named_by_line": (
            "{}: line 1 must be centre,line,set; correct it, or remove the file",
        ),
        "test_without_scikit_learn_the_remedy_is_named": (
            "breast-cancer: no hospital {}; choose {}",
            "breast-cancer ships inside scikit-learn; pip install",
        ),
    },
    "sources/datasets/test_mimic_iv.py": {
        "test_an_admission_that_cannot_be_is_refused_and_the_others_are_kept": (
            "{}: has no {}.csv; give the folder that has hosp and icu",
            "{}: no record of {} came in; get the whole tables",
        ),
    },
    "sources/datasets/test_mock.py": {
        "test_what_cannot_be_made_is_refused": (
            "where: made-up patients hardly ever satisfy it; widen it, or give the columns the range",
        ),
        "test_a_file_that_is_there_is_never_written": ("{}: is there already; name a new file",),
    },
    "sources/importer/test_csv_open.py": {
        "test_an_archive_says_what_it_is_and_the_remedy_imports_it": (
            "{}: {} is no CSV or Parquet file: unpack it, or save it as CSV",
            "is a ZIP archive: unpack it, and import the files in it",
            "is packed by gzip under another name: let its name end in .csv.gz, and import it again",
        ),
    },
    "sources/cohort/test_image_columns.py": {
        "test_rows_without_an_image_can_be_left_out_by_where": (
            "has no image; leave such rows out by `where`, as in: scan IS NOT NULL",
        ),
    },
    "sources/importer/test_deidentification.py": {
        "test_a_permission_says_why_and_by_whom": ("identifiers are kept: say why, and who allows it",),
    },
    "sources/importer/test_derive.py": {
        "test_a_select_that_was_refused_is_derived_once_it_is_written_as_told": (
            "{}: the SELECT gives {}, and declared are {}: name each column once in both",
            "{}: nested more than {} deep; write it flatter, such as by WITH",
            "{}: select: give {} as a table has it, such as SELECT a.{}, ...",
            "{}: write one SELECT",
            "{}: is not SQL of {}: {}; correct it",
            "{}: select: {}; name columns as the tables have them",
        ),
        "test_a_select_that_takes_too_long_or_gives_too_much_is_ended": (
            "{}: more than {} rows; give one a patient or visit, by GROUP BY",
        ),
        "test_nothing_else_is_replaced_and_nothing_is_imported_into_it": (
            "{}: table {} stands there and was not derived; choose another name",
            "table {}: is derived from others; import into another table",
        ),
        "test_a_file_that_cannot_be_is_refused_by_name": (
            "columns.{}: every derived table has it; leave it out",
            "{}: {}; give the file of derived tables",
        ),
    },
    "sources/importer/test_long_tables.py": {
        "test_a_view_on_a_table_that_would_go_is_named_on_postgresql": (
            "has a view on the table; drop the view first, and make it again afterwards",
        ),
    },
    "sources/events/test_remedies.py": {
        "test_events_that_stand_elsewhere_are_found_once_site_toml_is_corrected": (
            "{}: this database has no such event table; import HL7 v2 or FHIR",
            "events.{}: table {} is not in this database; correct site.toml",
            "events.{}: table {} has no column {}; correct site.toml",
            "are in patient_id; leave events.{}.patient_id out",
            "events.{}: column {}.{} is {}, which is not read; cast it",
            "than by their letters; make a view in which they are texts",
            "is no event table of fedcohort ({}); name the table of these events",
        ),
        "test_a_mapping_that_contradicts_itself_is_right_once_one_word_is_left": (
            "events.{}: no such kind; choose one of {}",
            "events.{}.columns: name the column of its {}",
            "events.{}.system: the code system is a constant or a column",
        ),
        "test_what_a_source_corrects_is_stored": (
            "there is no such kind of event; choose one of {}",
            "{}; the record is left out: correct it in the source",
            "{}; it is left out: correct it in the source",
        ),
        "test_rules_that_are_not_of_events_are_replaced": (
            'leaves no order of events; write dates = "shift"',
            "and no rule changes it; give events a rules file without it",
        ),
        "test_another_table_of_the_name_wants_a_new_database": (
            "is no event table of fedcohort: import events into a new database",
        ),
        "test_damaged_times_of_groups_come_back_with_the_database": (
            "event groups were written under another key, or are damaged; restore the database",
        ),
    },
    "storage/test_inbox_folder.py": {
        "test_beyond_its_limit_nothing_is_taken_until_it_is_imported": (
            "{}: the inbox is full; let it be imported, or empty {}",
        ),
    },
    "sources/importer/test_number_text.py": {
        "test_numbers_of_two_meanings_are_asked_about_and_every_answer_gives_its_value": ("say --{} {}",),
        "test_the_remedy_for_a_late_code_keeps_every_zero": (
            "declare the column in a mapping file, as a number or with text = true",
        ),
    },
    "sources/importer/test_owned_keys.py": {
        "test_the_remedy_brings_everybody_in": (
            "key of another patient's record: write key = {} in the mapping, and import into a new database",
        ),
    },
    "sources/importer/test_sql_types.py": {
        "test_what_the_note_says_to_do_works": (
            "cast it to a number or a text in a view, and name that view",
        ),
        "test_a_table_without_patients_is_numbered_as_the_refusal_says": (
            "where each row is a patient of its own, number them in a view: ",
        ),
    },
    "sources/deidentify/test_survival_time.py": {
        "test_what_may_be_dates_is_asked_about_and_the_remedy_works": (
            "numbers that may be dates in a column called like a time",
        ),
    },
    "sources/importer/test_undo.py": {
        "test_what_replaced_others_cannot_be_taken_back_and_says_what_helps": (
            "which cannot come back: import what is right under the same keys, or into a new database",
            "came later and put records in the place of some: import what is right under the same keys",
        ),
        "test_records_behind_which_another_import_went_on_are_taken_back_after_it": (
            "{}: import {} went on behind these records; undo {} first",
        ),
    },
}
"""By file, the tests that obey remedies elsewhere than in the tables of the data rooms."""

UNOBEYED = {
    "units: a study of observations needs ucumvert": "a package would be installed",
    "{}: use an https address": "needs a server whose certificate the system trusts",
    "images need Pillow, which is not installed here: pip install": "a package would be installed",
    "local_unit: units need pint: pip install": "a package would be installed",
    "whose decoder is not installed: pip install": "a package would be installed",
    "Parquet needs pyarrow: pip install": "a package would be installed",
    "pip install -c constraints.txt '.[duckdb]' in fedcohort's folder": "a package would be installed",
    "pip install {}": "a package would be installed",
    "FHIR needs orjson; pip install": "a package would be installed",
    "which needs ijson; pip install": "a package would be installed",
    "{}: needs the Python package {}; pip install": "a package would be installed",
    "start the demo again on a quieter machine": "this machine is too quick to make the fault",
    "was imported by a later version of fedcohort; install that version here": "there is no later version",
    "another import of the same file is running; wait until it has ended": "two imports would have to meet "
    "in a moment",
    "{}: the copy is damaged; check both disks": "a disk would have to break",
    "{}: the disk is nearly full; make room": "a disk would have to be nearly full",
    "could not be read or written; check the disk": "a disk would have to break",
    "cannot be opened; check that this user may read it": "SQLite says so on file systems that refuse locks",
    "{}: {}; close it to others: chmod go= {}": "a file system would have to refuse chmod",
}
"""Why a remedy is obeyed by no test."""

NO_REMEDY = ("name firstname", "de-identified: {}", "comparisons, AND, OR", "SELECT ", "{} where ")
"""How texts begin that only look like remedies: of names, of SQL, and answers of which another text asks."""
