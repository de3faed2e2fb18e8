"""Which remedies of the work rooms a test obeys, and what a missing package is told.

A remedy is found by the words of its text, with {} where a value is filled in; a piece is enough where no
other text has it. `tests/test_remedies_all_work.py` holds every error's text to this.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .remedy_rows import refusal

ROOMS = (
    "study", "columns", "questions", "field_faults", "handed_in", "explain", "local_token", "refusals",
    "models", "analyses", "privacy", "protection", "wire", "node", "coordinator", "engines", "researcher",
    "dashboard", "cli", "fetch_fhir",
)  # fmt: skip


@dataclass(frozen=True)
class Lacks:
    """A remedy that is an installation: a module without which a deed is refused, and done with it.

    Attributes:
        said: as in a row.
        module: the first that the deed imports.
    """

    said: str
    module: str
    deed: Callable[[], object]


def install(one: Lacks, patch: pytest.MonkeyPatch) -> None:
    """Do it without the module, and then with it."""
    with patch.context() as hidden:
        hidden.setitem(sys.modules, one.module, None)
        refusal(one.said, one.deed)
    one.deed()


def write(name: str, text: str) -> Path:
    """A file in the working folder."""
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


OBEYED: dict[str, tuple[str, ...]] = {
    "engines/test_opened_at_site.py::test_what_cannot_be_opened_at_a_site_is_refused_when_it_is_handed_in": (
        "opened_at: under [privacy] noise protects, and no rule of disclosure applies; leave it out",
        "opened_at: under {} no site opens a sum by itself; take protection = {}, or leave it out",
        "the coordinator needs each whole to ask for the next; ask a question of one sum, or leave it out",
    ),
    "engines/test_opened_at_site.py"
    "::test_a_hospital_refuses_studies_whose_exact_sums_the_coordinator_would_see": (
        'the coordinator would see the exact sum; let the study have opened_at = "site", or [privacy]',
    ),
    "node/test_airlock.py::test_private_studies_and_long_ones_are_refused_where_a_person_lets_answers_go": (
        "the person's no would tell of patients; let the study leave out [privacy], or say release = "
        '"auto" in site.toml',
        'let it ask for fewer rounds, or say release = "auto" in site.toml',
    ),
    "node/test_airlock.py::test_a_site_toml_that_contradicts_its_person_is_refused_in_words": (
        "and {} asks for such studies; leave one of them out",
    ),
    "node/test_airlock.py::test_a_time_for_nobody_is_refused_and_the_time_is_three_days_where_none_is_said": (
        'release_hours: it has an effect with release = "person" only; leave it out',
    ),
    "node/test_airlock.py"
    "::test_a_vector_that_was_changed_before_it_was_looked_at_goes_once_node_db_is_restored": (
        "the answer is not the one that was computed; node.db was changed: restore a backup",
    ),
    "node/test_airlock.py::test_a_decision_is_taken_once": (
        "this answer waits no longer; load the list again",
    ),
    "dashboard/test_held.py::test_an_answer_is_found_by_what_the_list_says": (
        "{} answers wait of studies that begin with {}; `fedcohort release` lists them",
    ),
    "node/test_readiness_events.py::test_one_population_is_one_account": (
        "budget: events and {} hold the same patients; name them in one group, not in {}",
    ),
    "node/test_readiness_events.py::test_events_are_in_one_place": (
        'events: layout = "omop" says where all events are; keep one of the two',
    ),
    "test_event_words.py::test_the_rows_of_a_patient_are_those_that_privacy_counts": (
        "privacy.rows_per_patient: a patient has up to {} rows by cohort.index; write rows_per_patient = {}",
    ),
    "cli/data/test_cli_fhir.py::test_what_cannot_be_imported_is_told_and_imported_once_it_is_right": (
        "{}: no event was imported, and none was there before: correct what was refused, and import again",
        "--time-zone {}: unknown; write such as Europe/Berlin, or UTC",
        "--source: write a short name of letters, digits and signs, such as lab-2",
    ),
    "cli/data/test_cli_fhir.py::test_a_file_that_cannot_be_deleted_is_once_its_folder_is_writable": (
        "{}: {}; make its folder writable",
    ),
    "disclosure/test_rules.py::test_rules_under_privacy_are_refused": (
        "disclosure: under [privacy] noise protects, and no rule of disclosure applies; leave it out",
    ),
    "disclosure/test_rules.py::test_a_simulation_takes_rules_and_nothing_else": (
        "disclosure: give fc.Disclosure(...), or leave it out",
    ),
    "node/test_snapshots.py::"
    "test_a_snapshot_is_the_nodes_own_file_and_one_that_is_damaged_is_deleted_as_it_is_told": (
        "{}: a damaged snapshot; delete it, and what would have been answered from it waits for a person of "
        "this hospital",
    ),
    "node/test_differencing.py::test_a_memory_that_is_damaged_is_restored_as_it_is_told": (
        "{}: {}; restore it from a backup of the folder state",
    ),
    "analyses/test_coefficients.py::test_what_is_refused_of_a_saved_score_is_done_as_told": (
        "{}: not JSON: {}; save the result again",
        "study {}: its model is not of Keras; take result.predict(frame)",
    ),
    "researcher/test_client.py::test_a_kind_that_nothing_here_knows_is_shown_by_the_types_of_its_figures": (
        "study {}: its results have no table; see result.report",
    ),
    "test_remedies_of_studies.py::test_a_study_is_mended_as_it_is_told": (
        "give both low and high, or neither",
        "low {} must be below high {}",
        "levels must be distinct",
        "algorithm fedsgd takes one gradient a round: leave out local_epochs and proximal_mu",
        "average_rounds: {} of {} rounds; give no more",
        "such as 1.5: the smaller, the less the results can say about any one patient; leave it out",
        "columns: name at least one column",
        "bounds.{}: low {} must be below high {}",
        "cohort.label: {} needs a label",
        "cohort.label: {} cannot use a survival label; describe can",
        "key_bits: {} has no key of a size to choose; leave it out",
        "analysis.augment: under privacy an image counts as it is; leave it out",
        "analysis.augment: the cohort has no image column; leave it out",
        "a survival time has none without a horizon, such as fc.Survival(time, event, horizon=1825)",
        "privacy.{}: {} learns nothing by steps; leave it out",
    ),
    "test_remedies_of_studies.py::test_a_setting_that_a_message_says_is_set_and_the_study_stands": (
        'privacy.noise: without a protection the coordinator would see a share alone; take noise = "site"',
        'take analysis.algorithm = "fedsgd", as fc.Train.private() does, or noise = "site"',
    ),
    "test_remedies_of_sites.py::test_an_import_succeeds_once_it_is_done_as_told": (
        "--refused {}: stands there and is no list of refusals; name a new file",
        "--refused {}: there is no folder {}; make it first",
        "--delimiter: one character, such as ';'",
        "{}: has no table {}; it has {}",
        "--decimal, --thousands: with a mapping file write them there, below the table or at a column",
    ),
    "test_remedies_of_sites.py::test_a_command_runs_once_it_is_typed_as_told": (
        "give either --site or --researcher",
        "nobody called {} has a token that could be revoked; check the name",
        "no site {}; known are {}",
        "site {} has never joined; invite it without --again",
        "role {}: give one of {}",
        "there is somebody called {} already; choose another name",
        "{} is disabled; enable the account first",
        "there is nobody called {}; `fedcohort people list` says who is",
    ),
    "test_remedies_of_sites.py::test_who_has_joined_is_removed_or_invited_again_by_the_commands_that_are"
    "_told": ("site {} has already joined; remove it first: `fedcohort coordinator remove --site {}`",),
    "test_remedies_of_sites.py::test_a_secret_is_given_once_and_in_a_file_that_can_be_read": (
        "{} and {}_FILE are both set; leave one of them out",
    ),
    "test_remedies_of_sites.py::test_a_page_is_served_to_others_once_people_and_a_certificate_are_given": (
        "HTTPS needs both a certificate and its key: give --certificate and --key",
        "host {} is not loopback: set FEDCOHORT_PEOPLE (--people) to the file of those who may log in",
        "give a certificate and a key, or listen on 127.0.0.1 behind a server that has them",
        "{}, {}: cannot be used for HTTPS ({}); give a certificate and its key in PEM",
    ),
    "test_remedies_of_sites.py::test_a_page_s_settings_are_given_as_told": (
        "FEDCOHORT_DASHBOARD_TOKEN is what programs show, and people log in: set FEDCOHORT_PEOPLE",
        "FEDCOHORT_OIDC (--oidc): set FEDCOHORT_PEOPLE (--people) for those who log in",
        "FEDCOHORT_DASHBOARD_TOKEN: too short to be safe; give {} characters or more",
        "FEDCOHORT_URL (--url): {} is not an address such as https://host",
        "{}: give scheme, host and port only; the token goes into FEDCOHORT_TOKEN",
    ),
    "test_remedies_of_sites.py::test_site_toml_is_read_once_it_is_written_as_told": (
        "give either coordinator (the node dials out) or [listen] (it waits to be dialled)",
        "name a file elsewhere, on another disk where there is one",
    ),
    "test_remedies_of_sites.py::test_what_site_toml_forbids_is_allowed_once_either_side_does_as_told": (
        "site.toml: max_rounds {} is less than the study needs; raise max_rounds in site.toml, or let the "
        "study take fewer rounds",
        "let it have privacy.cohort_test = 0.05 or more",
        "let the study have privacy.sites_per_patient = {}",
        "site.toml: {} is {}, and the study has {} = {}; let the study ask for as much or more",
        "site.toml: {} does not allow {}; add it to {} in site.toml, or {}",
        "let it have [privacy], or take privacy_required out of site.toml",
        "let the study take a smaller one, or raise max_delta in site.toml",
        "correct cohort.patient_id, or say patients.{} in site.toml",
    ),
    "test_remedies_of_sites.py::test_a_study_fits_its_budget_once_either_side_does_as_told": (
        "a study without [privacy] costs more than any budget; let it have [privacy]",
        "and the study asks for {} and {}; let the study ask for less, or raise the budget in site.toml",
        "site.toml: budget.{}.least_epsilon is {}, and the study asks for {}; let the study ask for as",
    ),
    "test_remedies_of_sites.py::test_a_study_s_file_is_given_as_told": ("{}: {}; give the study's file",),
    "test_remedies_of_sites.py::test_certificates_are_given_as_told": (
        "{}: cannot be read as a CA certificate; give it in PEM",
        "{}: {}; give the certificate and its key in PEM",
        "{}, {}: cannot be used as certificate and key; give both in PEM",
    ),
    "test_remedies_of_sites.py::test_an_address_is_written_as_told": (
        "{}: give an address such as wss://coordinator.example:8760",
        "{}: plain text is only allowed on this machine itself; use wss://",
        "{} is not an address such as https://coordinator.example:8760",
        "{}: plain text is only allowed on this machine itself; use https://",
    ),
    "test_remedies.py::test_a_proxy_that_cannot_be_used_is_told_alike_by_client_node_and_check": (
        "which is not spoken here; set {}=http://proxy:port, or NO_PROXY={} where none is needed",
        "the environment's proxy for {} is no address; set {}=http://proxy:port, or NO_PROXY={}",
    ),
    "test_remedies_of_nodes.py::test_a_roster_is_kept_as_its_command_tells": (
        "--fingerprint: say by --confirm whose it is",
        "no site {} has been announced; those that have: {}",
        "--fingerprint: give what the other site's operator has read to you",
        "give all that the other site's operator reads to you",
        "remove it, and confirm the site again: `fedcohort roster --confirm {}`",
    ),
    "test_remedies_of_nodes.py::test_a_key_that_somebody_else_announced_is_confirmed_once_the_coordinator_has"
    "_the_right_one": ("do not go on, and ask the coordinator's operator why",),
    "test_remedies_of_nodes.py::test_a_command_that_needs_the_node_s_database_runs_after_the_node_has_run"
    "_once": ("{}: no such database; {}",),
    "test_remedies_of_nodes.py::test_a_study_is_answered_once_it_is_approved_as_the_log_says": (
        "nobody has approved study {}; see `fedcohort approve`",
        "the approval has expired; approve the study again",
    ),
    "test_remedies_of_pages.py::test_a_study_is_handed_in_once_token_and_body_are_as_told": (
        "a token is needed, on this machine too: give yours by --token, FEDCOHORT_TOKEN or",
        "the token is unknown or revoked; ask the coordinator's operator for a new one",
        "no study {}; give its hash, or the first six characters or more",
        "the request must be a JSON object",
        "send study, public_key and signature (hex)",
        "the study's signature does not fit its key; sign the canonical study",
        "cohort.columns: name each column's kind; fed.run does so from the sites' catalogues",
    ),
    "test_remedies_of_pages.py::test_a_study_that_is_being_checked_is_cancelled_once_it_is_proposed": (
        "this study is still being checked; cancel it once it is proposed",
    ),
    "test_remedies_of_pages.py::test_somebody_gets_in_once_a_group_of_theirs_has_a_role": (
        "no group of this person has a role here; see [roles] in the provider's file",
    ),
    "test_remedies_of_models.py::test_a_training_succeeds_once_it_is_asked_as_told": (
        "algorithm: fedsgd cannot train layers that keep moving statistics; use fedavg",
        "no site has a row to train on; check 'where', 'split' and the label",
        "widen the bounds, exclude such rows by 'where', or clean the data",
        "{}: {}; the log says more",
        "{}; the log says more",
    ),
    "test_remedies_of_models.py::test_a_result_is_read_once_it_is_saved_again_where_it_can_be": (
        "{}: report.json or metrics.csv is damaged ({}); save the result again",
        "{}: report.json or metrics.csv is empty; save the result again",
    ),
    "test_remedies_of_models.py::test_a_patient_is_predicted_once_the_values_are_written_as_told": (
        "give either --value COLUMN=VALUE, once a column, or --site site.toml",
        "--value {}: write COLUMN=VALUE",
        "{}: not a number; write digits with a point, such as 5.4",
        "{}: outside {} to {}; check the value and its unit",
        "{}: no column of this model; it has {}",
    ),
    "test_remedies_of_models.py::test_a_program_asks_a_page_for_a_prediction_as_it_is_told": (
        "{}: give a number, a text or null",
    ),
    "dashboard/test_predicting.py::test_a_picture_comes_as_a_png_file": ("{}: give a PNG file in base64",),
    "models/test_memory.py::test_a_kernel_as_large_as_the_picture_is_refused_before_it_asks_for_memory": (
        "take smaller convolution kernels, or reduce the picture first",
    ),
    "models/test_invariance.py::test_a_compiled_model_that_fails_is_refused_and_what_is_printed_helps": (
        "start this process with {}, and without a GPU (CUDA_VISIBLE_DEVICES=-1)",
    ),
    "models/test_sequences.py::test_an_input_that_does_not_fit_its_column_is_refused_with_a_remedy_that"
    "_helps": ("the column has {} features: give {}",),
    "models/test_start.py::test_a_compiled_model_is_refused_by_name_and_the_remedy_helps": (
        "leave out model.compile(...), or load it by keras.models.load_model(path, compile=False)",
    ),
    "models/test_start.py::test_more_weights_than_a_study_carries_are_refused_with_a_remedy_that_helps": (
        "to begin with fresh ones give its configuration, model=json.loads(model.to_json())",
    ),
    "models/test_start_tensorflow.py::test_privacy_is_refused_where_a_notebook_started_tensorflow_until_it"
    "_obeys_what_is_printed": ("or keras run: import os; os.environ.update({})",),
    "node/test_budgets.py::test_exact_answers_before_a_budget_count_as_infinite_until_the_operator_says"
    "_otherwise": ("`fedcohort ledger --settle STUDY --because WORDS` says it",),
    "node/test_policy.py::test_one_site_s_vector_is_not_opened_under_a_protection": (
        'take min_sites = 2 or more, or say protection = "none"',
    ),
    "node/test_heads.py::test_writing_off_leaves_no_budget_and_no_approval_and_lets_the_node_start": (
        "or give up what this one cannot know: `fedcohort ledger --write-off`",
    ),
    "processes/test_consent.py::test_a_cancelled_study_is_refused_again_in_words_until_it_is_to_go_on": (
        "with resume=True (`fedcohort run --resume`), to begin anew give it another name",
    ),
    "processes/test_consent.py::test_a_running_nodes_trust_is_not_forgotten_under_it": (
        "stop it, forget, and start it with a new token to join",
        "{} knows no coordinator's key; start the node with its token to join",
    ),
    "processes/test_members.py::test_a_wrong_join_token_is_refused_and_the_right_one_still_admits": (
        "{} has not joined yet, and no join token was given; give the one that",
    ),
    "cli/data/test_cli_dicom.py::test_copies_without_the_patient_are_written_under_new_names": (
        "--dates: shift or remove",
    ),
    "cli/data/test_cli_dicom.py::test_what_a_pacs_sends_stands_in_the_database_and_no_longer_in_the_inbox": (
        "--into: a database needs --inbox FOLDER, where images wait for their import",
        "--options, --deidentify and --key are for a database: give --inbox FOLDER",
    ),
    "cli/data/test_cli_hl7.py::test_an_import_of_which_nothing_is_stored_fails": (
        "{}: no event was imported, and none was there before: correct what was refused, and import again",
    ),
    "cli/data/test_cli_hl7.py::test_off_this_machine_it_wants_certificates_or_a_plain_word_and_addresses": (
        "has no [hl7]",
        "or plain = true and the engines' addresses in allow",
    ),
    "analyses/cox/test_cox.py::test_wrong_words_are_refused_with_what_to_write": (
        "analysis.formula: the label is what is explained; write the right-hand side alone",
        "formula: name what the hazard depends on, such as age + C(sex), without - 1",
        "grid: patients of different hospitals are compared on a grid of times; write one",
        "analysis.grid: sums by time of {} columns are too many; write a coarser grid",
        "analysis.strata: {} is in the formula, too; leave it out of one",
        "analysis.strata: levels and times make too many cells; name fewer",
        "strata: a column is named twice; name each once",
    ),
    "analyses/cox/test_cox.py::test_privacy_needs_pieces_of_a_time_with_a_horizon": (
        "analysis.pieces: a risk set mixes patients, so that privacy needs a hazard in pieces: write",
    ),
    "analyses/cox/test_piecewise.py::test_wrong_pieces_are_refused_with_what_to_write": (
        "pieces: they are one baseline of all hospitals, on their own times: write strata",
        "pieces: write their ends in order, each once",
        "analysis.pieces: a number of pieces needs fc.Survival(time, event, horizon=…)",
        "analysis.pieces: one ends beyond the label's horizon; write ends before it",
    ),
    "analyses/cox/test_piecewise.py::test_a_piece_without_events_is_told": (
        "pieces: nobody has the event between {} and {}; write fewer, or other ends",
    ),
    "analyses/cox/test_cox.py::test_a_cohort_without_events_is_told": (
        "cohort: no patient of whom all columns are known has the event; widen `where`",
    ),
    "analyses/cox/test_cox.py::test_a_column_of_one_value_or_of_one_value_a_hospital_is_named": (
        "formula: {} have the same value for every patient; leave them out",
        "formula: {} have one value among the patients who are compared",
    ),
    "analyses/cox/test_cox.py::test_columns_that_follow_from_one_another_are_named": (
        "formula: {} follow from one another, so that their coefficients cannot be told apart",
    ),
    "analyses/cox/test_cox.py::test_a_coefficient_without_end_is_told_with_its_column": (
        "formula: the coefficients of {} grow without end",
    ),
    "analyses/cox/test_newton.py::test_a_likelihood_without_a_maximum_ends_in_words": (
        "formula: no maximum of the likelihood in {} rounds, of {}; leave out columns that hardly vary",
    ),
    "analyses/weighting/test_weighting.py::test_a_column_that_tells_who_is_treated_is_named_and_no_penalty_is"
    "_offered": (
        "is the same for every patient; leave it out",
        "nobody is like them with the other treatment; merge levels, leave the column out, or narrow `where`",
    ),
}
"""By test, below tests/, the remedies that it obeys beside the tables."""

ELSEWHERE: dict[str, str] = {
    "export manifest: lists no output; ask the server's operator": "a FHIR server's fault",
    "export manifest: {} is no list; ask the server's operator": "a FHIR server's fault",
    "export manifest: {}: more than is read, or no file; ask its operator": "a FHIR server's fault",
    "export: the server takes longer than a week; ask its operator": "a FHIR server's fault",
    "{}: the server's pages lead in a circle; ask its operator": "a FHIR server's fault",
    "{}: more than {} redirects; ask the server's operator": "a FHIR server's fault",
    "{}: the server refers to what is no address; ask its operator": "a FHIR server's fault",
    "{}: the server refers to another server; ask its operator": "a FHIR server's fault",
    "{}: the server refers to this machine; ask its operator": "a FHIR server's fault",
    "the server packs its answer in a way that was not asked for; ask its operator": "a FHIR server's fault",
    "{}: the server's answer is no JSON object; ask its operator": "a FHIR server's fault",
    "the server's answer holds no bearer token; ask its operator": "a FHIR server's fault",
    "{}: takes longer than {} s; ask for less by --count": "a server that takes ten minutes",
    "{}: {}; check the folder's free space": "a disk would have to be full",
    "{} has handed in {} studies within 24 hours": "a day goes by; tests of the coordinator's store bound it",
    "this study has had {} keys, and no more are taken; give it another name":
        "another name is another study, which begins with no key",
    "{}: {}; make the folder state writable":
        "a folder that its owner cannot write to; tests may run as root, who can",
    "give --data breast-cancer, or --data heart-disease with --from FOLDER":
        "tests/quickstart/test_demo.py starts the demo on its default data, too long for a row",
    "{}: not the Keras model that the study trained; save the result again":
        "to save again is obeyed for a damaged file; here somebody has changed model.json",
    "submit the study under a new name": "needs an earlier version; the rest is a submission as any other",
    "of a later version of fedcohort, and this one computes by rules {}; upgrade it": "needs a later version",
    "a release of kind {} cannot be accounted; update this node": "needs a later version",
    "{} speaks protocol {} to {}, this program {} to {}; {}": "needs a program of another protocol",
    "compare fingerprints again (`fedcohort roster`), and ask {} whether its agreement.key is new":
        "a talk between two operators; the command is obeyed for the roster's own errors",
    "ask the coordinator's operator who hands them in": "a talk between two operators",
    "{}: the environment's proxy is no address; set HTTPS_PROXY=http://proxy:port":
        "the words of wire/proxy.py come first, which are obeyed; this is for what websockets alone refuses",
}  # fmt: skip
"""Remedies that no test here can obey, and why."""

FACTS: dict[str, str] = {
    "{}: {}: no answer after {} attempts; {}": "why a FHIR server did not answer, which says what to do",
    "{}: no answer; {}": "why a server of tokens did not answer, which says what to do",
    "the answer is not the one that a person has let go; node.db was changed": "nothing can be done",
    "steps before this site's count of patients; it comes first": "a peer's fault",
    "it takes several sites to open this sum; a total has no business here": "a peer's fault",
    "round {} was asked before, of another state; a round has one answer": "a peer's fault",
    "another roster than in the rounds before; a study's sites stay the same": "a peer's fault",
    "a survivor too few of whose holders have survived; its secrets stay closed": "a peer's fault",
    "{} survivors; this round is opened for {} or more": "a peer's fault",
    "a sealed vector of {} bytes; {} are needed": "a peer's fault",
    "{}: help of {} bytes where {} are needed": "a peer's fault",
    "a vector of {} bytes where {} are needed": "a peer's fault",
    "{}.{}: {} bytes where {} are needed": "a peer's fault",
    "a message of {} bytes; the limit is {}": "a peer's fault",
    "a task with {} arrays; the limit is {}": "a peer's fault",
    "{}: its event log holds all that others have seen; nothing is lost": "nothing has to be done",
    "this protection needs no opening": "a peer's fault",
    "private steps need the node's sampler": "a guard of the code's own",
    "a live node needs its store on disk": "a guard of the code's own",
    "a state without the numbers that this round needs": "a peer's fault",
    "analysis.formula: one arm has nobody; check its levels": "a guard behind a check of the first sum",
    "cohort.label: cox needs fc.Survival(time, event)": "the question's words, and a guard behind them",
    "cohort.label: survival needs fc.Survival(time, event)": "a guard behind the question's words",
    "cohort.label: privacy needs declared bounds": "a guard behind study.py, whose words are obeyed",
    "cohort.bounds: privacy needs declared bounds": "a guard behind study.py, whose words are obeyed",
    "the study needs {} sites and the federation has {}, of which refused: {}": "the sites' codes say why",
    "{} of the {} sites that the study needs are left{}": "the sites' codes say why",
}
"""What sounds like a remedy and is none."""
