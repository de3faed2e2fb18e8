"""The meaning of refusal codes for a researcher, and what to do: sites send a code only."""

from collections.abc import Iterable

WORDS = {
    "privacy-required": "there is no exact answer there, because of a privacy budget or the site's policy; "
    "give the study [privacy], or ask the site's operator",
    "budget-exhausted": "the site's privacy budget does not pay for the study; ask for a smaller epsilon and "
    "delta, or ask the site's operator",
    "policy-refused": "the site's policy does not allow it; ask the site's operator which word of site.toml "
    "stands against it",
    "too-many-studies": "the site approves no more studies of one researcher today; hand it in again later",
    "refused-by-site": "a person at the site said no; ask the site's operator",
    "refused-question": "a person at the site said no to the question itself",
    "refused-columns": "a person at the site said no to the columns or patients that are asked for",
    "refused-privacy": "a person at the site said no: too little privacy",
    "refused-protection": "a person at the site said no: too little protection",
    "refused-researcher": "a person at the site said no to who asks",
    "cohort-too-small": "the study selects too few patients there; widen cohort.where",
    "reason-withheld": "the reason could tell of patients, and stands in the site's own log alone; ask the "
    "site's operator",
    "schema-mismatch": "a table or column is not on offer there, or is of another kind; compare the study "
    "with the site's catalogue",
    "data-invalid": "the data there do not fit the study; ask the site's operator",
    "cohort-refused": "cohort.where is not allowed there",
    "value-out-of-range": "a value there is not finite, or beyond what was declared; ask the site's operator",
    "saturation": "a sum does not fit the protection's range; declare narrower bounds",
    "study-invalid": "the site cannot read the study; it may run another version of fedcohort",
    "rules-differ": "the site runs a version of fedcohort that computes by other rules; ask its operator for "
    "an upgrade",
    "roster-unconfirmed": "the site's operator has not confirmed the other sites' keys (`fedcohort roster`)",
    "ledger-unwitnessed": "too few other sites vouch for the site's ledger; ask the site's operator",
    "ledger-behind": "the site's ledger is an older copy; ask the site's operator",
    "approval-expired": "the site's approval has expired; ask for a new one",
    "not-released": "a person at the site lets each answer go, and none did within the site's time; ask the "
    "site's operator",
    "not-approved": "nobody at the site has approved the study",
    "config-invalid": "the site's configuration is not valid; ask the site's operator",
    "key-file": "a key of the site cannot be read; ask the site's operator",
    "disclosure": "what the study would show tells of single patients, by the sites' rules of disclosure; "
    "widen the cohort, or ask for less",
    "store": "the site's database is not available; ask the site's operator",
}


def in_words(code: str) -> str:
    """A code with what it means; one that nobody here knows as it is."""
    return f"{code} ({WORDS[code]})" if code in WORDS else code


def explained(codes: Iterable[str]) -> str:
    """A sentence for every code that is known, each once, to follow a message that names them."""
    return "".join(f". {code}: {WORDS[code]}" for code in dict.fromkeys(codes) if code in WORDS)
