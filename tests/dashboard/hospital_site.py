"""A hospital's site with a database of its own, to which studies can be proposed."""

from pathlib import Path
from typing import Any

import fedcohort as fc
from fedcohort.node.budgets import Budget
from fedcohort.node.consent import LocalSite, receive_proposal
from fedcohort.node.keys import confirm
from fedcohort.node.policy import SitePolicy
from fedcohort.study import Study
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Proposal
from fedcohort.wire.signing import study_signing_bytes
from tests.build import ward_rows, write_ward


def asking_policy(folder: Path, epsilon: float | None = None) -> SitePolicy:
    """A site that asks a person, with 60 patients, two confirmed others, and a budget where one is given."""
    database, roster = write_ward(folder / "ward.db", ward_rows(0)), folder / "roster"
    for other in ("b", "c"):
        confirm(roster, other, new_identity(other).public_key)
    return SitePolicy(
        id="a", data=str(database), tables={"ward": "*"}, coordinator="ws://127.0.0.1:1", state=folder,
        roster=roster, approval="ask",
        budget={} if epsilon is None else {"ward": Budget(epsilon=epsilon, delta=1e-3)},
    )  # fmt: skip


def ward_study(name: str, epsilon: float | None = None) -> Study:
    """A count of the ward, private where epsilon is given."""
    columns: dict[str, Any] = {"age": fc.Numeric(18, 100), "sex": fc.Categorical(("f", "m"))}
    privacy = None if epsilon is None else fc.Privacy(epsilon=epsilon, delta=1e-5)
    cohort = fc.Cohort(table="ward", columns=columns)
    return fc.Study(name=name, cohort=cohort, analysis=fc.Describe(), privacy=privacy)


def ask(site: LocalSite, name: str, researcher: str = "dr-chen", epsilon: float | None = None) -> str:
    """Propose a study; returns its hash."""
    study, key = ward_study(name, epsilon), new_identity("ada")
    signature = key.sign(study_signing_bytes(study.canonical))
    receive_proposal(site, Proposal(study.canonical, researcher, key.public_key, signature))
    return study.hash
