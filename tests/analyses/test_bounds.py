"""No analysis takes a value outside the declared bounds, whatever split its row is in."""

import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.errors import FedcohortError

from .support import FRAMES, run, study


@pytest.fixture(scope="module")
def analyses() -> dict[str, fc.Describe | fc.Train | fc.Evaluate]:
    train = fc.Train(model="logistic", rounds=1, importance=False)
    return {"describe": fc.Describe(), "train": train, "evaluate": fc.Evaluate(model=run(study(train)))}


def with_an_age_of(age: float, split: str) -> dict[str, pd.DataFrame]:
    """One patient of hospital b, of this split, is given this age."""
    frame = FRAMES["b"].copy()
    frame.loc[frame.index[frame["set"] == split][0], "age"] = age
    return {**FRAMES, "b": frame}


@pytest.mark.training
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", ["describe", "train", "evaluate"])
def test_a_value_outside_is_refused(
    analyses: dict[str, fc.Describe | fc.Train | fc.Evaluate], kind: str, split: str
) -> None:
    with pytest.raises(FedcohortError, match=r"value-out-of-range|age: a value lies outside"):
        run(study(analyses[kind]), with_an_age_of(101.0, split))


@pytest.mark.training
@pytest.mark.parametrize("kind", ["describe", "train", "evaluate"])
def test_a_value_on_the_bound_is_inside(
    analyses: dict[str, fc.Describe | fc.Train | fc.Evaluate], kind: str
) -> None:
    assert run(study(analyses[kind]), with_an_age_of(100.0, "test")).report
