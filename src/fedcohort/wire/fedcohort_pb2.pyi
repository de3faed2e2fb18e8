from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    FLOAT32: _ClassVar[DType]
    FLOAT64: _ClassVar[DType]
    INT32: _ClassVar[DType]
    INT64: _ClassVar[DType]
    UINT32: _ClassVar[DType]
    UINT64: _ClassVar[DType]
DTYPE_UNSPECIFIED: DType
FLOAT32: DType
FLOAT64: DType
INT32: DType
INT64: DType
UINT32: DType
UINT64: DType

class Array(_message.Message):
    __slots__ = ("name", "dtype", "shape", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("study", "researcher", "researcher_key", "signature", "rules")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    RESEARCHER_FIELD_NUMBER: _ClassVar[int]
    RESEARCHER_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    study: bytes
    researcher: str
    researcher_key: bytes
    signature: bytes
    rules: int
    def __init__(self, study: _Optional[bytes] = ..., researcher: _Optional[str] = ..., researcher_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., rules: _Optional[int] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("study_hash", "site", "approved", "code", "max_rounds", "expires_at", "signature", "rules", "disclosure", "release_seconds")
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MAX_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DISCLOSURE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    study_hash: str
    site: str
    approved: bool
    code: str
    max_rounds: int
    expires_at: int
    signature: bytes
    rules: int
    disclosure: str
    release_seconds: int
    def __init__(self, study_hash: _Optional[str] = ..., site: _Optional[str] = ..., approved: _Optional[bool] = ..., code: _Optional[str] = ..., max_rounds: _Optional[int] = ..., expires_at: _Optional[int] = ..., signature: _Optional[bytes] = ..., rules: _Optional[int] = ..., disclosure: _Optional[str] = ..., release_seconds: _Optional[int] = ...) -> None: ...

class Setup(_message.Message):
    __slots__ = ("study_hash", "round", "attempt", "parcels", "public", "roster")
    class ParcelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARCELS_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    study_hash: str
    round: int
    attempt: int
    parcels: _containers.ScalarMap[str, bytes]
    public: bytes
    roster: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, study_hash: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., parcels: _Optional[_Mapping[str, bytes]] = ..., public: _Optional[bytes] = ..., roster: _Optional[_Iterable[str]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("study_hash", "round", "attempt", "phase", "arrays", "state_digest", "roster")
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    study_hash: str
    round: int
    attempt: int
    phase: str
    arrays: _containers.RepeatedCompositeFieldContainer[Array]
    state_digest: bytes
    roster: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, study_hash: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., phase: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[Array, _Mapping]]] = ..., state_digest: _Optional[bytes] = ..., roster: _Optional[_Iterable[str]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("study_hash", "round", "attempt", "site", "state_digest", "body", "extras", "signature", "compute_us", "seal_us")
    class ExtrasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    EXTRAS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    SEAL_US_FIELD_NUMBER: _ClassVar[int]
    study_hash: str
    round: int
    attempt: int
    site: str
    state_digest: bytes
    body: bytes
    extras: _containers.ScalarMap[str, bytes]
    signature: bytes
    compute_us: int
    seal_us: int
    def __init__(self, study_hash: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., site: _Optional[str] = ..., state_digest: _Optional[bytes] = ..., body: _Optional[bytes] = ..., extras: _Optional[_Mapping[str, bytes]] = ..., signature: _Optional[bytes] = ..., compute_us: _Optional[int] = ..., seal_us: _Optional[int] = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("study_hash", "round", "attempt", "survivors", "total", "extras", "roster")
    class ExtrasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    EXTRAS_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    study_hash: str
    round: int
    attempt: int
    survivors: _containers.RepeatedScalarFieldContainer[str]
    total: bytes
    extras: _containers.ScalarMap[str, bytes]
    roster: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, study_hash: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., survivors: _Optional[_Iterable[str]] = ..., total: _Optional[bytes] = ..., extras: _Optional[_Mapping[str, bytes]] = ..., roster: _Optional[_Iterable[str]] = ...) -> None: ...

class Help(_message.Message):
    __slots__ = ("study_hash", "round", "attempt", "site", "body", "signature", "request")
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    study_hash: str
    round: int
    attempt: int
    site: str
    body: bytes
    signature: bytes
    request: bytes
    def __init__(self, study_hash: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., site: _Optional[str] = ..., body: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., request: _Optional[bytes] = ...) -> None: ...

class Card(_message.Message):
    __slots__ = ("site", "identity_key", "agreement_key", "signature")
    SITE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_KEY_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    site: str
    identity_key: bytes
    agreement_key: bytes
    signature: bytes
    def __init__(self, site: _Optional[str] = ..., identity_key: _Optional[bytes] = ..., agreement_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Roster(_message.Message):
    __slots__ = ("cards",)
    CARDS_FIELD_NUMBER: _ClassVar[int]
    cards: _containers.RepeatedCompositeFieldContainer[Card]
    def __init__(self, cards: _Optional[_Iterable[_Union[Card, _Mapping]]] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("site", "epoch", "sequence", "hash", "signature")
    SITE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    site: str
    epoch: int
    sequence: int
    hash: bytes
    signature: bytes
    def __init__(self, site: _Optional[str] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., hash: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Heads(_message.Message):
    __slots__ = ("heads",)
    HEADS_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.RepeatedCompositeFieldContainer[Head]
    def __init__(self, heads: _Optional[_Iterable[_Union[Head, _Mapping]]] = ...) -> None: ...

class HeadCheck(_message.Message):
    __slots__ = ("head", "nonce")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    head: Head
    nonce: bytes
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class Countersignature(_message.Message):
    __slots__ = ("site", "head", "nonce", "signature")
    SITE_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    site: str
    head: Head
    nonce: bytes
    signature: bytes
    def __init__(self, site: _Optional[str] = ..., head: _Optional[_Union[Head, _Mapping]] = ..., nonce: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "study_hash", "round", "attempt", "code", "detail")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STUDY_HASH_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    study_hash: str
    round: int
    attempt: int
    code: str
    detail: bytes
    def __init__(self, kind: _Optional[str] = ..., study_hash: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[int] = ..., code: _Optional[str] = ..., detail: _Optional[bytes] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("total", "offset", "data")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    total: int
    offset: int
    data: bytes
    def __init__(self, total: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("proposal", "approval", "setup", "task", "contribution", "open_request", "help", "event", "card", "roster", "heads", "head_check", "countersignature", "heartbeat", "chunk")
    PROPOSAL_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    SETUP_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    OPEN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    HELP_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    HEAD_CHECK_FIELD_NUMBER: _ClassVar[int]
    COUNTERSIGNATURE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    proposal: Proposal
    approval: Approval
    setup: Setup
    task: Task
    contribution: Contribution
    open_request: OpenRequest
    help: Help
    event: Event
    card: Card
    roster: Roster
    heads: Heads
    head_check: HeadCheck
    countersignature: Countersignature
    heartbeat: Heartbeat
    chunk: Chunk
    def __init__(self, proposal: _Optional[_Union[Proposal, _Mapping]] = ..., approval: _Optional[_Union[Approval, _Mapping]] = ..., setup: _Optional[_Union[Setup, _Mapping]] = ..., task: _Optional[_Union[Task, _Mapping]] = ..., contribution: _Optional[_Union[Contribution, _Mapping]] = ..., open_request: _Optional[_Union[OpenRequest, _Mapping]] = ..., help: _Optional[_Union[Help, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., card: _Optional[_Union[Card, _Mapping]] = ..., roster: _Optional[_Union[Roster, _Mapping]] = ..., heads: _Optional[_Union[Heads, _Mapping]] = ..., head_check: _Optional[_Union[HeadCheck, _Mapping]] = ..., countersignature: _Optional[_Union[Countersignature, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class OpeningRecord(_message.Message):
    __slots__ = ("round", "attempt", "total", "contributions")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    round: int
    attempt: int
    total: bytes
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    def __init__(self, round: _Optional[int] = ..., attempt: _Optional[int] = ..., total: _Optional[bytes] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version_min", "version_max", "role", "id", "public_key", "nonce", "unix_time")
    VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_MAX_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_FIELD_NUMBER: _ClassVar[int]
    version_min: int
    version_max: int
    role: str
    id: str
    public_key: bytes
    nonce: bytes
    unix_time: int
    def __init__(self, version_min: _Optional[int] = ..., version_max: _Optional[int] = ..., role: _Optional[str] = ..., id: _Optional[str] = ..., public_key: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., unix_time: _Optional[int] = ...) -> None: ...

class Proof(_message.Message):
    __slots__ = ("signature", "token_mac", "refusal")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_MAC_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    signature: bytes
    token_mac: bytes
    refusal: str
    def __init__(self, signature: _Optional[bytes] = ..., token_mac: _Optional[bytes] = ..., refusal: _Optional[str] = ...) -> None: ...
