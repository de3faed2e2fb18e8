"""The views that come with fedcohort, one a file, and those of a hospital's own that replace or add to them.

A view's `name` is the kind of event that it fills, its columns are `patient_id` and columns of that kind
(`sources/events/tables.py`). All views of one kind over one type of resource fill one group of rows.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.events.tables import KINDS, EventKind
from fedcohort.sources.fhir.view import View, compile_view

MAX_BYTES = 2**20
"""Of a view's file."""


@dataclass(frozen=True)
class KindViews:
    """What fills one kind of event from one type of resource."""

    kind: EventKind
    views: tuple[View, ...]


Views = Mapping[str, tuple[KindViews, ...]]
"""By type of resource."""


def read_views(own: Sequence[Path] = ()) -> Views:
    """The built-in views, and a hospital's own, which replace those of their kind and resource.

    Args:
        own: files, each with a ViewDefinition.
    Raises:
        ConfigError: a file cannot be read or is no view that fills a kind of event; names it and the place.
    """
    chosen: dict[tuple[str, str], list[View]] = {}
    for view in built_in_views():
        chosen.setdefault((view.name, view.resource), []).append(view)
    replacing: dict[tuple[str, str], list[View]] = {}
    for path in own:
        view = _read(path)
        replacing.setdefault((view.name, view.resource), []).append(view)
    return _by_resource({**chosen, **replacing})


def _by_resource(chosen: Mapping[tuple[str, str], Iterable[View]]) -> Views:
    found: dict[str, list[KindViews]] = {}
    for (name, resource), views in chosen.items():
        found.setdefault(resource, []).append(KindViews(KINDS[name], tuple(views)))
    return {resource: tuple(kinds) for resource, kinds in found.items()}


@cache
def built_in_views() -> tuple[View, ...]:
    """Those of this folder, by the names of their files."""
    folder = files("fedcohort.sources.fhir.views")
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".json"))
    return tuple(event_view(json.loads(folder.joinpath(name).read_text("utf-8"))) for name in names)


def event_view(definition: Any) -> View:  # noqa: ANN401 - JSON
    """Compile a view that fills a kind of event.

    Raises:
        ConfigError: it is no view, or its name or columns are not those of a kind of event.
    """
    view = compile_view(definition)
    kind = KINDS.get(view.name)
    if kind is None:
        raise ConfigError(f"name: a view is named for what it fills, one of {', '.join(KINDS)}")
    if PATIENT_ID not in view.columns:
        raise ConfigError(f"column {PATIENT_ID}: missing; write it, such as subject.getReferenceKey(Patient)")
    unknown = [name for name in view.columns if name != PATIENT_ID and name not in kind.columns]
    if unknown:
        raise ConfigError(
            f"column {unknown[0]}: {view.name} has no such column; choose among {', '.join(kind.columns)}"
        )
    return view


def _read(path: Path) -> View:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a ViewDefinition's file by --view") from error
    try:
        if len(content) > MAX_BYTES:
            raise ConfigError("is larger than any view; give a ViewDefinition's file by --view")
        return event_view(json.loads(content.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: is no JSON; write a ViewDefinition as SQL-on-FHIR v2 has it") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
