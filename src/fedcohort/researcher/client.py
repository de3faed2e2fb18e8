"""The client of a researcher: connects to a coordinator, or simulates hospitals from frames."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import pandas as pd

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.disclosing import MODEL_ARRAYS, Control, control_of
from fedcohort.analyses.trained.question import with_model_read
from fedcohort.arrays import arrays_from_bytes
from fedcohort.coordinator.report import study_report
from fedcohort.disclosure.rules import Disclosure
from fedcohort.engines.local import run_local
from fedcohort.errors import FedcohortError, StudyError, StudyFailedError
from fedcohort.handed_in import check_handed_in
from fedcohort.protection.words import WORDS
from fedcohort.refusals import explained, in_words
from fedcohort.researcher.progress import Follower, follow
from fedcohort.researcher.rest import Rest, open_rest
from fedcohort.researcher.result import Result
from fedcohort.sources.cohort.frame import catalogue_of_frame, frames_by_site, table_from_frame
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.study import Study, parse_study
from fedcohort.versions import RULES
from fedcohort.wire.identity import Identity, load_or_create
from fedcohort.wire.signing import submission

ENDED = frozenset({"finished", "failed", "cancelled", "refused"})


def load_study(path: str | Path) -> Study:
    """Read a study from TOML or JSON.

    Raises:
        StudyError: names the file and every wrong field.
    """
    path = Path(path)
    if path.suffix in (".py", ".ipynb"):
        raise StudyError(
            f"{path}: a study is read from TOML or JSON; run what is Python, and call fed.run there"
        )
    try:
        data = path.read_bytes()
        if not data.strip():
            raise StudyError(f"{path}: is empty; write name, [cohort] and [analysis]")
        if path.suffix == ".toml":
            return parse_study(with_model_read(tomllib.loads(data.decode("utf-8-sig"))), str(path))
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; give the study's file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not TOML: {error}") from None
    return parse_study(data, str(path))


def checked_study(study: object) -> Study:
    """The argument, if it is a study.

    Raises:
        StudyError: it is not; a path must be loaded first.
    """
    if isinstance(study, Study):
        return study
    help_ = (
        "fc.load_study(path)" if isinstance(study, str | Path) else "fc.Study(...), or fc.load_study(path)"
    )
    raise StudyError(f"study: {type(study).__name__} is no study; give {help_}")


def explicit(study: Study, catalogues: Mapping[str, Mapping[str, Any]], *, take_units: bool = True) -> Study:
    """Fill in each column's kind from what the sites declare, and read it as every site will.

    A study is its canonical JSON, whose keys are sorted; features and shuffles follow the columns'
    order, which must be the same in a simulation and over the wire.

    Args:
        take_units: as of `resolve_cohort`.
    Raises:
        SchemaError: a site lacks a column, or sites disagree.
        StudyError: the study could be read, and cannot be handed in.
    """
    cohort = resolve_cohort(study.cohort, catalogues, take_units=take_units)
    question = study.analysis.at_hospitals(study, sorted(catalogues))
    resolved = study.model_copy(update={"cohort": cohort, "analysis": question})
    whole = parse_study(resolved.canonical)
    check_handed_in(whole)
    return whole


@dataclass(frozen=True)
class Simulation:
    """Hospitals in this process, one frame each; the same code as a live federation.

    Attributes:
        disclosure: the hospitals' rules; None: none is applied but the study's own, and the report says what
            hospitals with the default rules would hide.
    """

    frames: Mapping[str, pd.DataFrame]
    disclosure: Disclosure | None = None

    def catalogue(self) -> dict[str, dict[str, Any]]:
        """The catalogue of each frame."""
        return {site: catalogue_of_frame(frame) for site, frame in self.frames.items()}

    def run(self, study: Study, *, progress: bool = True) -> Result:
        """Run a study to its end; an interrupt (Ctrl-C, a notebook's stop) ends it.

        Raises:
            KeyboardInterrupt: after the interrupt, when nothing computes any longer.
            FedcohortError: what is wrong with the study or the frames.
        """
        asked = checked_study(study)
        lowered = _lowered(asked, len(self.frames))
        study = explicit(_among(asked, len(self.frames)), self.catalogue())
        loaders = {site: partial(table_from_frame, frame) for site, frame in self.frames.items()}
        with follow(study, enabled=progress) as follower:
            outcome = run_local(study, loaders, follower.rows, self._control(study))
        arrays = outcome.state.arrays if study.analysis.trains else {}
        model_arrays = {name: arrays[name] for name in MODEL_ARRAYS if name in arrays}
        sites = sorted(self.frames)
        report = study_report(study, study.hash, build_analysis(study), sites, outcome.report)
        if lowered:
            report["simulated"] = {"words": lowered}
        return Result(study, report, [dict(row) for row in outcome.rows], model_arrays)

    def _control(self, study: Study) -> Control | None:
        if self.disclosure is None and study.disclosure is None:
            return None if study.privacy is not None else Control(Disclosure(), enforced=False)
        return control_of(study, [] if self.disclosure is None else [self.disclosure])


def _lowered(study: Study, n_sites: int) -> list[str]:
    """What a simulation over fewer hospitals than the study asks for changes, in sentences."""
    words = []
    if n_sites < study.min_sites:
        words.append(
            f"The study asks for at least {study.min_sites} hospitals (min_sites), and {n_sites} were "
            "simulated; a federation of so few would refuse it."
        )
    if n_sites == 1 and WORDS[study.protection].hides:
        words.append(
            f"Of a single hospital the sum is its vector, which {study.protection} would hide from nobody; "
            'it was simulated with protection = "none".'
        )
    return words


def _among(study: Study, n_sites: int) -> Study:
    """The study for so many hospitals; no protection hides a single one's vector, which is the sum."""
    changes: dict[str, object] = {"min_sites": min(study.min_sites, n_sites)}
    if n_sites == 1:
        changes |= {"protection": "none", "key_bits": Study.model_fields["key_bits"].default}
    return study.model_copy(update=changes)


def simulate(
    frames: Mapping[Any, pd.DataFrame] | Sequence[pd.DataFrame], disclosure: Disclosure | None = None
) -> Simulation:
    """Try studies on frames: `fc.simulate({"a": frame_a, "b": frame_b})`.

    Args:
        frames: by site, or a list, whose sites are then called site_1, site_2 and so on.
        disclosure: the hospitals' rules of what may be shown without [privacy]; left out, none is applied,
            and the report says what hospitals with the default rules would hide. Nobody is asked whether an
            answer may leave, as in hospitals whose site.toml says `release = "person"`.
    Raises:
        StudyError: there is no frame, a name cannot be a site's, or what is given is no frame.
    """
    if disclosure is not None and not isinstance(disclosure, Disclosure):
        raise StudyError("disclosure: give fc.Disclosure(...), or leave it out")
    return Simulation(frames_by_site(frames), disclosure)


@dataclass(frozen=True)
class Handle:
    """A study at the coordinator, which runs whether somebody watches or not."""

    id: str
    rest: Rest

    @property
    def status(self) -> dict[str, Any]:
        """Name, state, round, sites and error, as the coordinator has them."""
        return self.rest.get(f"/api/studies/{self.id}")

    @property
    def state(self) -> str:
        """checking, proposed, running, waiting, finished, failed, cancelled or refused."""
        return str(self.status["state"])

    def cancel(self) -> None:
        """End the study."""
        self.rest.post(f"/api/studies/{self.id}/cancel", {})

    def start(self) -> None:
        """Start with the sites that have approved."""
        self.rest.post(f"/api/studies/{self.id}/start", {})

    def wait(self, *, progress: bool = True) -> Result:
        """Wait for the end; interrupting detaches and leaves the study running.

        Raises:
            StudyFailedError: it ended without a result, and why.
        """
        study = parse_study(self.status["study"])
        try:
            with follow(study, enabled=progress) as follower:
                self._watch(follower)
                self._check_finished(study)
        except KeyboardInterrupt:
            short = self.id[:12]
            print(  # noqa: T201
                f"Detached; the study goes on. `fedcohort show {short}` tells how it stands, "
                f"and fed.study({short!r}) reattaches."
            )
            raise
        return self.result()

    def _watch(self, follower: Follower) -> None:
        for kind, data in self.rest.events(f"/api/studies/{self.id}/events"):
            if kind == "metrics":
                follower.rows([data])
            elif kind == "state" and data["state"] in ENDED and self.state in ENDED:
                return  # an end in the past is not the end of a study that was sent again
            elif kind in ("state", "site"):
                follower.note(awaited(self.status))

    def _check_finished(self, study: Study) -> None:
        status = self.status
        if status["state"] != "finished":
            error = status["error"] or {"code": status["state"], "message": ""}
            codes = [site["code"] for site in status["sites"] if site["state"] == "refused"]
            why = f"{error['code']}: {error['message']}{explained(codes)}"
            raise StudyFailedError(f"study {study.name!r}: {why}")

    def result(self) -> Result:
        """The result of a finished study.

        Raises:
            StudyFailedError: it is not finished.
        """
        study = parse_study(self.status["study"])
        report = self.rest.get(f"/api/studies/{self.id}/report")
        rows = self.rest.get(f"/api/studies/{self.id}/metrics")["rows"]
        arrays = {}
        if study.analysis.trains:
            arrays = arrays_from_bytes(self.rest.get_bytes(f"/api/studies/{self.id}/model"))
        return Result(study, report, rows, arrays)


def awaited(status: Mapping[str, Any]) -> str:
    """What a study waits for, in words; empty when it runs."""
    if status["state"] == "waiting":
        error = status["error"] or {"message": "sites"}
        return f"waiting: {error['message']}"
    if status["state"] != "proposed":
        return _let_go(status["sites"]) if status["state"] == "running" else ""
    asked = [site["id"] for site in status["sites"] if site["state"] == "asked"]
    refused = [
        f"{site['id']}: {in_words(site['code'])}" for site in status["sites"] if site["state"] == "refused"
    ]
    words = f"waiting for approval by {', '.join(asked)}" if asked else "waiting for hospitals"
    return f"{words}; refused by {'; '.join(refused)}" if refused else words


def _let_go(sites: Sequence[Mapping[str, Any]]) -> str:
    """Who may take days to answer; a coordinator of before does not say."""
    hours = {site["id"]: site.get("release_hours", 0) for site in sites if not site["code"]}
    persons = [f"{site} (within {longest:g} hours)" for site, longest in hours.items() if longest]
    return f"a person lets each answer go at {', '.join(persons)}" if persons else ""


@dataclass(frozen=True)
class Federation:
    """The hospitals behind one coordinator."""

    rest: Rest
    identity: Identity = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; studies go on."""
        self.rest.client.close()

    def sites(self) -> pd.DataFrame:
        """The sites, and whether they are connected."""
        return pd.DataFrame(self.rest.get("/api/federation")["sites"])

    def catalogue(self) -> dict[str, dict[str, Any]]:
        """What each site offers: tables, columns, declared bounds and levels."""
        return dict(self.rest.get("/api/catalogue")["sites"])

    def studies(self) -> pd.DataFrame:
        """All studies, the newest first."""
        return pd.DataFrame(self.rest.get("/api/studies")["studies"])

    def study(self, study_id: str) -> Handle:
        """Reattach to a study by its hash, or its first characters."""
        return Handle(self.rest.get(f"/api/studies/{study_id}")["id"], self.rest)

    def submit(self, study: Study, *, resume: bool = False) -> Handle:
        """Make the study explicit, sign it and send it; the same study again is the same study.

        Args:
            resume: go on with a study that was cancelled; otherwise it is refused.
        """
        coordinator = self.rest.get("/api/federation")["coordinator"]
        is_ours = coordinator.get("rules") == RULES
        study = explicit(checked_study(study), self.catalogue(), take_units=is_ours)
        body = submission(study.canonical, self.identity)
        if resume:
            body["resume"] = True
        return Handle(self.rest.post("/api/studies", body)["id"], self.rest)

    def run(self, study: Study, *, wait: bool = True, progress: bool = True, resume: bool = False) -> Any:  # noqa: ANN401
        """Run a study.

        Args:
            resume: go on with a study that was cancelled, from its last round; otherwise it is refused.
        Returns:
            its Result; with `wait=False` a Handle at once.
        Raises:
            FedcohortError: what is wrong, and where.
        """
        handle = self.submit(study, resume=resume)
        return handle.wait(progress=progress) if wait else handle


def connect(
    url: str = "http://127.0.0.1:8760",
    token: str | None = None,
    *,
    ca_file: str | Path | None = None,
    key_file: str | Path | None = None,
) -> Federation:
    """Connect to a coordinator.

    Args:
        token: a researcher's token; left out, the one that `fedcohort demo` or a flat config.json keeps on
            this machine for its user.
        ca_file: a corporate CA, in PEM.
        key_file: the key that signs studies; made in the user's folder when it is missing.
    Raises:
        LinkClosedError: the coordinator cannot be reached.
        AuthenticationError: it refuses the token.
    """
    path = Path(key_file) if key_file else Path.home() / ".fedcohort" / "researcher.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    federation = Federation(open_rest(url, token, ca_file), load_or_create(path, "researcher"))
    try:
        federation.rest.get("/api/federation")
    except FedcohortError:
        federation.close()
        raise
    return federation
