"""A hospital's policy: `site.toml`, validated once, and checked against every study."""

import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, PlainValidator, model_validator

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.kinds import KINDS
from fedcohort.columns import Frozen, Identifier, Unit, validated
from fedcohort.disclosure.rules import Disclosure
from fedcohort.errors import (
    BudgetError,
    ConfigError,
    PolicyError,
    PrivacyRequiredError,
    SchemaError,
    StudyError,
)
from fedcohort.event_words import EVENTS, Code, System
from fedcohort.event_words import KINDS as ALL_KINDS
from fedcohort.event_words import Kind as EventKind
from fedcohort.field_faults import one_of
from fedcohort.node.budgets import Budget, BudgetGroup, fault_of, groups_of
from fedcohort.node.records import Reservation, Spending
from fedcohort.protection.words import WORDS
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.cohort.events.cohort import check_offered
from fedcohort.sources.cohort.events.tables import TABLES as EVENT_TABLES
from fedcohort.sources.cohort.where.parse import check_plain
from fedcohort.sources.events.views import EventTable, fault_of_event_tables
from fedcohort.sources.hl7v2.settings import Hl7Settings
from fedcohort.sources.omop.views import PLACES
from fedcohort.study import Cohort, Privacy, ProtectionName, Study, missing_bounds
from fedcohort.texts import Text, say
from fedcohort.wire.messages import MOST_RELEASE_SECONDS, SITE_NAME

SiteName = Annotated[str, Field(pattern=f"^{SITE_NAME.pattern}$")]
Whole = Annotated[int, Field(strict=True, ge=1)]
AnalysisName = Annotated[str, PlainValidator(partial(one_of, KINDS))]
"""One of `analyses.kinds`."""
SECONDS_PER_DAY = 86_400
DEFAULT_RELEASE_HOURS = 72.0
MOST_RELEASES = 10
"""Rounds of a study whose every answer a person looks at."""
ModelName = Literal["logistic", "mlp_medical", "cnn_medical", "image_and_record", "coefficients", "own"]


class ListenSettings(Frozen):
    """Where a node listens for the coordinator, instead of dialling out."""

    host: str = "localhost"
    port: Annotated[int, Field(strict=True, ge=0, le=65535)]
    certificate: Path | None = None
    key: Path | None = None


class LocalMeaning(Frozen):
    """`[codes.KIND."CODE"]`: what a hospital's own code means.

    Attributes:
        to: code system and code that studies know, such as loinc = "2345-7".
        system: that the data name beside the code; left out, whatever they name.
        unit: what its values are in, whatever the data say.
    """

    to: Annotated[dict[System, Code], Field(max_length=10)] = Field(default_factory=dict)
    system: System | None = None
    unit: Unit | None = None


