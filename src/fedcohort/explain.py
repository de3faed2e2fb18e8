"""A study in plain words: what is asked, what leaves, when, and how it is protected."""

import math
from collections.abc import Mapping, Sequence

from fedcohort.columns import Binary, Categorical, Classes, Holdout, Image, Number, Numeric
from fedcohort.expect import PATIENTS, SITES, expected
from fedcohort.protection.context import majority
from fedcohort.protection.words import WORDS
from fedcohort.study import Cohort, Describe, Evaluate, Privacy, Study, Survival, Train
from fedcohort.wire.identity import fingerprint


def explain(
    study: Study,
    researcher: str | None = None,
    researcher_key: bytes | None = None,
    units: Mapping[str, str] | None = None,
    *,
    filled: Cohort | None = None,
    sites: int = SITES,
    patients: Sequence[int] = PATIENTS,
) -> str:
    """What a hospital agrees to when it approves this study.

    Args:
        units: by column, what the hospital that reads this declares; a study's own come first.
        filled: the study's cohort with what that hospital declares, where the study says nothing.
        sites, patients: for which the results of a private study are foreseen (`expect`).
    Returns:
        lines of text for a clinician or a data-protection officer.
    """
    lines = [f"Study: {study.name}", f"Hash:  {study.hash}"]
    if researcher is not None and researcher_key is not None:
        lines.append(f"Asked by: {researcher} (key {fingerprint(researcher_key)})")
    lines += ["", "What is asked", *(f"  {line}" for line in _question(study))]
    lines += [
        "",
        "Which patients and columns",
        *(f"  {line}" for line in _cohort(study, units or {}, filled or study.cohort)),
    ]
    lines += ["", "What leaves the hospital", *(f"  {line}" for line in _releases(study))]
    lines += ["", "How it is protected", *(f"  {line}" for line in _protection(study))]
    whole = study if filled is None else study.model_copy(update={"cohort": filled})
    if whole.cohort.is_explicit and (found := expected(whole, sites, patients)):
        lines += ["", "What to expect", *(f"  {line}" for line in found)]
    return "\n".join(lines)


def _question(study: Study) -> list[str]:
    match study.analysis:
        case Describe():
            return ["Counts, mean, deviation, and histogram or levels of each column, over all hospitals."]
        case Train() as train:
            model = train.model if isinstance(train.model, str) else "the researcher's own Keras model"
            steps = (
                f"{train.local_epochs} pass(es) over its rows"
                if train.algorithm == "fedavg"
                else "one gradient"
            )
            begins = ["Training begins with weights that the study brings."] if train.weights else []
            return [
                f"Train a model ({model}) in {train.rounds} rounds by {train.algorithm}.",
                *begins,
                f"In each round the hospital computes {steps}, in batches of {train.batch_size}.",
            ]
        case Evaluate():
            return ["Measure a trained model, which is part of the study, on the hospital's patients."]


def _cohort(study: Study, units: Mapping[str, str], filled: Cohort) -> list[str]:
    cohort = study.cohort
    lines = [
        f"Table {cohort.table}; rows where {cohort.where}."
        if cohort.where
        else f"Table {cohort.table}; all rows."
    ]
    for name, own in cohort.schema_.items():
        said = isinstance(cohort.columns, dict) or name in cohort.bounds
        kind = own if said else filled.schema_[name] if filled.is_explicit else None
        if kind is None:
            lines.append(
                f"{name}: what the hospitals declare of it, which the study takes when it is handed in"
            )
        elif isinstance(kind, Categorical):
            lines.append(f"{name}: one of {', '.join(str(level) for level in kind.levels)}")
        elif isinstance(kind, Image):
            colour = "in colour" if kind.channels == 3 else "grey"
            lines.append(f"{name}: an image of {kind.height} x {kind.width} pixels, {colour}")
        elif kind.bounds:
            unit = f" {kind.unit or units[name]}" if kind.unit or name in units else ""
            lines.append(f"{name}: a number from {kind.bounds[0]:g} to {kind.bounds[1]:g}{unit}")
        else:
            here = f", in {units[name]} here" if name in units else ""
            unit = f", in {kind.unit}" if kind.unit else here
            lines.append(f"{name}: a number without declared bounds{unit}")
    lines += _label(filled, units)
    if isinstance(study.analysis, Describe):
        return lines
    if isinstance(cohort.split, Holdout):
        lines.append(f"{cohort.split.fraction:.0%} of the patients are held out for testing.")
    elif cohort.split:
        lines.append(f"The column {cohort.split} says who is held out for testing.")
    return lines


