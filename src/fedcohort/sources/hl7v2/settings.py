"""`[hl7]` of site.toml: where a node listens for HL7 v2, from whom, and how messages are read.

[hl7]
host = "10.1.2.3"
port = 2575
certificate = "node.pem"
key = "node.key"
ca_file = "engines-ca.pem"
time_zone = "Europe/Berlin"
authority = "HOSP"
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from fedcohort.columns import Frozen

Whole = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Hl7Settings(Frozen):
    """Where a node receives HL7 v2, and what that may cost.

    Attributes:
        into: the database, by an account that may write; the site's `data` without.
        certificate, key, ca_file: PEM; the CA is that of the interface engines' own certificates.
        plain: without TLS, from the addresses of `allow` alone.
        charset: a name of HL7 table 0211, for messages without MSH-18.
        authority, types: PID-3.4 and PID-3.5 of the hospital's own identifiers.
        source: what the events' column `source` says.
        import_seconds: between imports of what has come.
    """

    into: str | None = None
    inbox: Path = Path("hl7-inbox")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 2575
    certificate: Path | None = None
    key: Path | None = None
    ca_file: Path | None = None
    plain: Annotated[bool, Field(strict=True)] = False
    allow: tuple[str, ...] = ()
    time_zone: str = "UTC"
    charset: str = "UNICODE UTF-8"
    authority: str | None = None
    types: tuple[str, ...] = ("MR", "PI", "PT")
    source: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] = "hl7v2"
    connections: Annotated[int, Field(strict=True, ge=1, le=1000)] = 16
    message_mb: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    idle_seconds: Seconds = 3600.0
    message_seconds: Seconds = 60.0
    inbox_mb: Whole = 1024
    refused_days: Whole = 30
    import_seconds: Seconds = 30.0

    @model_validator(mode="after")
    def _one_way(self) -> "Hl7Settings":
        files = (self.certificate, self.key, self.ca_file)
        if any(files) and not all(files):
            raise ValueError(
                "give certificate, key and ca_file together: the engines' certificates are checked, too"
            )
        if self.plain and any(files):
            raise ValueError("plain = true goes without certificate, key and ca_file; take one of them out")
        if self.plain and not self.allow:
            raise ValueError(
                "plain = true needs allow, the addresses of the interface engines, such as 10.1.2.3"
            )
        return self

    def anchored(self, folder: Path) -> "Hl7Settings":
        """With relative paths taken as relative to site.toml's folder."""
        files = {name: getattr(self, name) for name in ("inbox", "certificate", "key", "ca_file")}
        moved: dict[str, object] = {name: folder / path for name, path in files.items() if path}
        if self.into is not None and "://" not in self.into:
            moved["into"] = str(folder / self.into)
        return self.model_copy(update=moved)
