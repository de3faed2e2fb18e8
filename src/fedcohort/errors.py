"""Every error that fedcohort raises, in one tree.

    FedcohortError
    ├── StudyError            a study (TOML, JSON or Python) is not valid
    ├── ConfigError           config.json, site.toml or a command line is not valid
    ├── DataError             a site's data do not fit the study
    │   ├── SchemaError       a table, column, type or level is missing or differs
    │   ├── CohortError       a cohort's query is not allowed
    │   │   └── EmptyCohortError
    │   ├── DicomError        a DICOM file, or an element of it, cannot be imported
    │   ├── Hl7Error          an HL7 v2 message cannot be read
    │   └── ValueRangeError   NaN, infinity, or a value beyond what was declared
    ├── PolicyError           this site does not allow it
    │   ├── NotApprovedError  nobody at the site has approved this study hash
    │   ├── PrivacyRequiredError  a study without [privacy], where only private ones are answered
    │   ├── ApprovalExpiredError
    │   ├── TooManyStudiesError
    │   ├── NotReleasedError  no person there has let the answer go in time
    │   ├── DisclosureError   its result would tell of single patients, by the sites' rules
    │   └── CohortTooSmallError
    ├── WithheldError         why a private study is not answered depends on data, and is told to nobody
    ├── WireError             a message that cannot be read or must not be sent
    │   ├── MessageTooLargeError
    │   ├── VersionError      the other side speaks another protocol version
    │   │   └── RulesError    it, or an earlier version here, computes by other rules
    │   └── LinkClosedError   the connection ended
    ├── AuthenticationError   unknown site, wrong key, bad signature or token
    │   ├── JoinTokenError    the other side does not take the token that a site joins with
    │   └── RosterError       a site whose key nobody here has confirmed
    ├── LedgerBehindError     this copy of a node's database is older than what the site has signed
    ├── UnwitnessedError      nothing shows that a node's database is the newest copy
    ├── KeyFileError          a key file is missing, broken, or readable by others
    ├── RoundError            a round could not be finished
    │   ├── TooFewSitesError  fewer than min_sites answered in time
    │   └── SaturationError   a value did not fit the range of its block
    ├── StoreError            a database is locked, read-only, full or damaged
    │   └── RowsError         it failed while a cohort's rows were read
    ├── NotFoundError         there is no such study or site
    └── StudyFailedError      what a researcher gets when a study ended without a result

A message says what was wrong, where, and what to do. `code` is all that one
process tells another about an error: it never carries data or counts.
"""

from fedcohort.texts import say


class FedcohortError(Exception):
    """Root of the tree; `code` is the word that may leave the process.

    Its message is a text, of a template and values (`texts.say`); without values it is a whole sentence.
    """

    code = "internal"

    def __init__(self, message: str = "", /, **values: object) -> None:
        super().__init__(say(message, **values))


class StudyError(FedcohortError):
    """A study is not valid."""

    code = "study-invalid"


class ConfigError(FedcohortError):
    """A configuration file or command line is not valid."""

    code = "config-invalid"


class DataError(FedcohortError):
    """A site's data do not fit the study."""

    code = "data-invalid"


class SchemaError(DataError):
    """A table, column, type or level is missing or differs."""

    code = "schema-mismatch"


class CohortError(DataError):
    """A cohort's query is not allowed."""

    code = "cohort-refused"


class EmptyCohortError(CohortError):
    """A cohort selects nothing; the code is that of any other small cohort, so that nobody is told which."""

    code = "cohort-too-small"


class DicomError(DataError):
    """A DICOM file, or one element of it, cannot be imported; never holds a value.

    Attributes:
        position: in bytes from the beginning of the file.
        field: the element's tag and keyword; empty when it is the whole file.
        reason: what is wrong and what to do.
    """

    code = "dicom-invalid"

    def __init__(self, position: int, field: str, reason: str) -> None:
        super().__init__(f"byte {position:,}: {field} {reason}" if field else f"byte {position:,}: {reason}")
        self.position = position
        self.field = field
        self.reason = reason


