"""What a researcher writes: a study, frozen and validated once.

The same words stand in Python, TOML and JSON. A study is its canonical JSON:
`Study.hash` is SHA-256 over it, and is what a hospital approves, what every
message names, and what cannot change afterwards.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from fedcohort.columns import (
    AnyLabel,
    AnySplit,
    Binary,
    Categorical,
    Classes,
    Column,
    Frozen,
    Holdout,
    Identifier,
    Image,
    Label,
    Name,
    Number,
    Numeric,
    Real,
    Survival,
    building,
    describe_errors,
)
from fedcohort.errors import StudyError

__all__ = [
    "Binary",
    "Categorical",
    "Classes",
    "Cohort",
    "Column",
    "Describe",
    "Evaluate",
    "Holdout",
    "Image",
    "Label",
    "Number",
    "Numeric",
    "Privacy",
    "SavedModel",
    "Study",
    "Survival",
    "Train",
    "parse_study",
    "read_saved_model",
]

MAX_STUDY_BYTES = 64 * 2**20
"""A study with a saved model inside is still one small file."""


class Cohort(Frozen):
    """The patients and columns that a study selects at every site."""

    table: Identifier = "records"
    columns: Annotated[
        Annotated[Sequence[Identifier], AfterValidator(tuple), Tag("list")]
        | Annotated[Mapping[Identifier, Column], AfterValidator(dict), Tag("mapping")],
        Discriminator(lambda value: "mapping" if isinstance(value, Mapping) else "list"),
    ]
    label: AnyLabel | None = None
    where: Annotated[str, Field(max_length=10_000)] | None = None
    bounds: dict[Identifier, tuple[Real, Real]] = Field(default_factory=dict)
    split: AnySplit | None = Holdout(0.2)
    patient_id: Identifier = "patient_id"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = list(self.columns)
        if not names:
            raise ValueError("columns: name at least one column")
        if len(set(names)) != len(names):
            raise ValueError("columns: a column is named twice")
        unknown = set(self.bounds) - set(names)
        if unknown:
            raise ValueError(f"bounds: {', '.join(sorted(unknown))} is not among the columns")
        for name, (low, high) in self.bounds.items():
            if low >= high:
                raise ValueError(f"bounds.{name}: low {low:g} must be below high {high:g}")
        kinds = self.columns if isinstance(self.columns, dict) else {}
        if any(isinstance(kinds.get(name), Categorical | Image) for name in self.bounds):
            raise ValueError("bounds: a categorical column or an image has none")
        overlap = set(self.label_columns) & set(names)
        if overlap:
            raise ValueError(f"label: {', '.join(sorted(overlap))} is also among the columns")
        return self

    @property
    def schema_(self) -> dict[str, Column]:
        """Every column with its kind; `bounds` narrow or give a numeric column's range."""
        kinds = self.columns if isinstance(self.columns, dict) else {name: Numeric() for name in self.columns}
        return {
            name: Numeric(*self.bounds[name]) if name in self.bounds else kind for name, kind in kinds.items()
        }

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that the label reads; empty without a label."""
        match self.label:
            case None:
                return ()
            case str():
                return (self.label,)
            case Survival():
                return (self.label.time, self.label.event)
            case _:
                return (self.label.column,)

    @property
    def typed_label(self) -> Label | None:
        """The label with its kind; a bare name means binary, 1 against 0."""
        return Binary(self.label) if isinstance(self.label, str) else self.label

    @property
    def is_explicit(self) -> bool:
        """True when columns and label carry their kinds, so that every site reads them alike."""
        return isinstance(self.columns, dict) and not isinstance(self.label, str)


class Describe(Frozen):
    """Count, missing, mean, standard deviation and levels by column."""

    kind: Literal["describe"] = "describe"


def _keras_config(model: object) -> object:
    """Take a Keras model as its JSON configuration; names and mappings pass through."""
    return json.loads(model.to_json()) if hasattr(model, "to_json") else model


ModelName = Literal["logistic", "mlp_medical", "cnn_medical", "image_and_record"]
Model = Annotated[ModelName | dict[str, Any], BeforeValidator(_keras_config)]


class Train(Frozen):
    """Train a Keras model; features are standardised by the federated mean and deviation.

    `fedavg` (McMahan et al. 2017) takes `local_epochs` of SGD at each site and averages;
    `fedsgd` takes one gradient over all training rows a round. `proximal_mu` is FedProx
    (Li et al. 2020); `server_optimizer` momentum or adam is FedAvgM or FedAdam (Reddi et al. 2021).
    The finished model's weights are the mean of those after the last `average_rounds` rounds (Izmailov
    et al. 2018): None is the last alone, and under privacy the second half.
    """

    kind: Literal["train"] = "train"
    model: Model = "mlp_medical"
    algorithm: Literal["fedavg", "fedsgd"] = "fedavg"
    rounds: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 30
    local_epochs: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1
    batch_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 32
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=100)] = 0.1
    l2: Annotated[float, Field(strict=True, ge=0, le=1_000)] = 0.0
    proximal_mu: Annotated[float, Field(strict=True, ge=0, le=1_000)] = 0.0
    server_optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    server_learning_rate: Annotated[float, Field(strict=True, gt=0, le=100)] | None = None
    # Left out where it says nothing, so that a study of an earlier version keeps its hash.
    average_rounds: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    importance: Annotated[bool, Field(strict=True)] = True

    @classmethod
    def private(cls, model: object = "logistic", **changes: object) -> Self:
        """What private training needs in place of the defaults, whatever the data: many cheap rounds.

        One clipped gradient a round over all patients, and steps that suit `Privacy`'s default clip.
        """
        chosen = {"algorithm": "fedsgd", "rounds": 200, "learning_rate": 2.0, **changes}
        return cls.model_validate({"model": model, **chosen})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.algorithm == "fedsgd" and (self.local_epochs != 1 or self.proximal_mu):
            raise ValueError(
                "algorithm fedsgd takes one gradient a round: leave out local_epochs and proximal_mu"
            )
        if self.average_rounds is not None and self.average_rounds > self.rounds:
            raise ValueError(f"average_rounds: {self.average_rounds} of {self.rounds} rounds; give no more")
        return self


class SavedModel(Frozen):
    """A trained model inside a study: configuration, weights and how features are encoded."""

    model: Model
    weights: Annotated[str, Field(max_length=MAX_STUDY_BYTES)]
    """float32, little endian, layer after layer, in base64."""
    mean: tuple[Real, ...]
    deviation: tuple[Real, ...]


class Evaluate(Frozen):
    """Measure a trained model on the cohort's held-out patients; `model` is a Result or its folder."""

    kind: Literal["evaluate"] = "evaluate"
    model: SavedModel
    importance: Annotated[bool, Field(strict=True)] = True

    def __init__(self, model: object = None, **extra: object) -> None:
        super().__init__(model=model, **extra)

    @model_validator(mode="before")
    @classmethod
    def _saved(cls, data: object) -> object:
        if not isinstance(data, dict) or "model" not in data:
            return data
        model = data["model"]
        if isinstance(model, str | Path):
            return {**data, "model": read_saved_model(Path(model))}
        return {**data, "model": getattr(model, "saved_model", model)}


