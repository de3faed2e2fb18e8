"""What studies, their readers and hospitals' policies must know of each protection.

The record of its functions (`protection.contract`) is in `protection.registry` under the same name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """A protection in a study's terms.

    Attributes:
        hides: whether the coordinator sees a sum rather than each hospital's vector.
        rests_on: on what hiding rests, for a clinician or a data-protection officer; `{colluders}` and
            `{quorum}` stand for those of the study.
        sized_key: whether a study may choose the size of its key (`key_bits`).
        opened_alone: whether one hospital opens a sum by itself, and can keep it from the coordinator.
        most_weights: of a model; None where every model fits into a message.
    """

    hides: bool = True
    rests_on: str = ""
    sized_key: bool = False
    opened_alone: bool = False
    most_weights: int | None = None


SHARED_KEY = (
    "The hospitals hold the key, the coordinator does not. It rests on a coordinator that follows "
    "the protocol and on every hospital: one that shows the coordinator what it decrypts, or gets "
    "another's ciphertext from it, can read that hospital's vector."
)
WORDS: dict[str, Words] = {
    "none": Words(hides=False),
    "masks": Words(
        rests_on="It rests on the confirmed keys of the hospitals: as long as no more than {colluders} of "
        "them tell the coordinator what they know, a round's sum is opened once, by {quorum}, for one "
        "set of hospitals, whatever the coordinator does. Two rounds or studies can still be compared."
    ),
    "paillier": Words(rests_on=SHARED_KEY, sized_key=True, opened_alone=True),
    # One message of the wire holds 2^30 bytes, and a weight takes up to 80 of them as ciphertext.
    "ckks": Words(rests_on=SHARED_KEY, opened_alone=True, most_weights=13_000_000),
}
"""By the name that a study says; in this order they are listed to whoever writes another one."""
