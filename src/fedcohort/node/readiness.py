"""`fedcohort data check`: can a study run on this site's data? A verdict and a remedy a line.

What is compared first are words: the study against site.toml, and against what the
database declares. Only then are rows read, by the road of every study (`load_cohort`),
and only coarse bands of them are told, to the site's own engineer: of a cohort smaller
than `min_patients` nothing but that it is so, because even a band may be one patient's.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fedcohort.errors import DataError, FedcohortError, PolicyError, SchemaError, StoreError, StudyError
from fedcohort.node.differencing import differencing_lines
from fedcohort.node.ledger import DEFAULT_DELTA, check_left, default_studies, left_of
from fedcohort.node.policy import SitePolicy, rules
from fedcohort.node.readiness_events import event_lines
from fedcohort.node.readiness_rows import Observed, as_columns, observe, too_small
from fedcohort.node.readiness_trust import countersigning_lines, roster_lines
from fedcohort.node.readiness_words import Line, Verdict, column_lines, explicit_cohort
from fedcohort.node.records import Reservation
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.described import Described, describe_table
from fedcohort.sources.catalogue.schema import FEATURES, PATIENT_ID
from fedcohort.sources.catalogue.sql_types import Facts
from fedcohort.sources.cohort.resolve import Kind, is_filled_in
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.cohort.where.kinds import check_where_of_study
from fedcohort.sources.cohort.where.parse import check_plain
from fedcohort.study import Cohort, Describe, Study, parse_study
from fedcohort.texts import say

ORDER: tuple[Verdict, ...] = ("ready", "warning", "not ready")

_LESS_DELTA = say(
    "let the study take a smaller delta (its default is {delta:g}), or raise delta of the budget in "
    "site.toml",
    delta=DEFAULT_DELTA,
)
_LESS = say("let the study ask for less, or raise the budget in site.toml")


@dataclass(frozen=True)
class Readiness:
    """What was found, in the order in which a study would meet it."""

    study: str
    site: str
    lines: tuple[Line, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all lines."""
        return max((line.verdict for line in self.lines), key=ORDER.index, default="ready")

    def document(self) -> dict[str, object]:
        """As `--json` prints it."""
        lines = [vars(line) for line in self.lines]
        return {"study": self.study, "site": self.site, "verdict": self.verdict, "lines": lines}


def check_readiness(
    policy: SitePolicy, study: Study, reserved: Sequence[Reservation] = (), own: Collection[str] = ()
) -> Readiness:
    """Test a study against one site, and never raise for what is only not ready.

    Args:
        study: columns without a kind take the one that this site declares.
        reserved: what the site's ledger has set aside.
        own: hashes that this very study was proposed under; what is set aside for them is its own.
    """
    lines = [*_policy_lines(policy, study), *_budget_left(policy, study, reserved, {study.hash, *own})]
    lines += [*roster_lines(policy, study), *countersigning_lines(policy, study)]
    if study.cohort.index is not None:
        lines += event_lines(policy, study)
        if all(line.verdict != "not ready" for line in lines):
            lines += differencing_lines(policy, study)
        return Readiness(study.name, policy.id, tuple(lines))
    try:
        described = describe_table(policy.data, study.cohort.table)
        lines += _data_lines(policy, study, described)
    except (StoreError, DataError) as error:
        lines.append(Line(say("database"), "not ready", str(error), ""))
    else:
        if all(line.verdict != "not ready" for line in lines):
            lines += differencing_lines(policy, study)
    return Readiness(study.name, policy.id, tuple(lines))


def proposed_as(study: Study, proposed: Iterable[bytes]) -> set[str]:
    """The hashes under which a study was proposed: what is signed has kinds that sites have declared.

    Args:
        study: as its researcher wrote it.
        proposed: studies in their canonical form.
    """
    return {one.hash for one in map(parse_study, proposed) if _became(study, one)}


def _became(study: Study, proposed: Study) -> bool:
    same_but_cohort = proposed.model_copy(update={"cohort": study.cohort}) == study
    return same_but_cohort and is_filled_in(proposed.cohort, study.cohort)


def check_table(policy: SitePolicy, table: str) -> Readiness:
    """Test a table by itself, as a description of all its offered columns would read it."""
    try:
        columns = sorted(declared_columns(policy, table))
        study = Study(name=table, cohort=Cohort(table=table, columns=columns), analysis=Describe())
        lines = [*_data_lines(policy, study, describe_table(policy.data, table))]
    except (StoreError, DataError, StudyError) as error:
        lines = [Line(say("database"), "not ready", str(error), "")]
    return Readiness(table, policy.id, tuple(lines))


def declared_columns(policy: SitePolicy, table: str) -> dict[str, Facts]:
    """What a table offers to studies, as the site's catalogue tells it; no row is read.

    Raises:
        SchemaError: the database lacks the table, or a column that site.toml names.
        StoreError: the database is missing, locked or damaged.
    """
    words = policy.tables[table]
    found = catalogue(policy.data, None if words == "*" else {table: words})["tables"]
    if table not in found:
        raise SchemaError(
            "the database has no table {table} with columns that a study could read", table=table
        )
    return found[table]["columns"]