def _label(cohort: Cohort, units: Mapping[str, str]) -> list[str]:
    lines = [f"Label: {', '.join(cohort.label_columns)}"] if cohort.label_columns else []
    match cohort.label:
        case Binary(positive=positive, negative=negative):
            lines.append(f"Counts as yes: {positive}; as no: {negative}")
        case Classes(levels=levels):
            lines.append(f"Its classes: {', '.join(str(level) for level in levels)}")
        case Number(column=column, low=low, high=high, unit=own):
            unit = f" {own or units[column]}" if own or column in units else ""
            lines.append(f"It is a number from {low:g} to {high:g}{unit}")
    return lines


def _releases(study: Study) -> list[str]:
    always = "Never a row: each release is one vector of sums over this hospital's patients."
    if study.privacy is not None and isinstance(study.analysis, Train):
        return [always, *_private_releases(study, study.analysis, study.privacy)]
    match study.analysis:
        case Describe() if study.privacy is not None:
            rows = study.privacy.rows_per_patient
            return [
                always,
                "Once, all with noise: how many patients there are; for each number how many are known, a",
                "  sum, a sum of squares, and how many lie in each tenth of its range; for each level how",
                "  many have it.",
                f"A patient counts with {_rows(rows)}; a value beyond its bounds counts as the bound.",
                *_noise_of_bounds(study),
            ]
        case Describe():
            return [always, *_described(study), *_images(study)]
        case Train() as train:
            lines = [
                always,
                "Once: rows by split; for each number count, sum and sum of squares over the training rows.",
                f"{train.rounds} times: the change of the model's weights, times the hospital's share;",
                f"  with it the number of training rows and, by split, {_measured(study)}.",
                "At the end, once more, for the finished model:",
            ]
            return [*lines, *_evaluated(study, train.importance)]
        case Evaluate() as evaluation if study.privacy is not None:
            hidden = ["  of held-out patients the same with each column hidden;"]
            return [
                always,
                "Once, for the model in the study, all with noise:",
                "  by split, patients by outcome and score, or by how far the model is off;",
                *(hidden if evaluation.importance else []),
                "  a patient counts with one row; a value beyond its bounds counts as the bound.",
            ]
        case Evaluate() as evaluation:
            first = (
                "First: rows of the measured split by score and outcome, to place finer parts of the scores."
            )
            scored = [] if isinstance(study.cohort.label, Number) else [first]
            once = "Once, for the model in the study:"
            return [always, *scored, once, *_evaluated(study, evaluation.importance)]


def _private_releases(study: Study, train: Train, privacy: Privacy) -> list[str]:
    rows = _rows(privacy.rows_per_patient)
    if train.algorithm == "fedavg":
        learned = [
            f"{train.rounds} times: where the model's weights went in steps taken at this hospital, each of",
            "  them from a random sample of patients, with noise in every step;",
        ]
    else:
        learned = [f"{train.rounds} times: a sum of the patients' gradients, with noise;"]
    lines = [
        "Once: the number of patients to learn from, with noise.",
        *learned,
        f"  a patient counts with {rows} and at most {privacy.clip:g} (L2 norm); a value beyond its declared "
        "bounds counts as the bound.",
        *(_SCALED_BY_BOUNDS if any(isinstance(k, Numeric) for k in study.cohort.schema_.values()) else []),
    ]
    if study.cohort.split is None:
        return [*lines, "No patient is held out, so that nothing is measured."]
    every = f"Every {privacy.evaluate_every} rounds and at the end"
    lines.append(f"{every}: held-out patients by outcome and score, with noise.")
    importance = "At the end, for each column: the same counts with that column hidden, with noise."
    return [*lines, importance] if train.importance else lines


_SCALED_BY_BOUNDS = [
    "A number is scaled by its declared bounds, not by its deviation: where they are much wider than the",
    "  values, the model learns less from it.",
]


def _rows(most: int) -> str:
    return "one row" if most == 1 else f"at most {most} rows"


def _measured(study: Study) -> str:
    if isinstance(study.cohort.label, Number):
        return "rows, sums of squared and absolute errors, sum and sum of squares of the label"
    return "the sum of losses, correct rows, and rows by score and outcome"


def _evaluated(study: Study, importance: bool) -> list[str]:
    lines = [f"  by split, {_measured(study)};"]
    match study.cohort.typed_label:
        case Binary():
            lines.append("  rows by predicted and true class, and by calibration bin with the sum of scores;")
            shuffled = "  for each column the loss, and rows by score and outcome, after shuffling it;"
        case Classes():
            lines.append("  rows by predicted and true class;")
            shuffled = "  for each column the loss after shuffling it;"
        case _:
            shuffled = "  for each column the loss after shuffling it;"
    lines += [shuffled] if importance else []
    return [*lines[:-1], lines[-1].removesuffix(";") + "."]


def _images(study: Study) -> list[str]:
    images = [name for name, kind in study.cohort.schema_.items() if isinstance(kind, Image)]
    return [f"Nothing of {', '.join(images)}: images are not described."] if images else []


