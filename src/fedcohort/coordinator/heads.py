"""Ledger heads: the coordinator keeps each site's newest, and shows a site its own whenever it links.

A node whose database is an older copy learns from it what it has forgotten, and stops
(`node.heads`). Sites keep each other's heads, too, and bring them when they link: a
coordinator that has lost its own database learns them again.
"""

import logging
from collections.abc import Iterator

from fedcohort.coordinator.members import Members
from fedcohort.logs import about
from fedcohort.wire.codec import decode_head, encode
from fedcohort.wire.messages import Heads, LedgerHead, SiteId
from fedcohort.wire.signing import is_signed_head

log = logging.getLogger("fedcohort.coordinator")


def held_heads(members: Members) -> Heads:
    """The newest head of every site."""
    return Heads(tuple(decode_head(encoded) for encoded in members.heads.all().values()))


def take_heads(members: Members, sender: SiteId, heads: Heads) -> Iterator[LedgerHead]:
    """Keep heads that are newer and signed by their site; yields those of sites other than `sender`."""
    newest = {head.site: head.age for head in held_heads(members).heads}
    for head in heads.heads:
        if head.site in newest and head.age <= newest[head.site]:
            continue
        key = members.key_of(head.site)
        if key is None:
            words = "%s: a ledger head of %s is not kept: no site of that name has joined"
            log.info(words, sender, head.site, extra=about(sender))
        elif not is_signed_head(head, key):
            words = "%s: a ledger head of %s that its key has not signed"
            log.warning(words, sender, head.site, extra=about(sender))
        elif members.heads.keep(head.site, head.age, encode(Heads((head,)))) and head.site != sender:
            yield head
