"""`fedcohort roster` as a hospital's operator meets it: fingerprints, states, and what is never confirmed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.cli.app import main
from fedcohort.node.keys import RosterFolder, make_card
from fedcohort.node.store import SqlNodeStore
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import Identity, fingerprint, load_or_create, new_identity
from tests.processes.support import cli

POLICY = """
id = "a"
data = "a.db"
coordinator = "ws://127.0.0.1:9"
state = "state"
[tables]
ward = "*"
"""


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Command:
    """`fedcohort roster`, in this process: thirteen starts of Python would take twenty seconds."""

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, folder: Path, *words: str) -> Done:
        self.patch.chdir(folder)
        self.patch.setattr("sys.argv", ["fedcohort", "roster", *words])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), *self.capture.readouterr())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "1000")
    return Command(monkeypatch, capsys)


@dataclass
class Ward:
    """A site's folder after its node has run once and has seen the cards of b and c."""

    folder: Path
    others: Mapping[str, Identity]
    command: Command

    def __post_init__(self) -> None:
        (self.folder / "site.toml").write_text(POLICY)
        self.own = load_or_create(self.folder / "state" / "site.key", "a")
        store = SqlNodeStore(self.folder / "state" / "node.db")
        for site, identity in self.others.items():
            store.keep_card(site, encode(make_card(identity, X25519PrivateKey.generate())))
        store.close()

    def roster(self, *words: str) -> Done:
        return self.command(self.folder, *words)

    def confirm(self, site: str, spoken: str) -> Done:
        return self.roster("--confirm", site, "--fingerprint", spoken)

    def confirmed(self) -> Mapping[str, bytes]:
        return RosterFolder(self.folder / "roster")()

    def shown(self) -> dict[str, tuple[str, str]]:
        """By site, its fingerprint and state."""
        done = self.roster()
        assert done.returncode == 0, done.stderr
        lines = [re.split(" {2,}", line.strip()) for line in done.stdout.splitlines()]
        return {site: (spoken, state) for spoken, state, site in lines}


@pytest.fixture
def ward(tmp_path: Path, command: Command) -> Ward:
    return Ward(tmp_path, {site: new_identity(site) for site in "bc"}, command)


def error_of(done: Done, code: str) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error ({code}): "), done.stderr
    return done.stderr


def spoken(identity: Identity) -> str:
    return fingerprint(identity.public_key)


def test_every_announced_site_is_shown_with_its_fingerprint_and_state(ward: Ward) -> None:
    b, c = ward.others["b"], ward.others["c"]
    unconfirmed = {"b": (spoken(b), "NOT confirmed"), "c": (spoken(c), "NOT confirmed")}
    assert ward.shown() == {"a": (spoken(ward.own), "this site"), **unconfirmed}
    done = ward.confirm("b", spoken(b))
    assert (done.returncode, done.stdout) == (0, "b is confirmed\n")
    assert ward.confirmed() == {"b": b.public_key}
    assert ward.shown()["b"] == (spoken(b), "confirmed")
    assert ward.shown()["c"] == (spoken(c), "NOT confirmed")


def test_a_fingerprint_may_be_typed_without_spaces_and_in_upper_case(ward: Ward) -> None:
    typed = spoken(ward.others["c"]).replace(" ", "").upper()
    assert ward.confirm("c", typed).returncode == 0
    assert ward.confirmed() == {"c": ward.others["c"].public_key}


def test_another_sites_fingerprint_is_refused_and_nothing_is_confirmed(ward: Ward) -> None:
    said = error_of(ward.confirm("b", spoken(ward.others["c"])), "config-invalid")
    assert "b: the key that was announced has another fingerprint" in said
    assert "do not go on, and ask the coordinator's operator why" in said
    assert spoken(ward.others["b"]) not in said, "a hurried operator would copy it"
    assert not (ward.folder / "roster").exists()


@pytest.mark.parametrize("part", ["", "6668", "yes"])
def test_no_part_of_a_fingerprint_is_enough(ward: Ward, part: str) -> None:
    typed = spoken(ward.others["b"])[:19] if part == "6668" else part
    error_of(ward.confirm("b", typed), "config-invalid")
    assert ward.confirmed() == {}


def test_a_site_is_not_confirmed_without_a_fingerprint(ward: Ward) -> None:
    said = error_of(ward.roster("--confirm", "b"), "config-invalid")
    assert "--fingerprint: give what the other site's operator has read to you" in said
    assert ward.confirmed() == {}


def test_a_site_that_nobody_has_announced_is_named_with_those_that_have(ward: Ward) -> None:
    said = error_of(ward.confirm("st-mary", spoken(ward.others["b"])), "not-found")
    assert "'st-mary'" in said
    assert "b, c" in said
    assert ward.confirmed() == {}


def test_where_nobody_has_been_announced_it_says_so(command: Command, tmp_path: Path) -> None:
    said = error_of(
        Ward(tmp_path, {}, command).confirm("b", spoken(load_or_create(tmp_path / "b.key", "b"))), "not-found"
    )
    assert "none yet; they come while this node and theirs are linked" in said


def test_a_confirmed_site_keeps_its_key_when_another_is_announced(ward: Ward) -> None:
    """As when a coordinator shows a card of its own under the site's name."""
    genuine = ward.others["b"]
    ward.confirm("b", spoken(genuine))
    forged = new_identity("b")
    Ward(ward.folder, {"b": forged}, ward.command)
    assert ward.shown()["b"] == (spoken(genuine), "confirmed")
    error_of(ward.confirm("b", spoken(genuine)), "config-invalid")
    assert ward.confirmed() == {"b": genuine.public_key}


def test_a_broken_file_in_the_roster_is_named(ward: Ward) -> None:
    ward.confirm("b", spoken(ward.others["b"]))
    (ward.folder / "roster" / "b.pub").write_text("half a key")
    assert "b.pub: not the 64 hex digits" in error_of(ward.roster(), "config-invalid")


def test_a_site_whose_node_never_ran_is_told_to_start_it(tmp_path: Path, command: Command) -> None:
    (tmp_path / "site.toml").write_text(POLICY)
    said = error_of(command(tmp_path), "store")
    assert "node.db" in said
    assert "start the node once" in said
    assert not (tmp_path / "state").exists()


def test_a_site_file_that_is_not_there_is_named(tmp_path: Path, command: Command) -> None:
    assert "absent.toml" in error_of(command(tmp_path, "--site", "absent.toml"), "config-invalid")


@pytest.mark.processes
def test_the_real_command_confirms_and_shows_the_same(ward: Ward) -> None:
    typed = spoken(ward.others["b"])
    done = cli("roster", "--confirm", "b", "--fingerprint", typed, cwd=ward.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b is confirmed\n", "")
    assert cli("roster", cwd=ward.folder).stdout == ward.roster().stdout
    refused = cli("roster", "--confirm", "c", "--fingerprint", typed, cwd=ward.folder)
    error_of(Done(refused.returncode, refused.stdout, refused.stderr), "config-invalid")


def test_the_roster_shows_no_secret(ward: Ward) -> None:
    done = ward.roster()
    key_file = (ward.folder / "state" / "site.key").read_text()
    body = key_file.splitlines()[1]
    assert body not in json.dumps([done.stdout, done.stderr])
    assert ward.own.private_key.private_bytes_raw().hex() not in done.stdout
