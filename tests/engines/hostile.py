"""Real messages of a study, and what a hostile hand makes of them: flipped, cut, spliced and mixed."""

import dataclasses
import random
from dataclasses import dataclass, field

from fedcohort.study import Study
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.messages import Event, Heads, LedgerHead, Message, Roster
from tests.build import describe_study, explicit, protected_by

from .support import Play

SITES = ("a", "b", "c", "d", "e")


def study(protection: str) -> Study:
    return explicit(describe_study("hostile messages", **protected_by(protection)))


@dataclass
class Changer:
    """Makes hostile messages out of real ones."""

    seed: int
    pool: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def changed(self, data: bytes) -> bytes:
        """One message, changed in one of seven ways."""
        draw, whole = self.draw, bytearray(data)
        other = draw.choice(self.pool) if self.pool else data
        at, elsewhere = draw.randrange(len(data)), draw.randrange(len(other))
        match draw.randrange(7):
            case 0 | 1:
                for _ in range(draw.choice((1, 1, 1, 2, 8))):
                    bit = draw.randrange(8 * len(data))
                    whole[bit // 8] ^= 1 << bit % 8
                return bytes(whole)
            case 2:
                return data[:at]
            case 3:
                return data[:at] + other[elsewhere:]
            case 4:
                return data[:at] + draw.randbytes(draw.randrange(40)) + data[at + draw.randrange(20) :]
            case 5:
                return data + other
            case _:
                return self.mixed(data, other)

    def mixed(self, data: bytes, other: bytes) -> bytes:
        """A message with one field or two of another of its kind, or with what a number field may hold."""
        message, source = decode(data), decode(other)
        fields = vars(message) if isinstance(source, type(message)) else {"round": 0, "attempt": 0}
        chosen = [name for name in self.draw.sample(list(fields), min(2, len(fields))) if name != "kind"]
        numbers = (0, 1, 2, 7, 2**31, 2**32 - 1)
        values = {
            name: self.draw.choice(numbers) if name in {"round", "attempt"} else getattr(source, name)
            for name in chosen
            if hasattr(message, name)
        }
        return encode(dataclasses.replace(message, **values))  # type: ignore[arg-type]


def recorded(protection: str) -> list[bytes]:
    """All messages of a study that ran before, and of its sites' keys."""
    play = Play(study(protection))
    play.go()
    cards = [node.keys.card for node in play.nodes.values()]
    said: list[Message] = [message for _, question, reply in play.seen for message in (question, reply)]
    # No refusal: over a site's own link that is an answer, and costs the site its part.
    heads = Heads((LedgerHead(cards[0].site, 0, 1, bytes(32), bytes(64)),))
    said += [*cards, Roster(tuple(cards)), heads, Event("catalogue", detail=b"{}")]
    return [encode(message) for message in said]