class SitePolicy(Frozen):
    """One site's configuration: where its data are, and what may be asked of them."""

    id: SiteName
    data: Annotated[str, Field(min_length=1)]
    tables: dict[Identifier, Literal["*"] | tuple[Identifier, ...]] = Field(min_length=1)
    """Columns on offer by table; "*" is every column that an import declared."""
    layout: Literal["events", "omop"] = "events"
    """Where events are read: in event tables, or in those of OMOP's common data model."""
    events: dict[str, EventTable] = Field(default_factory=dict)
    """By kind, another table that holds these events."""
    codes: dict[EventKind, dict[Code, LocalMeaning]] = Field(default_factory=dict)
    """By kind of event, what the hospital's own codes mean."""
    patients: dict[Identifier, Identifier] = Field(default_factory=dict)
    """By table, the column that tells patients apart where it is not patient_id: no study chooses it."""
    coordinator: str | None = None
    listen: ListenSettings | None = None
    hl7: Hl7Settings | None = None
    """Where `fedcohort node hl7` receives messages of an interface engine, into `data`."""
    ca_file: Path | None = None
    state: Path = Path("state")
    counter: Path | None = None
    """A file outside `state` that tells an older copy of the ledger where too few sites can countersign."""
    analyses: tuple[AnalysisName, ...] = tuple(KINDS)
    roster: Path = Path("roster")
    """Folder of the other sites' confirmed keys, which `fedcohort roster` writes."""
    protections: tuple[ProtectionName, ...] = tuple(name for name, words in WORDS.items() if words.hides)
    models: tuple[ModelName, ...] = get_args(ModelName)
    private_models: tuple[ModelName, ...] = tuple(name for name in get_args(ModelName) if name != "own")
    """Of `models`, those that a study with [privacy] may bring; a researcher's own must be named."""
    min_patients: Whole = 10
    noisy_minimum: Annotated[bool, Field(strict=True)] = False
    """Test a private study's cohort once, with noise that the study pays for, against `min_patients`."""
    answer_slot: Annotated[float, Field(strict=True, gt=0, le=3600)] | None = None
    """Seconds; what answers a private study leaves at a multiple of them, so that its time tells less."""
    min_sites: Whole = 1
    min_colluders: Annotated[int, Field(strict=True, ge=0)] = 0
    """The least `min_sites` and `colluders` of a study."""
    studies_a_day: Whole | None = None
    """How many studies of one researcher may be approved within 24 hours."""
    max_rounds: Whole = 10_000
    privacy_required: Annotated[bool, Field(strict=True)] = False
    sites_per_patient: Whole = 1
    """At how many hospitals one of its patients may be: no private study may count on fewer."""
    budget: dict[Identifier, Budget] = Field(default_factory=dict)
    """By group of tables; a study without [privacy] costs more than any budget."""
    max_delta: Annotated[float, Field(strict=True, gt=0, lt=1)] = 1e-3
    disclosure: Disclosure = Disclosure()
    """What may be shown of exact sums that this site is part of; of all sites' rules the strictest hold."""
    snapshot_days: Annotated[int, Field(strict=True, ge=0, le=3650)] = 30
    """How long rows that a study without [privacy] was answered from are kept, to answer again; 0: not."""
    opened_at: Literal["coordinator", "site"] = "coordinator"
    """`site`: no exact sum that this site is part of is opened where the coordinator sees it."""
    by_site: Annotated[bool, Field(strict=True)] = False
    """Whether a study that asks by hospital may tell figures of this one by itself."""
    approval: Literal["ask", "auto"] = "ask"
    approval_days: Whole = 30
    release: Literal["auto", "person"] = "auto"
    """`person`: somebody here sees each answer before it leaves, and lets it go or not (`node.airlock`)."""
    release_hours: (
        Annotated[float, Field(strict=True, ge=1 / 3600, le=MOST_RELEASE_SECONDS / 3600)] | None
    ) = None
    """How long an answer waits for that person; with release = "person", and then 72."""

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> "SitePolicy":
        if (self.coordinator is None) == (self.listen is None):
            raise ValueError(
                "give either coordinator (the node dials out) or [listen] (it waits to be dialled)"
            )
        return self

    @model_validator(mode="after")
    def _tables_that_are_there(self) -> "SitePolicy":
        """Refuse a budget or a column of patients under a mistyped name, which would have no effect."""
        unknown = [f"patients.{name}" for name in self.patients if name not in self.tables]
        if unknown:
            raise ValueError(say("{names}: no such table in [tables]", names=", ".join(unknown)))
        if fault := fault_of(self.tables, self.budget):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _release_that_can_be_kept(self) -> "SitePolicy":
        """Refuse what asks for private studies where none is answered, and a time without effect."""
        if self.release == "auto":
            if self.release_hours is not None:
                raise ValueError('release_hours: it has an effect with release = "person" only; leave it out')
            return self
        asking = {
            "privacy_required": self.privacy_required,
            "budget": any(math.isfinite(budget.epsilon) for budget in self.budget.values()),
            "noisy_minimum": self.noisy_minimum,
            "answer_slot": self.answer_slot is not None,
        }
        if private := [name for name, is_set in asking.items() if is_set]:
            raise ValueError(
                say(
                    'release = "person": it answers no study with [privacy], where a person\'s no would tell '
                    "of patients, and {names} asks for such studies; leave one of them out",
                    names=", ".join(private),
                )
            )
        if self.release_seconds > self.approval_days * SECONDS_PER_DAY:
            raise ValueError("release_hours: longer than the approval_days that a signature holds")
        return self

    @property
    def release_seconds(self) -> int:
        """How long an answer waits for a person; 0 where none is asked."""
        hours = DEFAULT_RELEASE_HOURS if self.release_hours is None else self.release_hours
        return math.ceil(hours * 3600) if self.release == "person" else 0

    @model_validator(mode="after")
    def _events_that_are_there(self) -> "SitePolicy":
        """Refuse tables of events that contradict each other, or that would be paid from two budgets."""
        if self.events and self.layout == "omop":
            raise ValueError(say('events: layout = "omop" says where all events are; keep one of the two'))
        if fault := fault_of_event_tables(self.events):
            raise ValueError(fault)
        if EVENTS in self.tables:
            theirs = {*tables_read(self.layout, self.events), EVENTS}
            split = [group.name for group in self.groups if theirs & set(group.tables)]
            if len(split) > 1:
                raise ValueError(
                    say(
                        "budget: events and {names} hold the same patients; name them in one group, not in "
                        "{groups}",
                        names=", ".join(sorted(theirs & self.tables.keys() - {EVENTS})),
                        groups=" and ".join(split),
                    )
                )
        return self

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """The kinds of events on offer."""
        words = self.tables.get(EVENTS, ())
        return ALL_KINDS if words == "*" else tuple(kind for kind in ALL_KINDS if kind in words)

    @property
    def groups(self) -> tuple[BudgetGroup, ...]:
        """Tables that draw on one budget; each table is in one group."""
        return groups_of(self.tables, self.budget)

    def group_of(self, table: str) -> BudgetGroup:
        """The group of a table; of one that is not on offer, the first: its patients may be in any."""
        return next((group for group in self.groups if table in group.tables), self.groups[0])


