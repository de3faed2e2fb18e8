"""The words for columns, labels and splits."""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from fedcohort.errors import ConfigError, FedcohortError, StudyError
from fedcohort.field_faults import IDENTIFIER, describe_errors
from fedcohort.texts import say

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=IDENTIFIER)]
Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True)]
Level = Annotated[int, Field(strict=True)] | Annotated[str, Field(max_length=256)]
Unit = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[^\x00-\x1f\x7f]+$")]


_building: ContextVar[bool] = ContextVar("building", default=False)


def is_part() -> bool:
    """Whether the object that is being made is inside another one, such as a study that came as JSON."""
    return _building.get()


def plain(value: object) -> object:
    """Numbers of NumPy, and columns or levels as pandas and NumPy hold them, as Python's own."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    if type(value) is dict:
        return {plain(key): plain(part) for key, part in value.items()}
    library = type(value).__module__.partition(".")[0]
    if library in ("numpy", "pandas") and getattr(value, "ndim", None) in (0, 1):
        whole = getattr(value, "tolist", None)
        return whole() if callable(whole) else value
    return value


class Frozen(BaseModel):
    """Unknown keys, NaN and infinity are refused; nothing changes afterwards.

    Raises:
        StudyError: names every wrong field, from the outermost object down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def __init__(self, **fields: object) -> None:
        fields = {name: plain(value) for name, value in fields.items()}
        if _building.get():  # inside another object: pydantic collects the faults with their paths
            super().__init__(**fields)
            return
        token = _building.set(True)
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise StudyError(describe_errors(type(self).__name__.lower(), error, type(self))) from None
        finally:
            _building.reset(token)


Model = TypeVar("Model", bound=Frozen)


def validated(
    model: type[Model],
    data: Any,  # noqa: ANN401
    where: str,
    error_type: type[FedcohortError] = ConfigError,
) -> Model:
    """What a file says, as an object of `model`.

    Args:
        data: as TOML or JSON gave it.
        where: the file, for messages.
    Raises:
        ConfigError, or `error_type`: names the file and every wrong field.
    """
    token = _building.set(True)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise error_type(describe_errors(where, error, model)) from None
    finally:
        _building.reset(token)


