"""A site's imputed data sets: what is filled in follows from the parameters that a round's state carries.

Columns of an imputation model are the cohort's as they stand: numbers, standardised by what is observed
over all hospitals, or their logarithms where the formula reads those, and indicators of levels. A process
that has just started fills in from the first cycle on; one that has worked before goes on from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import State
from fedcohort.analyses.formula.words import Log
from fedcohort.analyses.impute.draws import Keys, keys_of, normals, uniforms
from fedcohort.analyses.impute.multinomial import shares_of
from fedcohort.analyses.impute.question import Impute
from fedcohort.analyses.rows import Rows
from fedcohort.columns import Categorical, Column
from fedcohort.errors import WireError
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.vector import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Base:
    """A column of imputation models.

    Attributes:
        level: of which level it is the indicator; None: it is a number.
        log: the number's logarithm.
        hazard: the cumulative hazard at this time.
    """

    name: str
    level: int | None = None
    log: bool = False
    hazard: bool = False

    def of(self, values: Floats) -> Floats:
        """Its values by the cohort's column; NaN where that has none."""
        if self.hazard:
            return np.where(values >= 0, values, np.nan)
        if self.level is not None:
            return np.where(np.isnan(values), np.nan, values == self.level)
        if not self.log:
            return values
        return np.log(values, out=np.full(len(values), np.nan), where=values > 0)


