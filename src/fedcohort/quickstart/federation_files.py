"""The files of a config.json federation: policies, join tokens, and the folder that holds them."""

import contextlib
import secrets
from pathlib import Path

from fedcohort.errors import KeyFileError
from fedcohort.node.keys import enrol
from fedcohort.node.policy import ListenSettings, SitePolicy
from fedcohort.protection.words import WORDS
from fedcohort.quickstart.config import FlatConfig, WorkerConfig
from fedcohort.sources.datasets.synthetic import FEATURES
from fedcohort.storage.files import write_whole
from fedcohort.study import Cohort, Privacy, Study, Train

STATE_FOLDER = ".fedcohort"
MIN_PATIENTS = 10


def state_folder(config_path: Path) -> Path:
    """Where keys and stores of a config.json federation are: a folder next to it."""
    return config_path.resolve().parent / STATE_FOLDER


def worker_data(config_path: Path, worker: WorkerConfig) -> str:
    """A worker's database: a URL, or a path relative to config.json."""
    return worker.data if "://" in worker.data else str(config_path.resolve().parent / worker.data)


def worker_policy(config_path: Path, worker: WorkerConfig) -> SitePolicy:
    """A worker as a site: it listens on its port, offers `records`, and approves by itself."""
    return SitePolicy(
        id=worker.id,
        data=worker_data(config_path, worker),
        tables={"records": "*"},
        listen=ListenSettings(host=worker.host, port=worker.port),
        state=state_folder(config_path) / worker.id,
        counter=state_folder(config_path) / f"{worker.id}.counter",
        roster=state_folder(config_path) / "roster",
        protections=tuple(WORDS),
        min_patients=MIN_PATIENTS,
        approval="auto",
    )


def confirm_own_key(policy: SitePolicy) -> None:
    """Write a site's own key into a roster that all sites of this machine share.

    Raises:
        ConfigError, KeyFileError: key or roster cannot be written.
    """
    enrol(policy.roster, policy.id, policy.state / "site.key")


def worker_url(worker: WorkerConfig) -> str:
    """Where the coordinator dials a worker."""
    host = f"[{worker.host}]" if ":" in worker.host else worker.host
    return f"ws://{host}:{worker.port}"


def join_token(folder: Path, site: str) -> str:
    """The token that coordinator and node of one machine share through a file that only this user can read.

    Raises:
        KeyFileError: the file cannot be made or read.
    """
    path = folder / "join" / f"{site}.token"
    try:
        if not path.exists():
            token = secrets.token_urlsafe(32).encode()
            with contextlib.suppress(FileExistsError):  # the other process was quicker: its token holds
                write_whole(path, token, mode=0o600, folder_mode=0o700, replace=False)
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; make the folder writable") from error


def flat_study(config: FlatConfig, name: str = "config") -> Study:
    """The study that a config.json means: FedAvg, one local epoch a round, over the table `records`.

    With `dp_epsilon` each site adds noise to its own steps, and held-out patients are measured each round.
    """
    cohort = Cohort(table="records", columns=tuple(FEATURES), label="label")
    train = Train(model=config.model, rounds=config.epochs, local_epochs=1, batch_size=config.batch_size)
    epsilon = config.dp_epsilon
    privacy = None if epsilon is None else Privacy(epsilon=epsilon, noise="site", evaluate_every=1)
    return Study(
        name=name,
        cohort=cohort,
        analysis=train,
        protection=config.encryption or "none",
        privacy=privacy,
        min_sites=min(2, len(config.workers)),
    )
