"""Drafts of a new study: a form that shows its TOML as it is filled, checks, signs and hands it in.

Exactly the text that the form shows is handed in. The dashboard signs it with the key that its
operator has named (`Settings.researcher_key`); without one the text is to be saved and run by
`fedcohort run`.
"""

import tomllib
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from flask import Flask, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.federation.ownership import claim
from fedcohort.dashboard.federation.upstream import Upstream, UpstreamResponse, study_path
from fedcohort.dashboard.login.access import AccessControl, visitor
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import CohortError, SchemaError, StudyError
from fedcohort.node.published_rules import objections, sites_offering
from fedcohort.protection.words import WORDS
from fedcohort.study import Privacy, Study, Train, parse_study
from fedcohort.texts import Text, in_a_row, say
from fedcohort.texts.look_up import carried
from fedcohort.versions import RULES
from fedcohort.wire.identity import Identity, load_or_create
from fedcohort.wire.signing import submission

TAKEN = 202
MAX_TOML_CHARACTERS = 12_000
_FIELDS = ("model", "algorithm", "rounds", "learning_rate", "batch_size")
SETTINGS = {
    name: {field: getattr(train, field) for field in _FIELDS}
    for name, train in (("exact", Train()), ("private", Train.private()))
}
"""The form's initial settings, for exact and for private training."""
KINDS = ("describe", "train")
"""An evaluation names a folder, which would be one of this machine."""


def add_form(app: Flask, upstream: Upstream, settings: Settings, access: AccessControl) -> None:
    """Routes of the form.

    Raises:
        KeyFileError: the researcher's key cannot be read.
    """
    key_file = settings.researcher_key
    identity = load_or_create(key_file, "researcher") if key_file is not None else None

    def new() -> str:
        signs = identity is not None and _may(access)
        # Those that hide first, since the first is what a form proposes.
        protections = sorted(WORDS, key=lambda name: not WORDS[name].hides)
        privacy = Privacy(epsilon=1.5)
        return render_template(
            "new.html", signs=signs, settings=SETTINGS, privacy=privacy, protections=protections
        )

    app.add_url_rule("/new", "new", new)

    @app.get("/api/catalogue")
    def catalogue() -> ResponseReturnValue:
        return jsonify(upstream.read("/api/catalogue"))

    @app.get("/api/draft")
    def draft() -> ResponseReturnValue:
        catalogues = _catalogues(upstream)
        try:
            study = checked(request.args.get("toml", ""), catalogues, take_units=_takes_units(upstream))
        except (StudyError, SchemaError, CohortError) as error:
            return jsonify(valid=False, **carried(str(error)))
        return jsonify(verdict(study, catalogues))

    @app.post("/api/studies")
    def submit() -> ResponseReturnValue:
        if identity is None:
            return _refused(
                "no-key", say("this dashboard has no key to sign with: set FEDCOHORT_RESEARCHER_KEY")
            )
        # A page elsewhere cannot send this: its Origin would be another.
        if urlsplit(request.headers.get("Origin", "")).netloc != request.host:
            return _refused("not-own-page", say("a study is handed in from this dashboard's own page only"))
        body = request.get_json()
        said = body.get("toml") if isinstance(body, Mapping) else None
        text = said if isinstance(said, str) else ""
        try:
            study = checked(text, _catalogues(upstream), take_units=_takes_units(upstream))
        except (StudyError, SchemaError, CohortError) as error:
            return jsonify(code=error.code, **carried(str(error))), 400
        answer = _handed_in(upstream, study, identity, access)
        return jsonify(answer.body), answer.status


def verdict(study: Study, catalogues: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """The sites' rules applied to a study: whether enough would accept it, and objections."""
    refused = objections(study, catalogues)
    left = len(sites_offering(study.cohort.table, catalogues)) - len(refused)
    return {
        "valid": left >= study.min_sites or not refused,
        "hash": study.hash,
        "refused": sorted(refused),
        **carried(
            in_a_row("\n", [say("{place}: {what}", place=site, what=refused[site]) for site in refused])
        ),
    }


def _may(access: AccessControl) -> bool:
    asking = visitor()
    return asking is not None and asking.role in access.allowed["POST /api/studies"]


def _handed_in(
    upstream: Upstream, study: Study, identity: Identity, access: AccessControl
) -> UpstreamResponse:
    """Hand a study in; it belongs to the visitor, unless the coordinator had it already."""
    was_known = upstream.get(study_path(study.hash)).ok
    answer = upstream.post("/api/studies", submission(study.canonical, identity))
    if answer.status == TAKEN and not was_known:
        claim(access, study.hash)
    return answer


def _catalogues(upstream: Upstream) -> Mapping[str, Mapping[str, Any]]:
    sites = upstream.read("/api/catalogue").get("sites")
    return cast("dict[str, dict[str, Any]]", sites) if isinstance(sites, dict) else {}


def _takes_units(upstream: Upstream) -> bool:
    """Whether the coordinator is of this version's rules; an earlier one refuses a study that says units."""
    coordinator = upstream.read("/api/federation").get("coordinator")
    return isinstance(coordinator, dict) and coordinator.get("rules") == RULES


def _refused(code: str, message: Text) -> ResponseReturnValue:
    return jsonify(code=code, **carried(message)), 403


def checked(text: str, catalogues: Mapping[str, Mapping[str, Any]], *, take_units: bool = True) -> Study:
    """The study that this TOML is, with every column's kind as the sites declare it.

    Args:
        take_units: as of `resolve_cohort`.
    Raises:
        StudyError: the text is no study; names every wrong field.
        SchemaError, CohortError: the sites do not offer what it asks.
    """
    from fedcohort.researcher.client import explicit

    if len(text) > MAX_TOML_CHARACTERS:
        raise StudyError(
            "study: longer than {most} characters; use `fedcohort run`", most=MAX_TOML_CHARACTERS
        )
    try:
        given = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise StudyError("study: not TOML: {error}", error=error) from None
    asked = given.get("analysis")
    analysis = asked if isinstance(asked, dict) else {}
    if analysis.get("kind") not in KINDS or not isinstance(analysis.get("model", ""), str):
        raise StudyError('study: analysis.kind must be "describe" or "train", with a model by its name')
    return explicit(parse_study(given), catalogues, take_units=take_units)
