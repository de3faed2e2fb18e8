"""A study's metrics as lists by round, for `/training_metrics`."""

from fedcohort.known import METRICS

Lists = dict[str, object]


def training_metrics(body: dict[str, object]) -> Lists:
    """The rows of one split as one list a metric, in the order of rounds; what is not known is None.

    Args:
        body: the coordinator's answer, {"rows": [{"round", "split", "loss", …}, …]}.
    Returns:
        `split` is test when the study has one; of a round that came twice the last counts.
    """
    given = body.get("rows")
    rows = [row for row in given if is_row(row)] if isinstance(given, list) else []
    splits = {str(row["split"]) for row in rows}
    split = next((name for name in ("test", "train") if name in splits), min(splits, default=None))
    by_round = {row["round"]: row for row in rows if row["split"] == split}
    rounds = sorted(by_round)
    return {
        "split": split,
        "round": rounds,
        **{name: [by_round[number].get(name) for number in rounds] for name in METRICS},
    }


def is_row(row: object) -> bool:
    """Whether this is a round's metrics of one split."""
    return isinstance(row, dict) and isinstance(row.get("round"), int) and isinstance(row.get("split"), str)
