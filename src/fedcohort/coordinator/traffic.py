"""Bytes of a study's rounds by site, as the page shows them; kept when a study or the process ends."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.wire.messages import SiteId

KEPT = "traffic"


@dataclass
class Traffic:
    """Bytes of messages; what a network adds to them is left out."""

    sent: int = 0
    received: int = 0


def load_traffic(store: CoordinatorStore, study_id: str) -> dict[SiteId, Traffic]:
    """What was kept of a study."""
    stored = store.load_kept(study_id, KEPT)
    return {site: Traffic(*both) for site, both in json.loads(stored).items()} if stored else {}


def keep_traffic(store: CoordinatorStore, study_id: str, traffic: Mapping[SiteId, Traffic]) -> None:
    """Keep it in place of what was kept before."""
    counted = {site: [both.sent, both.received] for site, both in traffic.items()}
    store.keep(study_id, KEPT, json.dumps(counted).encode())