@dataclass(frozen=True)
class Target:
    """A column that is filled in.

    Attributes:
        places: of its numbers among those of the models: one, or one of each level but the first.
    """

    name: str
    places: tuple[int, ...]
    is_number: bool

    @property
    def n_levels(self) -> int:
        """Of a column of levels."""
        return len(self.places) + 1

    @property
    def index(self) -> NDArray[np.int64]:
        """The places."""
        return np.array(self.places, np.int64)

    def n_coefficients(self, k: int) -> int:
        """Of its model: of each level but the first, an intercept and all numbers but its own."""
        return len(self.places) * (k - len(self.places) + 1)

    def chosen(self, uniform: Floats, shares: Floats) -> Floats:
        """(n, places): the level that a number between 0 and 1 picks, as indicators.

        Args:
            shares: (n, places) or (places,) of each level but the first.
        """
        ends = np.cumsum(np.broadcast_to(shares, (len(uniform), len(self.places))), axis=1)
        begins = np.concatenate([np.zeros((len(uniform), 1)), ends[:, :-1]], axis=1)
        drawn = uniform[:, None]
        return ((begins <= drawn) & (drawn < ends)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Imputation:
    """The question over a cohort whose columns are known.

    Attributes:
        counts: whether the outcome is a count, so that a row of a negative one is left out.
    """

    cohort: Cohort
    question: Impute
    seed: int
    counts: bool = False

    def stratum(self, table: Table) -> NDArray[np.int64]:
        """(n,): rows that are compared with each other in a Cox regression; all of a hospital."""
        return np.zeros(table.n_rows, np.int64)

    @cached_property
    def base(self) -> tuple[Base, ...]:
        """The outcome, the columns of the formula, and those that only help to fill in."""
        question, kinds = self.question, self.cohort.every_column
        outcomes = question.outcomes(self.cohort.label)
        names = dict.fromkeys((*outcomes, *question.formula.columns, *question.columns))
        logs = {f.column for term in question.formula.terms for f in term.factors if isinstance(f, Log)}
        made = []
        for name in names:
            if question.is_cox and name == outcomes[-1]:
                made.append(Base(name, hazard=True))
            else:
                made += _base_of(name, kinds[name], name in logs)
        return tuple(made)

    @property
    def k(self) -> int:
        """Coefficients of an imputation model: an intercept, and all columns but one."""
        return len(self.base)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """The columns that are filled in."""
        made = []
        for name in self.question.columns:
            places = tuple(place for place, one in enumerate(self.base) if one.name == name)
            made.append(Target(name, places, self.base[places[0]].level is None))
        return tuple(made)

    @property
    def width(self) -> int:
        """Numbers that are drawn for a model at most: its coefficients, and the deviation of a number."""
        return 1 + max(target.n_coefficients(self.k) for target in self.targets)

    @property
    def is_number(self) -> NDArray[np.bool_]:
        """(k,)."""
        return np.array([one.level is None for one in self.base])

    @property
    def n_steps(self) -> int:
        """Imputation models of a data set."""
        return self.question.cycles * len(self.targets)

    def target_at(self, step: int) -> Target:
        """The column that a step fills in."""
        return self.targets[step % len(self.targets)]


def _base_of(name: str, kind: Column, log: bool) -> list[Base]:
    if isinstance(kind, Categorical):
        return [Base(name, level) for level in range(1, len(kind.levels))]
    return [Base(name, log=log)]


@dataclass(frozen=True, eq=False)
class Usable:
    """A site's rows that lack nothing but what is filled in.

    Attributes:
        values: (n, k) of the models' columns, NaN where one is to be filled in.
        n_left_out: rows that lack something else.
        keys: (n,), by which a row's numbers are drawn.
    """

    table: Table
    values: Floats
    n_left_out: int
    keys: Keys

    @cached_property
    def missing(self) -> Mask:
        """(n, k)."""
        return np.isnan(self.values)


def usable(imputation: Imputation, rows: Rows) -> Usable:
    """Made once a study and site."""
    return rows.once("usable rows of an imputation", lambda: _usable(imputation, rows))


def _usable(imputation: Imputation, rows: Rows) -> Usable:
    cohort, question = imputation.cohort, imputation.question
    # Of survival a patient counts with one row.
    table = _chosen(rows.table, rows.patients("all")) if question.is_cox else rows.table
    values = np.empty((table.n_rows, imputation.k))
    there = np.ones(table.n_rows, bool)
    for place, one in enumerate(imputation.base):
        raw = values_of(table, cohort, one.name)
        values[:, place] = one.of(raw)
        # A number that has no logarithm is known all the same: it is not filled in.
        fillable = np.isnan(raw) if one.name in question.columns else np.zeros(len(raw), bool)
        there &= np.isfinite(values[:, place]) | fillable
    if imputation.counts:
        there &= np.nan_to_num(values_of(table, cohort, question.outcome), nan=-1.0) >= 0
    kept, values = _chosen(table, np.flatnonzero(there)), values[there]
    for place, one in enumerate(imputation.base):
        if one.hazard and kept.event is not None:
            values[:, place] = nelson_aalen(values[:, place], kept.event, imputation.stratum(kept))
    return Usable(kept, values, int((~there).sum()), keys_of(table.patient_ids)[there])


def _chosen(table: Table, index: NDArray[np.int64]) -> Table:
    """Some rows, without images."""
    return replace(
        table,
        patient_ids=table.patient_ids[index],
        columns={name: column[index] for name, column in table.columns.items()},
        split=table.split[index],
        label=None if table.label is None else table.label[index],
        event=None if table.event is None else table.event[index],
        images={},
    )


def nelson_aalen(time: Floats, event: Floats, stratum: NDArray[np.int64]) -> Floats:
    """(n,): the cumulative hazard of each row's stratum at its time (Nelson 1972; Aalen 1978).

    With the event it is how an imputation model knows of survival (White and Royston 2009, Stat Med 28:1982).
    """
    hazard = np.zeros(len(time))
    for one in np.unique(stratum).tolist():
        mine = stratum == one
        times, place = np.unique(time[mine], return_inverse=True)
        leaving = np.bincount(place, minlength=len(times))
        at_risk = np.flip(np.flip(leaving).cumsum())
        hazard[mine] = np.cumsum(np.bincount(place, event[mine], len(times)) / at_risk)[place]
    return hazard


@dataclass(eq=False)
class Chains:
    """The data sets as far as they have come.

    Attributes:
        z: (m, n, k) standardised, filled in.
        parameters: by which they were filled in.
    """

    z: Floats
    parameters: Floats


def chains(imputation: Imputation, rows: Rows, state: State, n_steps: int) -> Chains:
    """The data sets after so many steps, from where this process last was, or from the beginning.

    Raises:
        WireError: the coordinator has sent something else than the parameters of so many steps.
    """
    parameters, scaling = asked_of(imputation, state, n_steps)
    asked = b"".join(array.tobytes() for array in scaling.values())
    made = rows.latest(
        "imputed data sets", asked, lambda: _begun(imputation, usable(imputation, rows), scaling)
    )
    done = len(made.parameters)
    if done > n_steps or not np.array_equal(made.parameters, parameters[:done]):
        begun = _begun(imputation, usable(imputation, rows), scaling)
        made.z, made.parameters, done = begun.z, begun.parameters, 0
    for step in range(done, n_steps):
        _fill(imputation, usable(imputation, rows), made.z, step, parameters[step])
    made.parameters = parameters
    return made


def asked_of(imputation: Imputation, state: State, n_steps: int) -> tuple[Floats, Mapping[str, Floats]]:
    """The parameters (n_steps, m, width), and mean and scale of each column.

    Raises:
        WireError: they are not there, or no numbers.
    """
    m, k, width = imputation.question.m, imputation.k, imputation.width
    empty = np.zeros((0, m, width))
    parameters = _numbers(state.arrays, "parameters", (n_steps, m, width)) if n_steps else empty
    scaling = {name: _numbers(state.arrays, name, (k,)) for name in ("mean", "scale")}
    if not (scaling["scale"] > 0).all():
        raise WireError("a state whose scaling is no number")
    return parameters, scaling


def _numbers(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Floats:
    found = np.asarray(arrays.get(name, ()), np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise WireError("a state without the parameters of each imputation model")
    return found


def _begun(imputation: Imputation, ours: Usable, scaling: Mapping[str, Floats]) -> Chains:
    """Missing values drawn as if nothing else were known of their patients."""
    m, mean, number = imputation.question.m, scaling["mean"], imputation.is_number
    standard = np.where(number, (ours.values - mean) / scaling["scale"], ours.values)
    z = np.repeat(standard[None], m, axis=0)
    for target in imputation.targets:
        places = target.index
        gone = np.flatnonzero(ours.missing[:, places[0]])
        for data_set in range(m):
            purpose = f"begin|{places[0]}|{data_set}"
            if target.is_number:
                z[data_set, gone, places[0]] = normals(ours.keys[gone], imputation.seed, purpose)
            else:
                drawn = uniforms(ours.keys[gone], imputation.seed, purpose)
                z[data_set][np.ix_(gone, places)] = target.chosen(drawn, mean[places])
    return Chains(z, np.zeros((0, m, imputation.width)))


def _fill(imputation: Imputation, ours: Usable, z: Floats, step: int, parameters: Floats) -> None:
    """One column's missing values, in each data set, by the parameters that were drawn for it."""
    target = imputation.target_at(step)
    places, n = target.index, target.n_coefficients(imputation.k)
    gone = np.flatnonzero(ours.missing[:, places[0]])
    for data_set, drawn in enumerate(parameters):
        x = design(z[data_set, gone], target.places)
        eta = x @ drawn[:n].reshape(len(places), -1).T
        purpose = f"{step}|{data_set}"
        if target.is_number:
            values = eta[:, 0] + drawn[n] * normals(ours.keys[gone], imputation.seed, purpose)
            z[data_set, gone, places[0]] = values
        else:
            uniform = uniforms(ours.keys[gone], imputation.seed, purpose)
            z[data_set][np.ix_(gone, places)] = target.chosen(uniform, shares_of(eta))


def design(z: Floats, places: tuple[int, ...]) -> Floats:
    """(n, …): 1, and all numbers but those of the column that is explained."""
    return np.column_stack([np.ones(len(z)), np.delete(z, places, axis=1)])


def filled_table(imputation: Imputation, ours: Usable, z: Floats, mean: Floats, scale: Floats) -> Table:
    """One data set in the columns' own units; what was observed stays as it is."""
    columns = dict(ours.table.columns)
    for target in imputation.targets:
        place = target.places[0]
        one, gone = imputation.base[place], ours.missing[:, place]
        if target.is_number:
            values = z[gone, place] * scale[place] + mean[place]
            values = np.exp(np.clip(values, -700, 700)) if one.log else values
        else:
            values = z[gone][:, target.index] @ np.arange(1.0, target.n_levels)
        whole = columns[target.name].copy()
        whole[gone] = values
        columns[target.name] = whole
    return replace(ours.table, columns=columns)
