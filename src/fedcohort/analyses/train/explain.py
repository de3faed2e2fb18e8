"""What a training says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.sentences import evaluated, expected_metric, measured, numbers_of, rows_of
from fedcohort.analyses.train.question import Train
from fedcohort.analyses.train.stages import TrainAnalysis
from fedcohort.study import Privacy, Study
from fedcohort.texts import Text, say


def asked(study: Study, train: Train) -> list[Text]:
    """The question."""
    asked = {"rounds": train.rounds, "algorithm": train.algorithm}
    lines = [
        say("Train a model ({model}) in {rounds} rounds by {algorithm}.", model=train.model, **asked)
        if isinstance(train.model, str)
        else say(
            "Train a model (the researcher's own Keras model) in {rounds} rounds by {algorithm}.", **asked
        )
    ]
    if train.weights:
        lines.append(say("Training begins with weights that the study brings."))
    size = train.batch_size
    if train.algorithm == "fedavg":
        each = "In each round the hospital computes {passes} pass(es) over its rows, in batches of {size}."
        lines.append(say(each, passes=train.local_epochs, size=size))
    else:
        lines.append(
            say("In each round the hospital computes one gradient, in batches of {size}.", size=size)
        )
    return lines


def released(study: Study, train: Train) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        return _private_train_released(study, train, study.privacy)
    return [
        say("Once: rows by split; for each number count, sum and sum of squares over the training rows."),
        say(
            "{rounds} times: the change of the model's weights, times the hospital's share; with it the "
            "number of training rows and, by split, {measured}.",
            rounds=train.rounds,
            measured=measured(study),
        ),
        say(
            "At the end, once more, for the finished model: {parts}.",
            parts=evaluated(study, train.importance),
        ),
    ]


def _private_train_released(study: Study, train: Train, privacy: Privacy) -> list[Text]:
    counts = {
        "rounds": train.rounds, "rows": rows_of(privacy.rows_per_patient), "clip": privacy.clip,
    }  # fmt: skip
    lines = [
        say("Once: the number of patients to learn from, with noise."),
        say(
            "{rounds} times: where the model's weights went in steps taken at this hospital, each of them "
            "from a random sample of patients, with noise in every step; a patient counts with {rows} and at "
            "most {clip:g} (L2 norm); a value beyond its declared bounds counts as the bound.",
            **counts,
        )
        if train.algorithm == "fedavg"
        else say(
            "{rounds} times: a sum of the patients' gradients, with noise; a patient counts with {rows} and "
            "at most {clip:g} (L2 norm); a value beyond its declared bounds counts as the bound.",
            **counts,
        ),
    ]
    if numbers_of(study):
        lines.append(
            say(
                "A number is scaled by its declared bounds, not by its deviation: where they are much wider "
                "than the values, the model learns less from it."
            )
        )
    if study.cohort.split is None:
        return [*lines, say("No patient is held out, so that nothing is measured.")]
    template = "Every {n} rounds and at the end: held-out patients by outcome and score, with noise."
    lines.append(say(template, n=privacy.evaluate_every))
    if train.importance:
        lines.append(say("At the end, for each column: the same counts with that column hidden, with noise."))
    return lines


def expected(study: Study, analysis: TrainAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well the model's metric will be known."""
    if analysis.evaluation is None:
        return say("No patient is held out, so that nobody will know how good the model is.")
    return expected_metric(study, analysis.evaluation, patients, sigma)
