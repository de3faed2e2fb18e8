"""A study in plain words: what is asked, what leaves, when, and how it is protected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from fedcohort.analyses.sentences import rows_of
from fedcohort.columns import Binary, Categorical, Classes, Column, Holdout, Image, Number, Numeric, Survival
from fedcohort.disclosure.rules import Disclosure, strictest
from fedcohort.expect import PATIENTS, SITES, expected
from fedcohort.explain_events import event_lines
from fedcohort.protection.context import majority
from fedcohort.protection.words import WORDS
from fedcohort.study import Cohort, Privacy, Study
from fedcohort.texts import Text, say
from fedcohort.texts.look_up import translated
from fedcohort.wire.identity import fingerprint


@dataclass(frozen=True)
class Section:
    """Sentences under a heading."""

    heading: Text
    lines: Sequence[Text]


def explain(
    study: Study,
    researcher: str | None = None,
    researcher_key: bytes | None = None,
    units: Mapping[str, str] | None = None,
    *,
    filled: Cohort | None = None,
    rules: Disclosure | None = None,
    release_seconds: int = 0,
    by_site: bool | None = None,
    sites: int = SITES,
    patients: Sequence[int] = PATIENTS,
    language: str = "en",
) -> str:
    """What a hospital agrees to when it approves this study.

    Args:
        units: by column, what the hospital that reads this declares; a study's own come first.
        filled: the study's cohort with what that hospital declares, where the study says nothing.
        rules: of disclosure, that hospital's own; None: the default.
        release_seconds: how long an answer waits there for a person who lets it go; 0: none is asked.
        by_site: whether that hospital lets figures of itself be told; None: it is any hospital.
        sites, patients: for which the results of a private study are foreseen (`expect`).
        language: of the reader (`texts.look_up.languages`).
    Returns:
        lines of text for a clinician or a data-protection officer.
    """
    lines = [say("Study: {name}", name=study.name), say("Hash:  {hash}", hash=study.hash)]
    if researcher is not None and researcher_key is not None:
        by = {"researcher": researcher, "key": fingerprint(researcher_key)}
        lines.append(say("Asked by: {researcher} (key {key})", **by))
    parts = ["\n".join(translated(line, language) for line in lines)]
    told = sections(
        study,
        units,
        filled=filled,
        rules=rules,
        release_seconds=release_seconds,
        by_site=by_site,
        sites=sites,
        patients=patients,
    )
    for section in told:
        said = (translated(line, language) for line in (section.heading, *section.lines))
        parts.append("\n  ".join(said))
    return "\n\n".join(parts)


def sections(
    study: Study,
    units: Mapping[str, str] | None = None,
    *,
    filled: Cohort | None = None,
    rules: Disclosure | None = None,
    release_seconds: int = 0,
    by_site: bool | None = None,
    sites: int = SITES,
    patients: Sequence[int] = PATIENTS,
) -> list[Section]:
    """The question, patients and columns, what leaves, how it is protected, and what to expect of privacy.

    Args:
        units, filled, rules, release_seconds, by_site, sites, patients: as of `explain`.
    """
    sentences = import_module(f"fedcohort.analyses.{study.analysis.kind}.explain")
    never = say("Never a row: each release is one vector of sums over this hospital's patients.")
    leaves = [never, *sentences.released(study, study.analysis), *by_site_words(study, by_site)]
    found = [
        Section(say("What is asked"), sentences.asked(study, study.analysis)),
        Section(say("Which patients and columns"), _cohort(study, units or {}, filled or study.cohort)),
        Section(say("What leaves the hospital"), leaves),
        Section(say("How it is protected"), [*_protection(study, rules), *release_words(release_seconds)]),
    ]
    whole = study if filled is None else study.model_copy(update={"cohort": filled})
    if whole.cohort.is_explicit and (foreseen := expected(whole, sites, patients)):
        found.append(Section(say("What to expect"), foreseen))
    return found


def _cohort(study: Study, units: Mapping[str, str], filled: Cohort) -> list[Text]:
    cohort = study.cohort
    lines = [*event_lines(cohort)] if cohort.index is not None else _columns(cohort, units, filled)
    if not study.analysis.splits:
        return lines
    if isinstance(cohort.split, Holdout):
        share = cohort.split.fraction
        lines.append(say("{share:.0%} of the patients are held out for testing.", share=share))
    elif cohort.split:
        lines.append(say("The column {split} says who is held out for testing.", split=cohort.split))
    return lines


def _columns(cohort: Cohort, units: Mapping[str, str], filled: Cohort) -> list[Text]:
    lines = [
        say("Table {table}; rows where {where}.", table=cohort.table, where=cohort.where)
        if cohort.where
        else say("Table {table}; all rows.", table=cohort.table)
    ]
    for name, own in cohort.schema_.items():
        said = isinstance(cohort.columns, dict) or name in cohort.bounds
        kind = own if said else filled.schema_[name] if filled.is_explicit else None
        lines.append(_column(name, kind, units.get(name)))
    return [*lines, *_label(filled, units)]


def _column(name: str, kind: Column | None, declared: str | None) -> Text:
    """What a column holds; `declared` is the unit of the hospital that reads this."""
    match kind:
        case None:
            template = "{name}: what the hospitals declare of it, which the study takes when it is handed in"
            return say(template, name=name)
        case Categorical():
            return say("{name}: one of {levels}", name=name, levels=", ".join(map(str, kind.levels)))
        case Image():
            size = {"height": kind.height, "width": kind.width}
            if kind.channels == 3:
                return say("{name}: an image of {height} x {width} pixels, in colour", name=name, **size)
            return say("{name}: an image of {height} x {width} pixels, grey", name=name, **size)
    return _number(name, kind, declared)


def _number(name: str, kind: Numeric, declared: str | None) -> Text:
    if kind.bounds is not None:
        low, high = kind.bounds
        unit = _after(kind.unit or declared)
        return say(
            "{name}: a number from {low:g} to {high:g}{unit}", name=name, low=low, high=high, unit=unit
        )
    if kind.unit:
        return say("{name}: a number without declared bounds, in {unit}", name=name, unit=kind.unit)
    if declared:
        return say("{name}: a number without declared bounds, in {unit} here", name=name, unit=declared)
    return say("{name}: a number without declared bounds", name=name)


def _after(unit: str | None) -> str:
    """A unit as it stands behind a number."""
    return f" {unit}" if unit else ""


def _label(cohort: Cohort, units: Mapping[str, str]) -> list[Text]:
    columns = ", ".join(cohort.label_columns)
    lines = [say("Label: {label}", label=columns)] if columns else []
    match cohort.label:
        case Binary(positive=positive, negative=negative):
            lines.append(
                say("Counts as yes: {positive}; as no: {negative}", positive=positive, negative=negative)
            )
        case Classes(levels=levels):
            lines.append(say("Its classes: {levels}", levels=", ".join(str(level) for level in levels)))
        case Number(column=column, low=low, high=high, unit=own):
            template = "It is a number from {low:g} to {high:g}{unit}"
            lines.append(say(template, low=low, high=high, unit=_after(own or units.get(column))))
        case Survival(causes=(_, *_) as causes):
            lines.append(say("Its causes: {causes}", causes=", ".join(map(str, causes))))
    return lines


def _protection(study: Study, rules: Disclosure | None) -> list[Text]:
    return [
        say("Protection: {name}.", name=study.protection),
        *protection_words(study),
        *privacy_words(study),
        *disclosure_words(study, rules),
        say("At least {n} hospitals take part, or the round has no result.", n=study.min_sites),
    ]


def disclosure_words(study: Study, rules: Disclosure | None = None) -> list[Text]:
    """What is shown of exact results (docs/disclosure.md).

    Args:
        rules: of the hospital that reads this.
    """
    if study.privacy is not None:
        return []
    own = [] if study.disclosure is None else [study.disclosure]
    held = strictest([rules or Disclosure(), *own])
    if held.min_cell == 1:
        shown = say("By this hospital's rules every count may be shown, whatever it rests on.")
    else:
        shown = say(
            "Nothing is shown that rests on fewer than {cell} patients of all hospitals together, nor what "
            "would give it away; figures have {degrees} degrees of freedom or more, and of no mean or total "
            "two patients have more than {share:.0%}. Where another hospital's rules are stricter, they "
            "hold.",
            cell=held.min_cell,
            degrees=held.min_dof,
            share=held.max_share,
        )
    if study.opened_at == "site":
        seen = say(
            "One of the hospitals opens the sum and sees it, hides that, and sends the rest: the coordinator "
            "never has the sum."
        )
    else:
        seen = say("The coordinator sees the sum before that, and deletes it at the study's end.")
    return [shown, seen]


def by_site_words(study: Study, by_site: bool | None) -> list[Text]:
    """Whose figures a study by hospital tells (docs/statistics.md).

    Args:
        by_site: of the hospital that reads this, whether it lets its own be told; None: it is any hospital.
    """
    if not study.analysis.by_hospital:
        return []
    if by_site is None:
        template = (
            "Figures of one hospital are told where its site.toml has by_site = true; the patients of any "
            "other count in the figures of all together only."
        )
        return [say(template)]
    if by_site:
        return [say("Figures of this hospital by itself are told: its site.toml has by_site = true.")]
    template = (
        "Figures of this hospital by itself are not told: its patients count in the figures of all together "
        "only, as its site.toml has no by_site = true."
    )
    return [say(template)]


def release_words(seconds: int) -> list[Text]:
    """That a person of this hospital lets each answer go (docs/disclosure.md).

    Args:
        seconds: how long an answer waits for that; 0: nobody is asked.
    """
    template = (
        "A person of this hospital sees each answer before it leaves, and lets it go or not; it waits for up "
        "to {hours:g} hours, and after that the study goes on without this hospital."
    )
    return [say(template, hours=seconds / 3600)] if seconds else []


def protection_words(study: Study, n_sites: int | None = None) -> list[Text]:
    """What the study's protection hides from whom, and on what that rests (docs/threat-model.md).

    Args:
        n_sites: of the roster, where it is known.
    """
    words = WORDS[study.protection]
    if not words.hides:
        return [say("The coordinator sees this hospital's vector, not only the sum.")]
    lines = [
        say("The coordinator sees only the sum over the hospitals, never this hospital's vector."),
        say(words.rests_on, colluders=study.colluders, quorum=_quorum(study, n_sites)),
    ]
    if n_sites is None or n_sites == 2:
        lines.append(
            say("With two hospitals each can subtract its own part from the sum, whatever the protection.")
        )
    return lines


def _quorum(study: Study, n_sites: int | None) -> Text:
    if n_sites is None:
        return say("more than half of the hospitals")
    some = max(study.min_sites, majority(n_sites, study.colluders))
    return say("{some} of {all} hospitals", some=some, all=n_sites)


def privacy_words(study: Study, n_sites: int | None = None) -> list[Text]:
    """What differential privacy promises a patient, and on whose noise that rests (docs/privacy.md).

    Args:
        n_sites: of the roster, where it is known.
    """
    privacy = study.privacy
    if privacy is None:
        return _without_privacy(study)
    lines = [
        say(
            "Differential privacy: epsilon {epsilon:g}, delta {delta:g}, for all that the study releases. "
            "Any one patient's data, which count with {rows}, make an outcome {likely}, but for a chance of "
            "{delta:g}.",
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            rows=rows_of(privacy.rows_per_patient),
            likely=_times_as_likely(privacy.epsilon),
        ),
        _counted_at(privacy.sites_per_patient),
        *_tested(privacy),
        say(
            "Not hidden: that this hospital takes part, and how long it computes, unless its site.toml sets "
            "answer_slot."
        ),
    ]
    if not study.shares_noise:
        return [*lines, say("Each hospital adds all of the noise itself and need not trust anybody for it.")]
    lines.append(_shared(study.colluders, privacy.dropouts))
    if n_sites == 2:
        lines.append(say("With two hospitals a share is as much noise as each would add alone."))
    return lines


def _without_privacy(study: Study) -> list[Text]:
    lines = [
        say("No differential privacy: the results are exact, and may tell something about single patients.")
    ]
    if study.analysis.trains:
        lines.append(
            say(
                "Who chooses the weights of a model in training can read whole records of patients out of a "
                "sum, though not whose they are: this study trusts the coordinator not to, or needs "
                "[privacy]."
            )
        )
    return lines


def _shared(colluders: int, dropouts: int) -> Text:
    if dropouts == 0:
        return say(
            "The hospitals add the noise in shares: the promise holds as long as no more than {tell} of them "
            "tell their share, and none of them is lost in a round.",
            tell=colluders,
        )
    return say(
        "The hospitals add the noise in shares: the promise holds as long as no more than {tell} of them "
        "tell their share, and no more than {lost} of them are lost in a round.",
        tell=colluders,
        lost=dropouts,
    )


def _tested(privacy: Privacy) -> list[Text]:
    if not privacy.cohort_test:
        return []
    return [
        say(
            "A hospital may test once, with noise of its own, whether it has enough patients: {share:.0%} of "
            "epsilon is kept for that.",
            share=privacy.cohort_test,
        )
    ]


def _counted_at(sites: int) -> Text:
    if sites == 1:
        return say("A patient counts at one hospital: whoever has data at two of them is promised less.")
    return say(
        "A patient counts at up to {n} hospitals: the promise holds for whoever has data at so many.", n=sites
    )


def _times_as_likely(epsilon: float) -> Text:
    """What an epsilon means; one beyond 10 hardly means anything."""
    if epsilon > 10:
        return say("more than 20,000 times as likely, which is next to no promise")
    if epsilon < 0.1:
        return say("at most {times:.3f} times as likely", times=math.exp(epsilon))
    return say("at most {times:.1f} times as likely", times=math.exp(epsilon))
