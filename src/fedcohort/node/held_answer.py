"""A held answer as a person reads it: blocks, cells and values, and what the rules would hide of it alone.

The values are decoded from the very integers that leave when the answer is let go.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis, State, Sums
from fedcohort.disclosure.cells import small
from fedcohort.disclosure.rules import Disclosure, strictest
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.errors import NotFoundError
from fedcohort.node.airlock import Held
from fedcohort.node.readiness_words import Line
from fedcohort.node.store import SqlNodeStore
from fedcohort.protection.fixed_point import from_ring, ring_from_bytes, shape_from_text
from fedcohort.study import Study, parse_study
from fedcohort.texts import say
from fedcohort.vector import Array, Block

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""The beginnings of names that a spreadsheet would execute (OWASP, "CSV Injection")."""


@dataclass(frozen=True)
class ShownBlock:
    """One block of an answer.

    Attributes:
        shape: by axis, how many cells; of one number (1,).
        is_count: its values are counts of patients or rows.
        few: the cells that hold from 1 to below `min_cell`.
    """

    name: str
    shape: tuple[int, ...]
    is_count: bool
    values: Array = field(repr=False)
    few: frozenset[int]

    def cells(self) -> Iterator[tuple[str, str, bool]]:
        """Each cell's place by axis, its value with all digits, and whether few are in it."""
        for place, value in enumerate(self.values.reshape(-1).tolist()):
            axes = ", ".join(str(axis) for axis in np.unravel_index(place, self.shape))
            yield axes, f"{value:.0f}" if value.is_integer() else repr(value), place in self.few


@dataclass(frozen=True)
class HeldAnswer:
    """An answer of one round, and the rules' verdicts on it.

    Attributes:
        rules: of this hospital and the study, the stricter.
    """

    study: Study
    held: Held
    n_rounds: int
    rules: Disclosure
    blocks: tuple[ShownBlock, ...]
    verdicts: tuple[Line, ...]

    @property
    def n_values(self) -> int:
        """How many numbers leave."""
        return sum(block.values.size for block in self.blocks)


def read_held(store: SqlNodeStore, held: Held, rules: Disclosure) -> HeldAnswer:
    """A held answer with the study that it is of.

    Raises:
        NotFoundError: the study was never proposed here.
    """
    proposal = store.proposal(held.stored.study_hash)
    if proposal is None:
        raise NotFoundError("no study {hash} was proposed to this site", hash=held.stored.study_hash[:12])
    return held_answer(parse_study(proposal.study), held, rules)


def held_answer(study: Study, held: Held, rules: Disclosure) -> HeldAnswer:
    """Decode an answer and judge it by the rules, as if it were the sum of all hospitals.

    Args:
        rules: of site.toml.
    """
    analysis = build_analysis(study)
    stage = analysis.stage_at(held.stored.round)
    blocks = () if stage is None else stage.blocks
    state = State("" if stage is None else stage.name, held.stored.round)
    shape = shape_from_text(held.stored.shape)
    ring = ring_from_bytes(held.stored.integers, shape.sizes)
    values = from_ring(analysis.layout(state), ring, shape.n_sites)
    strict = strictest([rules, *([] if study.disclosure is None else [study.disclosure])])
    shown = tuple(_shown(block, values[block.name], strict) for block in blocks)
    verdicts = tuple(_verdicts(analysis, held.stored.round, Sums(values), shown, strict))
    return HeldAnswer(study, held, analysis.n_rounds, strict, shown, verdicts)


def _shown(block: Block, values: Array, rules: Disclosure) -> ShownBlock:
    few = np.flatnonzero(small(values.reshape(-1), rules.min_cell)) if block.cells else ()
    return ShownBlock(block.name, block.shape or (1,), block.cells, values, frozenset(map(int, few)))


def _verdicts(
    analysis: Analysis, number: int, sums: Sums, shown: tuple[ShownBlock, ...], rules: Disclosure
) -> Iterator[Line]:
    lines = [*_few_lines(shown, rules)]
    if number == 0:
        lines += _judged(analysis.under(rules), sums, rules)
    nothing = say("of this hospital alone they would hide nothing here")
    yield from lines or [Line(say("rules of disclosure"), "ready", nothing, "")]


def _few_lines(shown: tuple[ShownBlock, ...], rules: Disclosure) -> Iterator[Line]:
    for block in shown:
        if block.few:
            found = say(
                "counts from 1 to below min_cell = {least}: {n} of {all}",
                n=len(block.few),
                all=block.values.size,
                least=rules.min_cell,
            )
            yield Line(say("block {name}", name=block.name), "warning", found, "")


def _judged(analysis: Analysis, sums: Sums, rules: Disclosure) -> Iterator[Line]:
    """What the study's own rules say: whether such a sum would end it, and what a report would hide."""
    start = analysis.start()
    objection = analysis.objection(start, sums, rules)
    if objection is not None:
        found = say("such a sum over all hospitals would end the study: {why}", why=objection)
        yield Line(say("rules of disclosure"), "warning", found, "")
    elif analysis.n_rounds == 1:
        state = analysis.update(start, sums)
        for one in analysis.disclosed(state, rules).suppressed:
            yield Line(say("figure {name}", name=one.figure), "warning", _hidden(one), "")


def _hidden(one: Suppressed) -> str:
    return say("{n} of the numbers of this hospital alone would be hidden, by {rule}", n=one.n, rule=one.why)


def as_csv(answer: HeldAnswer) -> str:
    """All of it for a spreadsheet: block, place, value."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("block", "cell", "value", "few"))
    for block in answer.blocks:
        name = f"'{block.name}" if block.name.startswith(FORMULA) else block.name
        writer.writerows((name, axes, value, "few" if few else "") for axes, value, few in block.cells())
    return out.getvalue()