def _described(study: Study) -> list[str]:
    lines = ["Once: how many rows and patients there are;"]
    kinds = study.cohort.schema_.values()
    survival = isinstance(study.cohort.label, Survival)
    if not survival and all(kind.bounds for kind in kinds if isinstance(kind, Numeric)):
        return [
            *lines,
            "  for each number how many are known, a sum, a sum of squares, and how many lie in each",
            "  twentieth of its range; or a count for each level.",
        ]
    return [
        *lines,
        "  for each number how many are known, a sum and a sum of squares; or a count for each level.",
        "Then once: for each number how many lie in each twentieth of its range; of a number without",
        "  declared bounds the range lies about the mean of all hospitals, and how many lie beyond it is",
        "  told too.",
    ]


def _noise_of_bounds(study: Study) -> list[str]:
    """Only of numbers: a mean's and deviation's noise is a share of what the bounds allow."""
    if not any(isinstance(kind, Numeric) for kind in study.cohort.schema_.values()):
        return []
    return [
        "The noise on a number goes with its declared bounds: bounds ten times as wide make its mean and",
        "  deviation ten times as uncertain.",
    ]


def _protection(study: Study) -> list[str]:
    lines = [f"Protection: {study.protection}.", *protection_words(study)]
    lines += privacy_words(study)
    return [*lines, f"At least {study.min_sites} hospitals take part, or the round has no result."]


def protection_words(study: Study, n_sites: int | None = None) -> list[str]:
    """What the study's protection hides from whom, and on what that rests (docs/threat-model.md).

    Args:
        n_sites: of the roster, where it is known.
    """
    words = WORDS[study.protection]
    if not words.hides:
        return ["The coordinator sees this hospital's vector, not only the sum."]
    quorum = "more than half of the hospitals" if n_sites is None else _quorum(study, n_sites)
    lines = [
        "The coordinator sees only the sum over the hospitals, never this hospital's vector.",
        words.rests_on.format(colluders=study.colluders, quorum=quorum),
    ]
    if n_sites is None or n_sites == 2:
        lines.append(
            "With two hospitals each can subtract its own part from the sum, whatever the protection."
        )
    return lines


def privacy_words(study: Study, n_sites: int | None = None) -> list[str]:
    """What differential privacy promises a patient, and on whose noise that rests (docs/privacy.md).

    Args:
        n_sites: of the roster, where it is known.
    """
    privacy = study.privacy
    if privacy is None:
        exact = (
            "No differential privacy: the results are exact, and may tell something about single patients."
        )
        return [exact, *([_READABLE] if isinstance(study.analysis, Train) else [])]
    rows = _rows(privacy.rows_per_patient)
    lines = [
        f"Differential privacy: epsilon {privacy.epsilon:g}, delta {privacy.delta:g}, for all that the study "
        f"releases. Any one patient's data, which count with {rows}, make an outcome "
        f"{_times_as_likely(privacy.epsilon)}, but for a chance of {privacy.delta:g}.",
        _counted_at(privacy.sites_per_patient),
        *_tested(privacy),
        "Not hidden: that this hospital takes part, and how long it computes, unless its site.toml sets "
        "answer_slot.",
    ]
    if not study.shares_noise:
        return [*lines, "Each hospital adds all of the noise itself and need not trust anybody for it."]
    lines.append(
        f"The hospitals add the noise in shares: the promise holds as long as no more than {study.colluders} "
        f"of them tell their share, and {_lost(privacy.dropouts)} lost in a round."
    )
    if n_sites == 2:
        lines.append("With two hospitals a share is as much noise as each would add alone.")
    return lines


def _lost(most: int) -> str:
    return "none of them is" if most == 0 else f"no more than {most} of them are"


_READABLE = (
    "Who chooses the weights of a model in training can read whole records of patients out of a sum, though "
    "not whose they are: this study trusts the coordinator not to, or needs [privacy]."
)


def _tested(privacy: Privacy) -> list[str]:
    if not privacy.cohort_test:
        return []
    return [
        "A hospital may test once, with noise of its own, whether it has enough patients: "
        f"{privacy.cohort_test:.0%} of epsilon is kept for that."
    ]


def _counted_at(sites: int) -> str:
    if sites == 1:
        return "A patient counts at one hospital: whoever has data at two of them is promised less."
    return f"A patient counts at up to {sites} hospitals: the promise holds for whoever has data at so many."


def _times_as_likely(epsilon: float) -> str:
    """What an epsilon means; one beyond 10 hardly means anything."""
    if epsilon <= 10:
        return f"at most {math.exp(epsilon):.{3 if epsilon < 0.1 else 1}f} times as likely"
    return "more than 20,000 times as likely, which is next to no promise"


def _quorum(study: Study, n_sites: int) -> str:
    return f"{max(study.min_sites, majority(n_sites, study.colluders))} of {n_sites} hospitals"