class Numeric(Frozen):
    """A number with a declared range, in the column's own unit; no range: one is found by summing.

    The unit is what the sites declare; a study that names one is refused where they declare another.
    """

    low: Real | None = None
    high: Real | None = None
    # Left out where nobody declared one, so that a study of an earlier version keeps its hash.
    unit: Unit | None = Field(default=None, exclude_if=lambda value: value is None)

    def __init__(self, low: float | None = None, high: float | None = None, **extra: object) -> None:
        super().__init__(low=low, high=high, **extra)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(say("low {low:g} must be below high {high:g}", low=self.low, high=self.high))
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """(low, high), or None when nobody declared them."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def _listed(levels: object) -> object:
    """A list of what is given as one; anything else is a fault of the field."""
    return tuple(levels) if isinstance(levels, Iterable) and not isinstance(levels, str) else levels


class Categorical(Frozen):
    """A column with a closed list of levels, encoded one-hot; a missing value is a level of its own."""

    levels: tuple[Level, ...] = Field(min_length=2, max_length=1024)

    def __init__(self, levels: Iterable[Level] = (), **extra: object) -> None:
        super().__init__(levels=_listed(levels), **extra)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({str(level) for level in self.levels}) != len(self.levels):
            raise ValueError("levels must be distinct")
        return self


MAX_IMAGE_SIDE = 2_048


class Image(Frozen):
    """A picture a row, of one declared size, 8 bits a channel: grey (1 channel) or colour (3)."""

    height: Annotated[int, Field(strict=True, ge=1, le=MAX_IMAGE_SIDE)]
    width: Annotated[int, Field(strict=True, ge=1, le=MAX_IMAGE_SIDE)]
    channels: Literal[1, 3] = 1

    def __init__(self, height: int = 0, width: int = 0, channels: int = 1, **extra: object) -> None:
        super().__init__(height=height, width=width, channels=channels, **extra)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def most_bytes(self) -> int:
        """No PNG of this size needs more."""
        return 2 * self.height * self.width * self.channels + 2**16


def tag_by_key(by_key: Mapping[str, str], bare: str = "bare") -> Discriminator:
    """Tell which kind of object is meant by the key that only it has, so that faults read well."""

    def tag(value: object) -> str:
        if isinstance(value, Mapping):
            return next((kind for key, kind in by_key.items() if key in value), by_key[""])
        return bare if isinstance(value, str) else type(value).__name__.lower()

    return Discriminator(tag)


Column = Annotated[
    Annotated[Numeric, Tag("numeric")]
    | Annotated[Categorical, Tag("categorical")]
    | Annotated[Image, Tag("image")],
    tag_by_key(
        {"levels": "categorical", "height": "image", "width": "image", "channels": "image", "": "numeric"}
    ),
]


class Binary(Frozen):
    """A yes-or-no label; `positive` is the level that counts as yes."""

    column: Identifier
    positive: Level = 1
    negative: Level = 0

    def __init__(self, column: str = "", **extra: object) -> None:
        super().__init__(column=column, **extra)


class Classes(Frozen):
    """A label with three or more levels."""

    column: Identifier
    levels: tuple[Level, ...] = Field(min_length=3, max_length=256)

    def __init__(self, column: str = "", levels: Iterable[Level] = (), **extra: object) -> None:
        super().__init__(column=column, levels=_listed(levels), **extra)


class Number(Frozen):
    """A label that is a number with a declared range (regression)."""

    column: Identifier
    low: Real
    high: Real
    unit: Unit | None = Field(default=None, exclude_if=lambda value: value is None)

    def __init__(
        self, column: str = "", low: float | None = None, high: float | None = None, **extra: object
    ) -> None:
        given = {name: value for name, value in (("low", low), ("high", high)) if value is not None}
        super().__init__(column=column, **given, **extra)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(say("low {low:g} must be below high {high:g}", low=self.low, high=self.high))
        return self


Causes = Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=1_000)], ...], Field(max_length=20)]


class Survival(Frozen):
    """A label that is a time and whether the event was seen.

    Whoever is observed beyond `horizon` counts as observed until then, without the event; it bounds the time,
    as privacy needs. The event is 1, or 0 where it was not seen; with competing causes it is one of `causes`,
    such as (1, 2), of which the first that befalls a patient is seen.
    """

    time: Identifier
    event: Identifier
    # Left out where nobody declared one, so that a study of an earlier version keeps its hash.
    horizon: Annotated[Real, Field(gt=0, le=1e9)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    causes: Causes = Field(default=(), exclude_if=lambda value: not value)

    def __init__(
        self,
        time: str = "",
        event: str = "",
        horizon: float | None = None,
        causes: Iterable[int] = (),
        **extra: object,
    ) -> None:
        super().__init__(time=time, event=event, horizon=horizon, causes=_listed(causes), **extra)

    @model_validator(mode="after")
    def _competing(self) -> Self:
        if self.causes and (len(self.causes) < 2 or list(self.causes) != sorted(set(self.causes))):
            raise ValueError(
                say("causes: write two or more, in order, each once, such as [1, 2]; of one leave them out")
            )
        return self

    @property
    def events(self) -> tuple[int, ...]:
        """What stands in its event's column: 0 without the event, then its causes."""
        return (0, *(self.causes or (1,)))

    @property
    def number(self) -> Numeric:
        """Its time as a number, bounded by the horizon where there is one."""
        return Numeric() if self.horizon is None else Numeric(0.0, self.horizon)


Label = Binary | Classes | Number | Survival
AnyLabel = Annotated[
    Annotated[Identifier, Tag("bare")]
    | Annotated[Binary, Tag("binary")]
    | Annotated[Classes, Tag("classes")]
    | Annotated[Number, Tag("number")]
    | Annotated[Survival, Tag("survival")],
    tag_by_key({"time": "survival", "event": "survival", "levels": "classes", "low": "number", "": "binary"}),
]


class Holdout(Frozen):
    """Hold out this fraction of patients, by keyed hash of patient_id; of 0 nobody, so that all train."""

    fraction: Annotated[float, Field(strict=True, ge=0, lt=1)]

    def __init__(self, fraction: float | None = None, **extra: object) -> None:
        super().__init__(**extra if fraction is None else {"fraction": fraction, **extra})


AnySplit = Annotated[
    Annotated[Identifier, Tag("bare")] | Annotated[Holdout, Tag("holdout")], tag_by_key({"": "holdout"})
]
