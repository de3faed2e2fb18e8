"""A study as one loop: ask all sites, add up what they answer, open the sum, take the next step.

The loop knows neither network nor process: `exchange` carries the messages, in a
live federation and in a simulation alike. Contributions are added as they
arrive, so that memory is two vectors however many sites there are, and a state
is durable before the next round begins, so that a coordinator that is killed
goes on from there.
"""

import asyncio
import time
from dataclasses import dataclass, replace

from fedcohort.analyses.contract import Row, State, Sums
from fedcohort.coordinator.collect import Sites, collect, hashed, round_context
from fedcohort.coordinator.noise import noise_in_sum
from fedcohort.coordinator.opened_at_site import open_at_site, shown_state
from fedcohort.coordinator.opening import Opening, attempt_of, open_round, opening_from_record, opening_of
from fedcohort.coordinator.plan import Exchange, Plan, RoundLog
from fedcohort.coordinator.study_key import distribute_key, made_key
from fedcohort.coordinator.sums import RunningSum, new_sum
from fedcohort.protection import contract
from fedcohort.protection.context import RoundContext
from fedcohort.protection.fixed_point import Ring, from_ring, ring_from_bytes, shape_of
from fedcohort.wire.messages import Setup, SiteId


@dataclass(frozen=True)
class Opened:
    """The sum of one round, whose it is, and how long its exchanges took.

    Attributes:
        ring: the sum; or, as bytes, what a site that has opened it shows of it.
    """

    ring: Ring | bytes
    survivors: tuple[SiteId, ...]
    seconds: Row


@dataclass(frozen=True)
class Run:
    """One study while it runs; `setup` is its key's public part and parcels, where it has a key."""

    plan: Plan
    log: RoundLog
    exchange: Exchange
    sites: Sites
    setup: Setup | None

    def new_sum(self, context: RoundContext) -> RunningSum:
        """An empty sum of the study's protection."""
        protection, setup = self.plan.protection, self.setup
        shared = protection.setup
        public = None if shared is None or setup is None else shared.load_public(setup.public)
        return new_sum(protection, context, public)


async def run_study(plan: Plan, log: RoundLog, exchange: Exchange) -> State:
    """Run a study to its end, from wherever it was.

    Returns:
        the finished state.
    Raises:
        TooFewSitesError: so many sites refused that min_sites cannot be reached.
    """
    stored = log.load_state(plan.study_hash)
    state = stored if stored is not None else await asyncio.to_thread(plan.analysis.start)
    sites, shared = Sites(plan), plan.protection.setup
    setup = await made_key(shared, sites, log, exchange) if shared is not None else None
    run = Run(plan, log, exchange, sites, setup)
    begun = log.load_kept(plan.study_hash, "opening") if plan.protection.opening is not None else None
    began, digest = time.monotonic(), hashed(state)
    while not state.finished:
        opened = await _round(run, state, await digest, begun)
        begun, survivors = None, opened.survivors
        if isinstance(opened.ring, bytes):
            state = shown_state(plan, log, state, opened.ring)
        else:
            total = from_ring(plan.analysis.layout(state), opened.ring, len(plan.roster))
            sigma = noise_in_sum(plan.study, plan.analysis, state, len(plan.roster), len(survivors))
            state = _after(plan, state, Sums(total, sigma, len(survivors)))
        # To make this round durable belongs to the time of the next one, which waits for it.
        ended = time.monotonic()
        spent: Row = {"exchange": state.round, "seconds": round(ended - began, 6), **opened.seconds}
        began = ended
        rows: list[Row] = [{**row, **spent} for row in state.rows]
        digest = hashed(state)
        log.save_round(plan.study_hash, state, survivors, rows, spent)
        state = replace(state, rows=())
    return state


def _after(plan: Plan, before: State, sums: Sums) -> State:
    """The state after a round's sum, with the metrics that may be shown."""
    if plan.control is None:
        return plan.analysis.update(before, sums)
    plan.control.check(plan.analysis, before, sums)
    state = plan.analysis.update(before, sums)
    return replace(state, rows=plan.control.rows(plan.analysis, before, sums, state.rows))


async def _round(run: Run, state: State, digest: bytes, begun: bytes | None) -> Opened:
    """One sum.

    Args:
        digest: of the state.
        begun: the record of the last opening before this process began; it counts if it is of this round.
    """
    plan, how = run.plan, run.plan.protection.opening
    shape = shape_of(plan.analysis.layout(state), len(plan.roster))
    attempt = attempt_of(begun, state.round)
    if how is not None and begun is not None and attempt is not None:
        opening = opening_from_record(round_context(plan, state.round, digest, shape, attempt), begun)
        return await _open(run, how, opening, {})
    if run.setup is not None:
        await distribute_key(run.sites, run.setup, run.log, run.exchange)
    began = time.monotonic()
    context, total = await collect(run.sites, state, digest, shape, run.new_sum, run.exchange)
    seconds = _split(time.monotonic() - began, total)
    if how is None:
        return Opened(ring_from_bytes(total.total(), shape.sizes), tuple(sorted(total.kept)), seconds)
    opening = opening_of(context, total)
    run.log.keep(plan.study_hash, "opening", opening.to_record())
    return await _open(run, how, opening, seconds)


async def _open(run: Run, how: contract.OpeningExchange, opening: Opening, seconds: Row) -> Opened:
    began = time.monotonic()
    open_sum = open_at_site if run.plan.approvals else open_round
    ring: Ring | bytes = await open_sum(run.plan, how, opening, run.exchange)
    opened = {**seconds, "open_seconds": round(time.monotonic() - began, 6)}
    return Opened(ring, opening.survivors, opened)


def _split(seconds: float, total: RunningSum) -> Row:
    """What the slowest site says that it took; the rest went to the network and to waiting.

    Under privacy no site says so.
    """
    slowest = max(total.kept.values(), key=lambda part: part.compute_us + part.seal_us)
    if slowest.compute_us + slowest.seal_us == 0:
        return {"network_seconds": round(seconds, 6)}
    # A site may say what it likes of its own time, but not that it took longer than everybody's.
    compute = min(slowest.compute_us / 1e6, seconds)
    seal = min(slowest.seal_us / 1e6, seconds - compute)
    parts = {"compute": compute, "seal": seal, "network": seconds - compute - seal}
    return {f"{part}_seconds": round(spent, 6) for part, spent in parts.items()}