def tables_read(layout: str, events: Mapping[str, EventTable]) -> set[str]:
    """The tables that hold the events of a site."""
    if layout == "omop":
        return {place.table for places in PLACES.values() for place in places} | {"person"}
    return {events[name].table if name in events else name for name in EVENT_TABLES.values()}


def read_policy(path: Path) -> SitePolicy:
    """Read site.toml; relative paths in it are relative to its folder.

    Raises:
        ConfigError: names the file and every wrong field.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the site's file by --site") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return _anchored(validated(SitePolicy, data, str(path)), path.parent)


def _anchored(policy: SitePolicy, folder: Path) -> SitePolicy:
    changes: dict[str, object] = {"state": folder / policy.state, "roster": folder / policy.roster}
    if "://" not in policy.data:
        changes["data"] = str(folder / policy.data)
    if policy.counter:
        changes["counter"] = folder / policy.counter
        if (folder / policy.counter).resolve().is_relative_to((folder / policy.state).resolve()):
            raise ConfigError(
                "site.toml: counter: lies in the folder state, and would be restored with an older copy of "
                "it; name a file elsewhere, on another disk where there is one"
            )
    if policy.ca_file:
        changes["ca_file"] = folder / policy.ca_file
    if policy.hl7:
        changes["hl7"] = policy.hl7.anchored(folder)
    if policy.listen:
        files = {name: getattr(policy.listen, name) for name in ("certificate", "key")}
        moved = {name: folder / path for name, path in files.items() if path}
        changes["listen"] = policy.listen.model_copy(update=moved)
    return policy.model_copy(update=changes)


def check_study(policy: SitePolicy, study: Study) -> Spending | None:
    """Refuse a study that this site does not allow.

    Returns:
        the reservation and limit of a private study, by the budget of its table; None without privacy.
    Raises:
        PolicyError: names the word of site.toml that forbids it.
    """
    for _, objection in rules(policy, study):
        if objection is not None:
            raise objection.error(objection.text)
    if not study.cohort.is_explicit:
        raise StudyError("cohort.columns: name each column's kind, as fed.run does before it sends a study")
    if study.privacy is not None and study.cohort.where is not None:
        check_plain(study.cohort.where)
    _check_columns(policy, study)
    privacy, table = study.privacy, study.cohort.table
    if privacy is None:
        return None
    reserved = Reservation(study.hash, table, privacy.epsilon, privacy.delta)
    return Spending(reserved, policy.group_of(table).limit)


@dataclass(frozen=True)
class Objection:
    """What stands against a study, and what to do about it."""

    against: Text
    remedy: Text
    error: type[PolicyError] = PolicyError

    @property
    def text(self) -> Text:
        """Both in one sentence."""
        return say("{against}; {remedy}", against=self.against, remedy=self.remedy)


def rules(policy: SitePolicy, study: Study) -> Iterator[tuple[str, Objection | None]]:
    """Every rule of site.toml that a study must pass, by a word, with what stands against it."""
    analysis, privacy = study.analysis, study.privacy

    def allowed(key: str, name: str, words: Collection[str], instead: Text) -> Objection | None:
        if name in words:
            return None
        return Objection(
            say("site.toml: {key} does not allow {name!r}", key=key, name=name),
            say("add it to {key} in site.toml, or {instead}", key=key, instead=instead),
        )

    yield "analysis", allowed("analyses", analysis.kind, policy.analyses, say("ask for another analysis"))
    another = say("let the study take another one")
    yield "protection", allowed("protections", study.protection, policy.protections, another)
    yield "privacy", _privacy_objection(policy, privacy)
    yield "budget", budget_objection(study, policy.group_of(study.cohort.table))
    yield "patients", _patients_objection(policy, study.cohort)
    yield "sites", _sites_objection(policy, study)
    if policy.opened_at == "site" and study.privacy is None:
        opened = Objection(
            say('site.toml: opened_at = "site": the coordinator would see the exact sum'),
            say('let the study have opened_at = "site", or [privacy]'),
        )
        yield "opened at", None if study.opened_at == "site" else opened
    if policy.release == "person":
        yield "release", _release_objection(study)
    model = analysis.asked_model
    if model is not None:
        name = model if isinstance(model, str) else "own"
        objection = allowed("models", name, policy.models, another)
        if objection is None and privacy is not None:
            objection = allowed("private_models", name, policy.private_models, another)
        yield "model", objection
    if analysis.n_steps > 1:
        # Without declared bounds the private analysis cannot be built; the exact one has no more rounds.
        unbounded = study.privacy is not None and missing_bounds(study.cohort) is not None
        counted = study.model_copy(update={"privacy": None}) if unbounded else study
        too_many_rounds = Objection(
            say("site.toml: max_rounds {most} is less than the study needs", most=policy.max_rounds),
            say("raise max_rounds in site.toml, or let the study take fewer rounds"),
        )
        enough = build_analysis(counted).n_rounds <= policy.max_rounds
        yield "rounds", None if enough else too_many_rounds


def _privacy_objection(policy: SitePolicy, privacy: Privacy | None) -> Objection | None:
    n = policy.sites_per_patient
    if privacy is None:
        if policy.privacy_required:
            return Objection(
                say("site.toml: privacy_required, and the study has no [privacy]"),
                say("let it have [privacy], or take privacy_required out of site.toml"),
                PrivacyRequiredError,
            )
    elif privacy.delta > policy.max_delta:
        values = {"most": policy.max_delta, "delta": privacy.delta}
        return Objection(
            say("site.toml: max_delta {most:g} does not allow a delta of {delta:g}", **values),
            say("let the study take a smaller one, or raise max_delta in site.toml"),
        )
    elif policy.noisy_minimum and not privacy.cohort_test:
        return Objection(
            say(
                "site.toml: noisy_minimum: this hospital tests with noise whether a cohort is large enough, "
                "and the study keeps nothing for that"
            ),
            say("let it have privacy.cohort_test = 0.05 or more"),
        )
    elif privacy.sites_per_patient < n:
        return Objection(
            say(
                "site.toml: sites_per_patient {n}: patients of this hospital are at others too, and the "
                "study counts a patient at {few}",
                n=n,
                few=privacy.sites_per_patient,
            ),
            say("let the study have privacy.sites_per_patient = {n}", n=n),
        )
    return None


def _release_objection(study: Study) -> Objection | None:
    """What no person can be asked about: private answers, and many."""
    if study.privacy is not None:
        return Objection(
            say(
                'site.toml: release = "person": a person here lets each answer go, and under [privacy] the '
                "person's no would tell of patients"
            ),
            say('let the study leave out [privacy], or say release = "auto" in site.toml'),
        )
    n = study.analysis.n_steps
    if n <= MOST_RELEASES and study.cohort.is_explicit:
        n = build_analysis(study).n_rounds
    if n > MOST_RELEASES:
        return Objection(
            say(
                'site.toml: release = "person": a person here lets each answer go, at most {most} of a '
                "study, and this one may ask for {n}",
                most=MOST_RELEASES,
                n=n,
            ),
            say('let it ask for fewer rounds, or say release = "auto" in site.toml'),
        )
    return None


def _sites_objection(policy: SitePolicy, study: Study) -> Objection | None:
    for name, least, word, asked in (
        ("min_sites", policy.min_sites, "min_sites", study.min_sites),
        ("min_colluders", policy.min_colluders, "colluders", study.colluders),
    ):
        if asked < least:
            values = {"name": name, "least": least, "word": word, "asked": asked}
            return Objection(
                say("site.toml: {name} is {least}, and the study has {word} = {asked}", **values),
                say("let the study ask for as much or more"),
            )
    return None


def _patients_objection(policy: SitePolicy, cohort: Cohort) -> Objection | None:
    """Refuse another patient column: taking rows for patients would give a patient the noise of one row."""
    patients = policy.patients.get(cohort.table, PATIENT_ID)
    if cohort.patient_id == patients:
        return None
    return Objection(
        say(
            "site.toml: patients of {table} are told apart by {patients}, not by {asked}",
            table=cohort.table,
            patients=patients,
            asked=cohort.patient_id,
        ),
        say("correct cohort.patient_id, or say patients.{table} in site.toml", table=cohort.table),
    )


def budget_objection(study: Study, group: BudgetGroup) -> Objection | None:
    """What the whole budget of a group of tables could not pay, whatever other studies have taken."""
    budget, privacy = group.budget, study.privacy
    if budget is None or (privacy is None and math.isinf(budget.epsilon)):
        return None
    if privacy is None:
        return Objection(
            say(
                "site.toml: budget.{group} is set: a study without [privacy] costs more than any budget",
                group=group.name,
            ),
            say("let it have [privacy]"),
            PrivacyRequiredError,
        )
    if privacy.epsilon > budget.epsilon or privacy.delta > budget.delta:
        return Objection(
            say(
                "site.toml: budget.{group} is epsilon {epsilon:g}, delta {delta:g} in all, and the study "
                "asks for {more:g} and {wanted:g}",
                group=group.name,
                epsilon=budget.epsilon,
                delta=budget.delta,
                more=privacy.epsilon,
                wanted=privacy.delta,
            ),
            say("let the study ask for less, or raise the budget in site.toml"),
            BudgetError,
        )
    if privacy.epsilon < budget.least_epsilon:
        return Objection(
            say(
                "site.toml: budget.{group}.least_epsilon is {least:g}, and the study asks for {asked:g}",
                group=group.name,
                least=budget.least_epsilon,
                asked=privacy.epsilon,
            ),
            say("let the study ask for as much or more"),
            BudgetError,
        )
    return None


def _check_columns(policy: SitePolicy, study: Study) -> None:
    cohort = study.cohort
    if cohort.index is not None:
        check_offered(cohort, policy.event_kinds if EVENTS in policy.tables else None)
        return
    offered = policy.tables.get(cohort.table)
    if offered is None:
        raise SchemaError(
            "site.toml: tables does not offer {table!r}; add it to [tables] in site.toml, or let the study "
            "take one of {tables}",
            table=cohort.table,
            tables=", ".join(sorted(policy.tables)),
        )
    wanted = {
        *cohort.schema_,
        *cohort.label_columns,
        *([cohort.split] if isinstance(cohort.split, str) else []),
    }
    if offered != "*" and wanted - set(offered):
        missing = ", ".join(sorted(wanted - set(offered)))
        raise SchemaError(
            "site.toml: tables.{table} does not offer {names}; add what may be studied to tables.{table} in "
            "site.toml, or let the study leave it out",
            table=cohort.table,
            names=missing,
        )
