"""`fedcohort release`: what waits for a person of this hospital, and whether it leaves."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.support import SiteFile, console, existing

if TYPE_CHECKING:
    from fedcohort.node.airlock import Held
    from fedcohort.node.held_answer import HeldAnswer
    from fedcohort.node.policy import SitePolicy
    from fedcohort.node.store import SqlNodeStore


def release(
    study: Annotated[
        str | None, typer.Argument(help="The study's hash, or its beginning; none: list what waits.")
    ] = None,
    site: SiteFile = Path("site.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking again.")] = False,
    withhold: Annotated[
        bool, typer.Option("--withhold", help="Let it not go; the study then goes on without this hospital.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Only print the answer, for a spreadsheet.")] = False,
) -> None:
    """Look at an answer that waits in this hospital (release = "person"), and let it go or not."""
    from fedcohort.node.airlock import find_held
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore

    policy = read_policy(site)
    database = existing(policy.state / "node.db", "start the node once")
    with contextlib.closing(SqlNodeStore(database)) as store:
        if study is None:
            _list(store)
        else:
            _decide(policy, store, find_held(store.held, study), yes=yes, withhold=withhold, as_csv=as_csv)


def _list(store: "SqlNodeStore") -> None:
    waiting = store.held.waiting()
    if not waiting:
        _say("no answer waits")
    for held in waiting:
        name = _study_name(store, held)
        _say(f"{held.stored.study_hash[:12]}  round {held.stored.round:>2}  until {_until(held)}  {name}")


def _study_name(store: "SqlNodeStore", held: "Held") -> str:
    from fedcohort.study import parse_study

    proposal = store.proposal(held.stored.study_hash)
    return parse_study(proposal.study).name if proposal else ""


def _until(held: "Held") -> str:
    return f"{datetime.fromtimestamp(held.until_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _decide(
    policy: "SitePolicy", store: "SqlNodeStore", held: "Held", *, yes: bool, withhold: bool, as_csv: bool
) -> None:
    from fedcohort.node import airlock, held_answer
    from fedcohort.wire.identity import load_or_create

    answer = held_answer.read_held(store, held, policy.disclosure)
    if as_csv:
        console.print(held_answer.as_csv(answer), markup=False, highlight=False, end="")
        return
    _show(answer)
    question = "Withhold this answer?" if withhold else "Let exactly this leave the hospital?"
    if not yes and not typer.confirm(question):
        no = "" if withhold else "; --withhold says that it is not to leave"
        _say(f"it goes on waiting{no}")
        raise typer.Exit(1)
    key = load_or_create(policy.state / "site.key", policy.id)
    airlock.decide(store.held, key, held, "withheld" if withhold else "released")
    _say("withheld; others are told when its time is up" if withhold else "let go; the running node sends it")


def _show(answer: "HeldAnswer") -> None:
    held = answer.held
    _say(f"{answer.study.name}: round {held.stored.round} of at most {answer.n_rounds}, until {_until(held)}")
    _say(f"SHA-256 {held.digest.hex()}")
    for block in answer.blocks:
        kind = "counts" if block.is_count else "sums"
        _say(f"{block.name} ({kind}, {' x '.join(map(str, block.shape))})")
        for axes, value, few in block.cells():
            _say(f"  [{axes}]  {value}" + (f"  fewer than {answer.rules.min_cell}" if few else ""))
    _say("These numbers are this hospital's alone. Of such a sum over all hospitals the rules would say:")
    for line in answer.verdicts:
        _say(f"  {line.verdict}: {line.what}: {line.found}")


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)