class Hl7Error(DataError):
    """An HL7 v2 message cannot be read; never holds a value.

    Attributes:
        field: the segment and field, such as MSH-18.
        fault: a word for it, by which refusals are counted.
        reason: what is wrong and what to do.
    """

    code = "event-message-invalid"

    def __init__(self, field: str, fault: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.fault = fault
        self.reason = reason


class ValueRangeError(DataError):
    """NaN, infinity, or a value beyond what was declared."""

    code = "value-out-of-range"


class PolicyError(FedcohortError):
    """The site's policy does not allow what was asked."""

    code = "policy-refused"


class BudgetError(PolicyError):
    """A data set's privacy budget does not pay for a study."""

    code = "budget-exhausted"


class PrivacyRequiredError(PolicyError):
    """A study has no [privacy], and a budget or the site's policy allows no exact answer."""

    code = "privacy-required"


class NotApprovedError(PolicyError):
    """Nobody at this site has approved this study hash."""

    code = "not-approved"


class ApprovalExpiredError(PolicyError):
    """The site's approval has expired."""

    code = "approval-expired"


class NotReleasedError(PolicyError):
    """A person at this site lets each answer go, and has not, whether they said no or nothing."""

    code = "not-released"


class TooManyStudiesError(PolicyError):
    """A site or the coordinator takes no more studies of this researcher, or at all, within a day."""

    code = "too-many-studies"


class DisclosureError(PolicyError):
    """What a study would show tells of single patients, by the rules of its sites; see docs/disclosure.md."""

    code = "disclosure"


class CohortTooSmallError(PolicyError):
    """The cohort has fewer patients than the site's policy demands; under privacy, by a noisy count."""

    code = "cohort-too-small"


class WithheldError(FedcohortError):
    """Under privacy every reason that depends on data has this one code; the node's own log says more."""

    code = "reason-withheld"


class WireError(FedcohortError):
    """A message cannot be read, or must not be sent."""

    code = "message-invalid"


class MessageTooLargeError(WireError):
    """A message is larger than the limit."""

    code = "message-too-large"


class VersionError(WireError):
    """The other side speaks another protocol version."""

    code = "version-unsupported"


class RulesError(VersionError):
    """A study that another version of fedcohort began, or that the other side computes by other rules."""

    code = "rules-differ"


class LinkClosedError(WireError):
    """The connection ended."""

    code = "link-closed"


class AuthenticationError(FedcohortError):
    """Unknown site, wrong key, bad signature or bad token."""

    code = "not-authenticated"


class JoinTokenError(AuthenticationError):
    """The other side does not take the token that a site joins with."""


class RosterError(AuthenticationError):
    """A site of the study has a key that this site's operator has not confirmed."""

    code = "roster-unconfirmed"


class LedgerBehindError(FedcohortError):
    """A node's database does not hold what its site has signed: an older copy was restored."""

    code = "ledger-behind"


class UnwitnessedError(FedcohortError):
    """Too few other sites countersign a node's ledger head, and neither counter nor operator stands in."""

    code = "ledger-unwitnessed"


class KeyFileError(FedcohortError):
    """A key file is missing, broken, or readable by others."""

    code = "key-file"


class RoundError(FedcohortError):
    """A round could not be finished."""

    code = "round-failed"


class TooFewSitesError(RoundError):
    """Fewer than min_sites answered in time."""

    code = "too-few-sites"


class SaturationError(RoundError):
    """A value did not fit the range of its block."""

    code = "saturation"


class StoreError(FedcohortError):
    """A database is locked, read-only, full or damaged."""

    code = "store"


class EarlierStoreError(StoreError):
    """A process's own database is an earlier program's, and only the process itself brings it up to date."""


class RowsError(StoreError):
    """A database failed or took too long while a cohort's rows were read: one patient's values may be why."""


class NotFoundError(FedcohortError):
    """There is no such study or site."""

    code = "not-found"


class StudyFailedError(FedcohortError):
    """A study ended without a result."""

    code = "study-failed"
