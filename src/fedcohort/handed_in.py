"""Checks of a study when it is handed in and when a site approves it.

`parse_study` reads every stored study as long as a ledger or a page shows it, so that what a
later version refuses is refused here and not there.
"""

import math

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.validate.question import Validate
from fedcohort.columns import Number, Numeric
from fedcohort.errors import CohortError, RulesError, StudyError
from fedcohort.protection.words import WORDS
from fedcohort.sources.cohort.where.kinds import check_where_of_study
from fedcohort.sources.cohort.where.parse import check_plain, columns_asked
from fedcohort.study import Evaluate, Study, Train
from fedcohort.versions import RULES


def check_handed_in(study: Study) -> None:
    """Refuse a study that contradicts itself, or whose promises this version cannot keep.

    Raises:
        StudyError: names the field, and what to write.
    """
    if study.min_sites == 1 and WORDS[study.protection].hides:
        raise StudyError(
            "min_sites: a sum of one site is that hospital's vector, which {protection} then hides from "
            'nobody; take min_sites = 2 or more, or say protection = "none"',
            protection=study.protection,
        )
    if study.privacy is not None and study.disclosure is not None:
        raise StudyError(
            "disclosure: under [privacy] noise protects, and no rule of disclosure applies; leave it out"
        )
    rows = None if study.cohort.index is None else study.cohort.index.rows_per_patient
    if study.privacy is not None and rows is not None and study.privacy.rows_per_patient != rows:
        raise StudyError(
            "privacy.rows_per_patient: a patient has up to {n} rows by cohort.index; write "
            "rows_per_patient = {n}",
            n=rows,
        )
    _check_opened_at(study)
    _check_bounds(study)
    _check_where(study)
    if isinstance(study.analysis, Evaluate) and study.cohort.is_explicit:
        try:
            study.analysis.model.check(study.cohort)
        except ValueError as error:
            raise StudyError(str(error)) from None
    question = study.analysis
    if isinstance(question, Validate) and question.asks_of_hospitals(study) and not question.sites:
        raise StudyError(
            'analysis.sites: by = "site" asks of each hospital; name them, such as ["north", "south"]'
        )
    if isinstance(study.analysis, Train) and _is_compiled(study.analysis.model):
        raise StudyError(
            "analysis.model: its configuration says how it was compiled (compile_config), which training "
            "over sites does not take: learning_rate, server_optimizer and the cohort's label say it; leave "
            "it out"
        )


def _check_opened_at(study: Study) -> None:
    """A site that opens the only sum of a study can keep from the coordinator what the rules hide."""
    if study.opened_at == "coordinator":
        return
    if study.privacy is not None:
        raise StudyError(
            "opened_at: under [privacy] noise protects, and no rule of disclosure applies; leave it out"
        )
    if not WORDS[study.protection].opened_alone:
        raise StudyError(
            "opened_at: under {protection} no site opens a sum by itself; take protection = {others}, or "
            "leave it out",
            protection=study.protection,
            others=" or ".join(f'"{name}"' for name, words in WORDS.items() if words.opened_alone),
        )
    n = study.analysis.n_steps if study.analysis.trains else build_analysis(study).n_rounds
    if n > 1 or study.analysis.trains:
        raise StudyError(
            "opened_at: {kind} asks for {n} sums here, and the coordinator needs each whole to ask for the "
            "next; ask a question of one sum, or leave it out",
            kind=study.analysis.kind,
            n=max(n, 2),
        )


def _check_bounds(study: Study) -> None:
    """A value is scaled by the middle and half width of its bounds, which have to be numbers, too."""
    ranges = {name: kind.bounds for name, kind in study.cohort.schema_.items() if isinstance(kind, Numeric)}
    if isinstance(study.cohort.label, Number):
        ranges[study.cohort.label.column] = (study.cohort.label.low, study.cohort.label.high)
    for name, bounds in ranges.items():
        low, high = bounds or (0.0, 1.0)
        if not (math.isfinite(high - low) and math.isfinite(high + low) and (high - low) / 2 > 0):
            raise StudyError(
                "cohort.bounds: {name}: their middle or half width is no number that a computer has; write "
                "the bounds of the measurement, such as 18 and 90",
                name=name,
            )


def _check_where(study: Study) -> None:
    """Check the condition, which needs no site's columns."""
    where = study.cohort.where
    if where is None:
        return
    try:
        check_where_of_study(study.cohort, columns_asked(where))
        if study.privacy is not None:
            check_plain(where)
    except CohortError as error:
        raise StudyError("cohort.{why}", why=error) from None


def _is_compiled(config: object) -> bool:
    """Whether a model's configuration, or one inside it, says how it was compiled."""
    if isinstance(config, list):
        return any(map(_is_compiled, config))
    if not isinstance(config, dict):
        return False
    return bool(config.get("compile_config")) or any(map(_is_compiled, config.values()))


def check_rules(rules: int, whose: str) -> None:
    """Refuse to compute by other rules than this version's.

    Args:
        rules: of the study, as `whose` proposal or approval carries them.
    Raises:
        RulesError: says which side is older, and what to do.
    """
    if rules < RULES:
        raise RulesError(
            "{whose} is of rules {rules}, of an earlier version of fedcohort, and this one computes by rules "
            "{mine}; upgrade coordinator and nodes, then submit the study under a new name",
            whose=whose,
            rules=rules,
            mine=RULES,
        )
    if rules > RULES:
        raise RulesError(
            "{whose} is of rules {rules}, of a later version of fedcohort, and this one computes by rules "
            "{mine}; upgrade it",
            whose=whose,
            rules=rules,
            mine=RULES,
        )
