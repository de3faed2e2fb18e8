"""What ships in deploy/ fits the program: limits, hardening, pins; and every command of the guide exists."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import fedcohort
from fedcohort.cli.app import app
from fedcohort.cli.support import SECRETS
from fedcohort.coordinator.streams import KEEP_ALIVE_SECONDS
from fedcohort.dashboard.federation import upstream
from fedcohort.dashboard.federation.app import MAX_REQUEST_BYTES
from fedcohort.questions import MAX_STUDY_BYTES
from fedcohort.researcher import rest
from fedcohort.wire.link import HEARTBEAT_SECONDS, MISSED_HEARTBEATS
from fedcohort.wire.transport import LINK_PATH
from tests.deploy.guide import GUIDE, blocks

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
WORST_EXPOSURE = 15
"""Of 100, as `systemd-analyze security` counts; a unit without any hardening has 96."""


def nginx_blocks() -> dict[str, str]:
    """The text of each location of nginx' configuration, by how it begins."""
    text = (DEPLOY / "nginx" / "fedcohort.conf").read_text(encoding="utf-8")
    found = re.findall(r"^    location ([^{]+) \{\n(.*?)^    \}", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def seconds(block: str, name: str) -> float:
    found = re.search(rf"{name} (\d+)s;", block)
    assert found, f"{name} in {block}"
    return float(found[1])


def test_nginx_is_more_patient_than_a_link_and_a_stream() -> None:
    link, stream = nginx_blocks()[f"= {LINK_PATH}"], nginx_blocks()["~ /events$"]
    patience = HEARTBEAT_SECONDS * MISSED_HEARTBEATS
    assert min(seconds(link, "proxy_read_timeout"), seconds(link, "proxy_send_timeout")) > patience
    assert seconds(stream, "proxy_read_timeout") > 2 * KEEP_ALIVE_SECONDS
    assert "proxy_buffering off" in stream


def test_nginx_waits_for_a_study_to_be_taken_as_long_as_whoever_hands_it_in() -> None:
    blocks = nginx_blocks()
    assert seconds(blocks["= /api/studies"], "proxy_read_timeout") > rest.TAKE_SECONDS
    assert seconds(blocks["/"], "proxy_read_timeout") > upstream.TAKE_SECONDS


def test_nginx_takes_a_study_as_large_as_the_coordinator_does() -> None:
    assert f"client_max_body_size {MAX_STUDY_BYTES >> 20}m;" in nginx_blocks()["= /api/studies"]
    assert MAX_REQUEST_BYTES <= 64 * 2**10


def credentials(unit: str) -> dict[str, str]:
    """The variables that a unit fills from credentials, by name of the credential."""
    found = re.findall(r"^#?Environment=(\w+)_FILE=%d/(\S+)$", unit, re.MULTILINE)
    loaded = set(re.findall(r"^#?LoadCredential=([\w-]+):", unit, re.MULTILINE))
    assert {name for _, name in found} == loaded
    return {name: variable for variable, name in found}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_name_commands_options_and_secrets_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=/opt/fedcohort/bin/fedcohort (.*)$", text, re.MULTILINE)
    check_command(shlex.split(command))
    assert set(credentials(text).values()) <= set(SECRETS)
    assert "TOKEN=" not in text.replace("_FILE=", "")


@pytest.mark.processes
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_are_sound_and_expose_little(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    here = tmp_path / path.name
    here.write_text(path.read_text().replace("/opt/fedcohort/bin/fedcohort", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", here], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={WORST_EXPOSURE}", str(here)]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout


@pytest.mark.processes
def test_accounts_are_ones_that_sysusers_can_make(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("needs systemd-sysusers: apt-get install systemd")
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(DEPLOY / "systemd" / "fedcohort.sysusers")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "etc" / "passwd").read_text()
    users = {user for path in UNITS for user in re.findall(r"^User=(\S+)$", path.read_text(), re.MULTILINE)}
    assert (
        users
        == {"fedcohort", "fedcohort-dashboard", "fedcohort-node"}
        == {line.split(":")[0] for line in made.splitlines()}
    )


def services() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in COMPOSE:
        for name, service in yaml.safe_load(path.read_text(encoding="utf-8"))["services"].items():
            yield f"{path.stem} {name}", service


@pytest.mark.parametrize(("name", "service"), list(services()), ids=lambda value: str(value)[:24])
def test_containers_are_pinned_checked_and_without_privileges(name: str, service: dict[str, Any]) -> None:
    image, _, tag = service["image"].partition(":")
    assert re.search(r"\d+\.\d+", tag), f"{image}: name a version"
    assert tag == fedcohort.__version__ or image != "fedcohort"
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service
    assert not [port for port in service.get("ports", []) if port not in ("80:80", "443:443")]


@pytest.mark.parametrize(("name", "service"), list(services()), ids=lambda value: str(value)[:24])
def test_containers_run_commands_that_exist_and_take_secrets_from_files(
    name: str, service: dict[str, Any]
) -> None:
    if "command" in service:
        check_command([str(word) for word in service["command"]])
    for variable, value in service.get("environment", {}).items():
        if variable.startswith("FEDCOHORT_"):
            assert variable.removesuffix("_FILE") in SECRETS
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_every_secret_and_volume_of_compose_is_declared() -> None:
    for path in COMPOSE:
        whole = yaml.safe_load(path.read_text(encoding="utf-8"))
        for service in whole["services"].values():
            assert set(service.get("secrets", [])) <= set(whole["secrets"])
            named = {volume.partition(":")[0] for volume in service.get("volumes", [])}
            assert {volume for volume in named if not volume.startswith(".")} <= set(whole["volumes"])


def test_the_image_has_pinned_bases_a_check_and_no_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert [base for base in bases if not re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+[\w.-]*", base)] == []
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (?!root|0)\d+:\d+$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not (ROOT / name).exists()] == []


def check_command(words: list[str]) -> None:
    """Fail when a `fedcohort` command or an option of it does not exist."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options <= known, command.name
    assert command.invoke_without_command if hasattr(command, "commands") else True, words


def commands_of_the_guide() -> list[str]:
    fenced = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced for line in block.splitlines()]
    inline = re.findall(r"`(fedcohort [^`…]+)`", GUIDE.read_text(encoding="utf-8"))
    found = [re.sub(r"^sudo -u \S+ ", "", line) for line in [*lines, *inline]]
    return [line for line in found if line.startswith("fedcohort ")]


@pytest.mark.parametrize("line", commands_of_the_guide())
def test_every_command_of_the_guide_exists(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    check_command(words[1:])


def test_every_named_block_of_the_guide_is_run_by_a_test() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in blocks() if f'"{name}"' not in tests] == []
