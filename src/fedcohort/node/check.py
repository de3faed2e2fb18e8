"""`fedcohort node check`: tests of a node's set-up, each with verdict and remedy, without patient data."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from fedcohort.errors import ConfigError, FedcohortError, StoreError
from fedcohort.node.ledger import accounts
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness_trust import countersigning, roster_line
from fedcohort.node.settle import unsettled
from fedcohort.node.site_events import offered_catalogue
from fedcohort.node.store import opened_to_read
from fedcohort.storage.durable import owner_only_folder
from fedcohort.wire.address import check_url, is_loopback, server_tls, tls_towards
from fedcohort.wire.handshake import MAX_CLOCK_DIFFERENCE_SECONDS
from fedcohort.wire.proxy import environment_proxy, reason

TIMEOUT_SECONDS = 10.0
LEAST_FREE_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Verdict:
    """One line: what was tested, whether it passed, and the finding or remedy."""

    what: str
    ok: bool
    remedy: str


def check_node(policy: SitePolicy) -> Iterator[Verdict]:
    """Test everything that a node needs, in the order in which it needs it."""
    if policy.coordinator:
        yield from _dialling(policy, policy.coordinator)
    else:
        yield from _listening(policy)
    yield _database(policy)
    yield _disk(policy)
    yield from _budgets(policy)
    yield _roster(policy)
    yield from _countersigning(policy)


def _dialling(policy: SitePolicy, url: str) -> Iterator[Verdict]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    scheme = parts.scheme.replace("ws", "http")
    try:
        proxy = _proxy(scheme, host)
    except ConfigError as error:
        yield Verdict("proxy", False, str(error))
        return
    # Without user and password.
    shown = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else ""
    yield Verdict(
        "proxy", True, f"goes through {shown}" if proxy else "none; set HTTPS_PROXY if the network needs one"
    )
    if proxy is None and host:
        yield _resolution(host)
    try:
        check_url(url) if proxy is None else None
        yield from _service(policy, scheme, parts.netloc, proxy)
    except FedcohortError as error:
        yield Verdict("address", False, str(error))


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that a node's link goes through: none to this machine, as plain text never leaves it."""
    return environment_proxy("wss", host) if scheme == "https" else None


def _resolution(host: str) -> Verdict:
    try:
        address = str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError:
        return Verdict("name", False, f"{host} cannot be resolved; check the name and the DNS settings")
    return Verdict("name", True, f"{host} is {address}")


def _service(policy: SitePolicy, scheme: str, netloc: str, proxy: str | None) -> Iterator[Verdict]:
    """TLS and clock, by the coordinator's health route and the Date that it answers with."""
    url = f"{scheme}://{netloc}/healthz"
    verify = tls_towards(url, policy.ca_file)
    try:
        with httpx.Client(verify=verify, timeout=TIMEOUT_SECONDS, proxy=proxy, trust_env=False) as client:
            response = client.get(url)
    except httpx.HTTPError as error:
        why = reason(error)
        reached = why.startswith("it does not speak")  # somebody answers there, and not as the address says
        yield Verdict(
            "coordinator", False, why.removeprefix("it ") if reached else f"cannot be reached: {why}"
        )
        return
    yield Verdict("coordinator", response.is_success, f"answers {response.status_code} over {scheme}")
    sent = response.headers.get("date")
    if sent:
        difference = abs(parsedate_to_datetime(sent).timestamp() - time.time())
        near = difference < MAX_CLOCK_DIFFERENCE_SECONDS
        yield Verdict(
            "clock", near, f"{difference:.0f} s from the coordinator's" + ("" if near else "; set it by NTP")
        )


def _listening(policy: SitePolicy) -> Iterator[Verdict]:
    place = policy.listen
    if place is None:
        return
    try:
        if place.certificate and place.key:
            server_tls(place.certificate, place.key)
            yield Verdict("TLS", True, "certificate and key fit")
        else:
            near = is_loopback(place.host)
            yield Verdict(
                "TLS", near, "not needed on this machine" if near else "give certificate and key in site.toml"
            )
        with socket.create_server((place.host, place.port)):
            yield Verdict("port", True, f"{place.host}:{place.port} is free")
    except FedcohortError as error:
        yield Verdict("TLS", False, str(error))
    except OSError as error:
        yield Verdict(
            "port",
            False,
            f"{place.host}:{place.port}: {error.strerror}; stop what uses it, or choose another",
        )


