"""How an import of events treats what identifies: said by whoever imports, and nothing is assumed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fedcohort.errors import ValueRangeError
from fedcohort.sources.catalogue.normal_form import identifier as normal
from fedcohort.sources.importer.deidentification import IDENTIFIERS_KEPT, IdentifiersKept, NoIdentifiers


@dataclass(frozen=True)
class Named:
    """A patient as the database knows it, and by how many days its dates move."""

    name: str
    days: int


@dataclass(frozen=True)
class EventNames:
    """What becomes of identifiers, dates and codes.

    Attributes:
        identity: how patients are known afterwards; a database keeps to one.
        form: of the identifiers of which names are made; None where they stay as they come.
        digest: of what else decides the outcome.
        oldest_ms: what lies before it becomes it, as a time that tells an age over 89; None: nothing does.
        patient: an identifier to its name. Raises ValueRangeError where it has no text.
        stand_in: what an identifier is of, and the identifier, to what is stored.
        has_shape: whether a code's text has the shape of an identifier; of a local code system or not.
        seal, unseal: what is kept beside events and tells true times; what it is of, and the content.
        part_name, content: of a file, its name and its digest, as the database may hold them.
        report: what was done, in words.
        permission: why identifiers are kept, and who allows it; None where they are not.
    """

    identity: str
    form: int | None
    digest: str
    oldest_ms: int | None
    patient: Callable[[str], Named]
    stand_in: Callable[[str, str], str]
    has_shape: Callable[[str, bool], bool]
    seal: Callable[[str, bytes], bytes]
    unseal: Callable[[str, bytes], bytes]
    part_name: Callable[[str], str]
    content: Callable[[str], str]
    report: str
    permission: IdentifiersKept | None = None


class EventNaming(Protocol):
    """A deidentification that knows events, such as `deidentify.rule_set.RuleSet`."""

    def event_names(self, form: int) -> EventNames:
        """How events are named.

        Args:
            form: of the database's identifiers (`identity.form_of`).
        Raises:
            ConfigError: the rules do not fit events.
        """
        ...


EventDeidentification = EventNaming | IdentifiersKept | NoIdentifiers


def names_of(deidentification: EventDeidentification, form: int) -> EventNames:
    """How events are named in a database of this form of identifiers."""
    if not isinstance(deidentification, IdentifiersKept | NoIdentifiers):
        return deidentification.event_names(form)
    return EventNames(
        identity=IDENTIFIERS_KEPT,
        form=None,
        digest="",
        oldest_ms=None,
        patient=lambda identifier: _as_it_is(identifier, form),
        stand_in=lambda _what, identifier: identifier,
        has_shape=lambda _text, _is_local: False,
        seal=lambda _what, content: content,
        unseal=lambda _what, content: content,
        part_name=str,
        content=str,
        report=str(deidentification),
        permission=deidentification if isinstance(deidentification, IdentifiersKept) else None,
    )


def _as_it_is(identifier: str, form: int) -> Named:
    """An identifier that is kept, as the other tables of its database have it."""
    if form == 1:
        return Named(identifier, 0)
    text = normal(identifier, form)
    if text is None:
        raise ValueRangeError("the patient's identifier has no text")
    return Named(text, 0)