def read_saved_model(folder: Path) -> SavedModel:
    """Read what `result.save(folder)` wrote.

    Raises:
        StudyError: the folder holds no saved model, or it is damaged.
    """
    path = folder / "model.json"
    try:
        return SavedModel.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; give the folder that result.save wrote") from error
    except ValidationError as error:
        raise StudyError(describe_errors(str(path), error)) from None


LEAST_EPSILON, LARGEST_EPSILON = 1e-6, 1e4


def _promise(value: object) -> object:
    """Refuse an epsilon that is no number, or promises nothing, in words for who has never met one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not LEAST_EPSILON <= float(str(value)) <= LARGEST_EPSILON:
        raise ValueError(
            f"must be a number from {LEAST_EPSILON:g} to {LARGEST_EPSILON:,.0f}, such as 1.5: the smaller, "
            "the less the results can say about any one patient; leave it out for a study without privacy"
        )
    return value


Epsilon = Annotated[float, BeforeValidator(_promise), Field(strict=True)]


class Privacy(Frozen):
    """Differential privacy of the whole study, a patient's data being the unit.

    `noise` says where it is added: "shared", in shares that only the sum holds whole, or "site", all
    of it at each site; left out, it is shared wherever the protection hides single vectors and the
    algorithm takes one sum a round. `clip`
    bounds the L2 norm of a patient's gradient; a patient counts with at most `rows_per_patient` rows.
    So many `dropouts` may be lost in a round without the noise falling short. Held-out patients are
    measured every `evaluate_every` rounds.
    """

    epsilon: Epsilon
    delta: Annotated[float, Field(strict=True, ge=1e-10, lt=1)] = 1e-5
    noise: Literal["shared", "site"] | None = None
    clip: Annotated[float, Field(strict=True, ge=1e-6, le=1e6)] = 0.5
    rows_per_patient: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1
    dropouts: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 0
    schedule: Literal["constant", "decaying"] = "constant"
    evaluate_every: Annotated[int, Field(strict=True, ge=1)] = 50


Protection = Literal["none", "masks", "paillier", "ckks"]


class Study(Frozen):
    """One question to all sites.

    `protection` hides each site's vector from the coordinator; `colluders` is how many sites may
    tell the coordinator all they know without harm; `key_bits` is the size of a `paillier` key.
    """

    name: Name
    cohort: Cohort
    analysis: Annotated[Describe | Train | Evaluate, Field(discriminator="kind")]
    privacy: Privacy | None = None
    protection: Protection = "masks"
    colluders: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 1
    key_bits: Literal[2048, 3072] = 3072
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    min_sites: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 2
    round_timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=86_400)] = 120.0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.privacy is not None:
            _check_private(self, self.privacy)
        if self.protection != "paillier" and self.key_bits != 3072:
            raise ValueError(f"key_bits: {self.protection} has no key of a size to choose; leave it out")
        if not isinstance(self.analysis, Describe):
            if self.cohort.label is None:
                raise ValueError(f"cohort.label: {self.analysis.kind} needs a label")
            if isinstance(self.cohort.label, Survival):
                raise ValueError(
                    f"cohort.label: {self.analysis.kind} cannot use a survival label; describe can"
                )
        return self

    @property
    def shares_noise(self) -> bool:
        """Whether the sites' noise is private only as a sum."""
        if self.privacy is None:
            return False
        one_sum = not isinstance(self.analysis, Train) or self.analysis.algorithm == "fedsgd"
        possible = self.protection != "none" and one_sum
        return possible if self.privacy.noise is None else self.privacy.noise == "shared"

    def least_sites(self, n_sites: int) -> int:
        """Fewer of `n_sites` are never summed: what the researcher said, and what shared noise needs."""
        if self.privacy is None or not self.shares_noise:
            return self.min_sites
        return max(self.min_sites, n_sites - self.privacy.dropouts)

    @property
    def canonical(self) -> bytes:
        """The study as canonical JSON: sorted keys, no white space, UTF-8."""
        data = self.model_dump(mode="json")
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex: what a hospital approves."""
        return hashlib.sha256(self.canonical).hexdigest()


def _check_private(study: Study, privacy: Privacy) -> None:
    asked = study.analysis
    if not isinstance(asked, Train):
        _check_private_once(study, privacy)
    elif privacy.noise == "shared" and asked.algorithm != "fedsgd":
        raise ValueError(
            'privacy.noise: shared noise needs one sum a round: take analysis.algorithm = "fedsgd", as '
            'fc.Train.private() does, or noise = "site"'
        )
    if privacy.noise == "shared" and study.protection == "none":
        raise ValueError(
            'privacy.noise: without a protection the coordinator would see a share alone; take noise = "site"'
        )
    if study.cohort.is_explicit and (missing := missing_bounds(study.cohort)):
        raise ValueError(missing)


def missing_bounds(cohort: Cohort) -> str | None:
    """Which numbers privacy has no declared bounds for, and what to do; nothing where all have."""
    names = [k for k, kind in cohort.schema_.items() if isinstance(kind, Numeric) and kind.bounds is None]
    if not names:
        return None
    return (
        f"cohort.bounds: privacy needs declared bounds for {', '.join(names)}, such as the "
        "clinical range; bounds that are looked up in the data would tell about patients"
    )


def _check_private_once(study: Study, privacy: Privacy) -> None:
    """What a description or an evaluation, which release once, would not heed."""
    if isinstance(study.cohort.label, Survival):
        raise ValueError("cohort.label: privacy needs declared bounds, and a survival time has none")
    fields, kind = Privacy.model_fields, study.analysis.kind
    for name in ("clip", "schedule", "evaluate_every"):
        if getattr(privacy, name) != fields[name].default:
            raise ValueError(f"privacy.{name}: {kind} learns nothing by steps; leave it out")
    if kind == "evaluate" and privacy.rows_per_patient != 1:
        raise ValueError("privacy.rows_per_patient: evaluate counts a patient with one row; leave it out")


def parse_study(data: bytes | Mapping[str, Any], where: str = "study") -> Study:
    """Make a study from JSON bytes or a mapping.

    Raises:
        StudyError: names each wrong field of `where`.
    """
    if isinstance(data, bytes):
        if len(data) > MAX_STUDY_BYTES:
            raise StudyError(f"{where}: larger than {MAX_STUDY_BYTES >> 20} MiB")
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StudyError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise StudyError(f"{where}: must be a table of keys, such as name, [cohort] and [analysis]")
    token = building.set(True)
    try:
        return Study.model_validate(dict(data))
    except ValidationError as error:
        raise StudyError(describe_errors(where, error)) from None
    finally:
        building.reset(token)
