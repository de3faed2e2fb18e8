"""What is said of a curve whose times the rules have put together does not claim more than is known."""

from typing import Any

import numpy as np
import pandas as pd

import fedcohort as fc
from fedcohort.analyses.curves_told import value_at
from fedcohort.analyses.figures import figures_of
from fedcohort.analyses.survival.disclosed import ShownGroup
from fedcohort.figures import Value


def test_a_median_within_a_window_is_between_its_ends() -> None:
    grid = np.arange(10.0, 70.0, 10.0)
    counts = np.zeros((7, 2))
    counts[0, 1], counts[5, 1], counts[6, 0] = 20.0, 60.0, 20.0  # at 10, from 10 to 60, and beyond
    told = ShownGroup(grid, counts, np.array([0, 5]), 80.0).report()
    assert told["median"] is None
    assert told["median_low"] == 10.0
    assert told["median_high"] == 60.0


def test_a_median_at_a_time_that_is_shown_by_itself_is_told() -> None:
    grid = np.array([10.0, 20.0])
    counts = np.array([[0.0, 30.0], [0.0, 40.0], [30.0, 0.0]])
    assert ShownGroup(grid, counts, np.array([0, 1]), 70.0).report()["median"] == 20.0


def test_survival_within_a_window_is_between_the_intervals_at_its_ends() -> None:
    """Thirty leave by the first time, four by the second, forty by the third."""
    times = np.repeat([5.0, 15.0, 25.0, 99.0], [30, 4, 40, 30])
    frame = pd.DataFrame(
        {"patient_id": np.arange(104).astype(str), "t": times, "e": (times < 90).astype(int)}
    )
    cohort = fc.Cohort(columns={"x": fc.Numeric(0, 1)}, label=fc.Survival("t", "e"), split=None)
    study = fc.Study(name="s", cohort=cohort, analysis=fc.KaplanMeier(grid=[10.0, 20.0, 30.0], at=[20.0]))
    sites = {"a": frame.iloc[::2].assign(x=0.5), "b": frame.iloc[1::2].assign(x=0.5)}
    result = fc.simulate(sites, disclosure=fc.Disclosure()).run(study, progress=False)
    report: Any = result.report
    group = report["survival"]["groups"]["all"]
    assert group["survival"][1] is None
    table: Any = next(f for f in figures_of(study.model_dump(mode="json"), report) if f.name == "groups")
    cell = table.rows[0].cells[-1]
    assert (cell.number, cell.low, cell.high) == (None, group["low"][2], group["high"][0])


def test_a_rising_curve_within_a_window_lies_between_the_intervals_around_it() -> None:
    curve, low, high = [0.2, None, 0.5], [0.1, None, 0.4], [0.3, None, 0.6]
    assert value_at(curve, low, high, 1, start=0.0) == Value(None, 0.1, 0.6)
    assert value_at([None], [None], [None], 0, start=0.0) == Value(None, 0.0, 1.0)
    assert value_at([None], [None], [None], 0, start=1.0) == Value(None, 0.0, 1.0)