def _policy_lines(policy: SitePolicy, study: Study) -> Iterator[Line]:
    for what, objection in rules(policy, study):
        if objection is None:
            without = what == "budget" and policy.group_of(study.cohort.table).budget is None
            told = say("site.toml sets none for this table") if without else say("allowed by site.toml")
            yield Line(what, "ready", told, "")
        else:
            yield Line(what, "not ready", objection.against, objection.remedy)


def _budget_left(
    policy: SitePolicy, study: Study, reserved: Sequence[Reservation], own: Collection[str]
) -> Iterator[Line]:
    table, privacy = study.cohort.table, study.privacy
    group = policy.group_of(table)
    if group.budget is None or privacy is None:
        return
    others = [one for one in reserved if one.study_hash not in own]
    wanted = Reservation(study.hash, table, privacy.epsilon, privacy.delta)
    try:
        check_left(wanted, others, group.limit)
    except PolicyError as error:
        yield Line(say("budget left"), "not ready", str(error), _LESS)
    else:
        kept = len(others) < len(reserved)
        told = say("set aside for this study already") if kept else say("enough is left for this study")
        counted = group.limit.counted(others)
        if default_studies(left_of(counted, group.limit)[1] - privacy.delta) == 0:
            yield Line(
                say("budget left"),
                "warning",
                say("{told}; no delta is left for another", told=told),
                _LESS_DELTA,
            )
        else:
            yield Line(say("budget left"), "ready", told, "")


def _data_lines(
    policy: SitePolicy, study: Study, described: Mapping[str, Described] | None
) -> Iterator[Line]:
    cohort, table = study.cohort, study.cohort.table
    offered = policy.tables.get(table)
    if offered is None:
        remedy = say(
            "add it to [tables] in site.toml, or choose one of {tables}",
            tables=", ".join(sorted(policy.tables)),
        )
        yield Line(say("table {table}", table=table), "not ready", say("site.toml does not offer it"), remedy)
        return
    if described is None:
        remedy = say("import the data, or correct data in site.toml")
        yield Line(
            say("table {table}", table=table), "not ready", say("the database has no such table"), remedy
        )
        return
    yield Line(say("table {table}", table=table), "ready", say("there and offered"), "")
    columns = _offered(described, cohort, offered)
    found = [*column_lines(cohort, described, columns), *_where_lines(study, columns)]
    yield from found
    if any(line.verdict == "not ready" for line in found):
        remedy = say("mend the lines above, and check again")
        yield Line(say("cohort"), "not ready", say("not read, because a study could not read it"), remedy)
        return
    try:
        whole = explicit_cohort(cohort, described, columns)
    except FedcohortError as error:
        yield Line(
            say("cohort"),
            "not ready",
            str(error),
            say("give its kind in the study, or declare it in a mapping"),
        )
        return
    yield from _row_lines(policy, study, whole, {table: columns})


def _offered(described: Mapping[str, Described], cohort: Cohort, words: str | Collection[str]) -> set[str]:
    """The columns that a study may ask for here, as the site's catalogue would list them."""
    can = {name for name, one in described.items() if one.facts is not None or one.declared is not None}
    names = can - {PATIENT_ID, FEATURES} if words == "*" else set(words)
    return names & (can | {cohort.patient_id})


def _where_lines(study: Study, columns: Collection[str]) -> Iterator[Line]:
    cohort = study.cohort
    if cohort.where is None:
        return
    try:
        check_where_of_study(cohort, columns)
        if study.privacy is not None:
            check_plain(cohort.where)
    except DataError as error:
        yield Line(say("where"), "not ready", str(error), say("correct cohort.where in the study"))
    else:
        yield Line(say("where"), "ready", say("allowed over the offered columns"), "")


def _row_lines(
    policy: SitePolicy, study: Study, cohort: Cohort, offered: Mapping[str, Collection[str]]
) -> Iterator[Line]:
    def load(part: Cohort) -> Observed:
        return Observed(cohort, load_cohort(policy.data, part, study.seed, offered))

    observed = _read(load, cohort, policy.min_patients)
    if isinstance(observed, Observed):
        yield from observe(observed, policy.min_patients, study.analysis.splits)
    else:
        yield from observed


def _read(load: Callable[[Cohort], Observed], cohort: Cohort, min_patients: int) -> Observed | list[Line]:
    """All columns at once, with the label among them; where that fails, each alone, to name every fault."""
    kinds = as_columns(cohort)
    try:
        return load(_part(cohort, kinds, cohort.split))
    except DataError as error:
        whole = error
    except StoreError as error:
        return [Line(say("cohort"), "not ready", str(error), "")]
    faults, patients = [], [min_patients]
    for name, kind in kinds.items():
        try:
            patients.append(load(_part(cohort, {name: kind}, None)).table.n_patients)
        except (DataError, StoreError) as error:
            faults.append(
                Line(
                    say("values of {name}", name=name),
                    "not ready",
                    str(error),
                    say("correct the data or the mapping"),
                )
            )
    if min(patients) < min_patients:
        return [too_small(min_patients)]
    same = len(faults) == len(kinds) and {line.found for line in faults} == {str(whole)}
    if same or not faults:
        return [Line(say("cohort"), "not ready", str(whole), say("widen the cohort, or correct the data"))]
    return faults


def _part(cohort: Cohort, kinds: Mapping[str, Kind], split: object) -> Cohort:
    changed = {"columns": dict(kinds), "bounds": {}, "label": None, "split": split}
    return Cohort.model_validate({**dict(cohort), **changed})