def _database(policy: SitePolicy) -> Verdict:
    try:
        tables = offered_catalogue(policy, None)["tables"]
    except FedcohortError as error:
        return Verdict("database", False, str(error))
    for table, columns in policy.tables.items():
        if table not in tables:
            return Verdict(
                "database", False, f"no table {table}; correct [tables] in site.toml, or import the data"
            )
        missing = [] if columns == "*" else sorted(set(columns) - set(tables[table]["columns"]))
        if missing:
            return Verdict(
                "database", False, f"{table} has no column {', '.join(missing)}; correct site.toml"
            )
    return Verdict("database", True, f"opens read-only, with {', '.join(policy.tables)}")


def _budgets(policy: SitePolicy) -> Iterator[Verdict]:
    """The tables that share a budget, where an earlier version gave each table its own."""
    for group in policy.groups:
        merged = [name for name, budget in sorted(policy.budget.items()) if budget.tables is None]
        if group.budget is None or group.name not in merged or len(group.tables) == 1:
            continue
        which = f"{group.name} (epsilon {group.budget.epsilon:g})"
        held = f"one budget, {which}, holds for {', '.join(group.tables)}, and all that was spent is added"
        remedy = (
            "tables of one data may hold the same patients; where groups of them share none, say so by "
            "tables = [...] in each group's [budget.NAME]"
        )
        yield Verdict("budget", len(merged) == 1, f"{held}: {remedy}")
    try:
        yield from _accounts(policy)
    except FedcohortError as error:
        yield Verdict("ledger", False, str(error))


def _accounts(policy: SitePolicy) -> Iterator[Verdict]:
    """Whether anything is left of each budget."""
    path = policy.state / "node.db"
    if not policy.budget or not path.exists():
        return
    with opened_to_read(path) as store:
        all_accounts = accounts(policy, store.reservations(), store.costs())
    for account in all_accounts:
        if account.left is None:
            continue
        exact = len(unsettled(account.reserved))
        if exact:
            state = (
                f"{account.dataset}: {exact} studies without [privacy] were answered before there was a "
                "budget, and count as infinite; `fedcohort ledger` lists them, and --settle STUDY --because "
                "WORDS says what they count"
            )
            yield Verdict("ledger", False, state)
        else:
            left, delta = account.left
            taken = sum(reservation.epsilon for reservation in account.reserved)
            state = f"{account.dataset}: epsilon {taken:g} is set aside, {left:g} (delta {delta:g}) is left"
            enough = left > 0 and delta > 0
            spent = "epsilon" if left <= 0 else "delta"
            remedy = "" if enough else f"; no other private study can be answered before {spent} is raised"
            yield Verdict("ledger", enough, state + remedy)


def _roster(policy: SitePolicy) -> Verdict:
    """Whether all sites that were announced are confirmed; before the first one nothing is wrong."""
    line = roster_line(policy, 1)
    return Verdict(
        line.what, line.verdict == "ready", f"{line.found}; {line.remedy}" if line.remedy else line.found
    )


def _countersigning(policy: SitePolicy) -> Iterator[Verdict]:
    """Whether private studies, which a budget is for, will have their ledger countersigned."""
    if policy.budget:
        line = countersigning(policy, max(1, policy.min_colluders))
        text = f"{line.found}; {line.remedy}" if line.remedy else line.found
        yield Verdict(line.what, line.verdict == "ready", text)


def _disk(policy: SitePolicy) -> Verdict:
    try:
        owner_only_folder(policy.state)
        tempfile.TemporaryFile(dir=policy.state).close()
    except StoreError as error:
        return Verdict("disk", False, str(error))
    except OSError as error:
        return Verdict("disk", False, f"{policy.state}: {error.strerror}; make the folder writable")
    free = shutil.disk_usage(os.fspath(policy.state)).free
    enough = free >= LEAST_FREE_BYTES
    return Verdict("disk", enough, f"{free >> 20} MiB free" + ("" if enough else "; free some space"))
