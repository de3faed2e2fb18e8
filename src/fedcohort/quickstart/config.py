"""config.json: a whole federation in one flat file, as the shortest way to begin.

Every key has its effect or is refused. It means FedAvg with one local epoch a
round over each worker's table `records`, every worker listening on its port.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedcohort.columns import Frozen, validated
from fedcohort.errors import ConfigError
from fedcohort.questions import Epsilon
from fedcohort.study import ProtectionName

SiteName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]


class WorkerConfig(Frozen):
    """One hospital's node."""

    id: SiteName
    host: Annotated[str, Field(min_length=1)]
    port: Port
    data: Annotated[str, Field(min_length=1)]


class FlatConfig(Frozen):
    """The flat configuration; a null `dp_epsilon` means no differential privacy."""

    workers: tuple[WorkerConfig, ...] = Field(min_length=1)
    model: Literal["logistic", "mlp_medical", "cnn_medical"]
    epochs: Annotated[int, Field(strict=True, ge=1, le=100_000)]
    batch_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    dp_epsilon: Epsilon | None = None
    encryption: ProtectionName | None = "masks"

    @model_validator(mode="after")
    def _possible(self) -> "FlatConfig":
        for name in ("id", "data"):
            values = [getattr(worker, name) for worker in self.workers]
            if len(set(values)) != len(values):
                raise ValueError(f"workers: two have the same {name}")
        places = [(worker.host, worker.port) for worker in self.workers]
        if len(set(places)) != len(places):
            raise ValueError("workers: two have the same host and port")
        return self


def read_config(path: Path) -> FlatConfig:
    """Read config.json.

    Raises:
        ConfigError: names the file and every wrong key.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; write one, or name another by --config") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    return validated(FlatConfig, data, str(path))


def worker_of(config: FlatConfig, site: str, path: Path) -> WorkerConfig:
    """The worker with this id.

    Raises:
        ConfigError: there is none; names those there are.
    """
    for worker in config.workers:
        if worker.id == site:
            return worker
    ids = ", ".join(worker.id for worker in config.workers)
    raise ConfigError(f"{path}: workers: no {site!r}; there are {ids}")
