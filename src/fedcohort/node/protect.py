"""A site's part in the study's protection: a key shared with the other sites, sealing, helping to open."""

from collections.abc import Collection, Mapping
from hashlib import sha256

from fedcohort.errors import WireError
from fedcohort.node.keys import Keys
from fedcohort.node.records import Stored
from fedcohort.protection.context import RoundContext, Sealed, SiteId
from fedcohort.protection.contract import CipherKey, Participant, Protection
from fedcohort.protection.fixed_point import Shape, shape_from_text
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.study import Study
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import Contribution, OpenRequest, Setup, Task
from fedcohort.wire.signing import contribution_signing_bytes

DIGEST_BYTES = 32
PROOF_BYTES = DIGEST_BYTES + 64
"""Of a contribution: the digest of its bodies, and the site's signature."""


def protection_of(study: Study) -> Protection:
    """How a study hides what its sites have computed."""
    return PROTECTIONS[study.protection]


def round_context(
    study: Study, message: Task | OpenRequest, state_digest: bytes, shape: Shape
) -> RoundContext:
    """What sites and coordinator call the same round.

    Raises:
        WireError: the roster is not the one that the integers were sized for.
    """
    if len(message.roster) != shape.n_sites:
        raise WireError("another number of sites than this round's integers were sized for")
    return RoundContext(
        message.study_hash,
        message.round,
        message.attempt,
        state_digest,
        message.roster,
        study.least_sites(len(message.roster)),
        study.colluders,
        shape,
    )


def check_roster(study: Study, keys: Keys, roster: Collection[SiteId]) -> None:
    """Refuse a round without this site, and where others' keys matter, one with strangers.

    Raises:
        WireError: this site is not in it.
        RosterError: the operator has not confirmed a site of it.
    """
    if keys.card.site not in roster:
        raise WireError("a roster without this site")
    if not protection_of(study).needs_roster:
        return
    strangers = set(roster).difference(keys.confirmed(), [keys.card.site])
    if strangers:
        keys.peer(min(strangers))


def seal(study: Study, task: Task, keys: Keys, key: CipherKey, stored: Stored) -> Sealed:
    """Hide what a site has computed for a task as the study says."""
    protection = protection_of(study)
    if protection.seal is None:
        return Sealed(stored.integers)
    context = round_context(study, task, task.state_digest, shape_from_text(stored.shape))
    if protection.needs_roster:
        check_roster(study, keys, context.roster)
    return protection.seal(context, Participant(keys.card.site, keys.pair_secrets, key), stored.integers)


def help_open(study: Study, context: RoundContext, keys: Keys, key: CipherKey, request: OpenRequest) -> bytes:
    """Help to open the sum of a request's survivors.

    Raises:
        WireError: the request is not for this round, or does not hold together, or nothing is to be opened.
        TooFewSitesError: fewer survivors than may be opened.
    """
    opening = protection_of(study).opening
    if opening is None:
        raise WireError("this protection needs no opening")
    check_roster(study, keys, context.roster)
    if request.total and not opening.alone:
        raise WireError("it takes several sites to open this sum; a total has no business here")
    context.check_survivors(request.survivors, keys.card.site)
    if opening.alone:
        _check_proofs(context, keys, request)
    site = Participant(keys.card.site, keys.pair_secrets, key)
    return opening.help(context, site, request.survivors, request.total, request.extras)


def _check_proofs(context: RoundContext, keys: Keys, request: OpenRequest) -> None:
    if set(request.extras) != set(request.survivors):
        raise WireError("an opening without each survivor's proof that it has contributed")
    for site, proof in request.extras.items():
        bodies, signature = proof[:DIGEST_BYTES], proof[DIGEST_BYTES:PROOF_BYTES]
        asked = (context.study_hash, context.round, context.attempt)
        signed = contribution_signing_bytes(Contribution(*asked, site, context.state_digest, b""), bodies)
        if not verify(keys.peer(site).identity_key, signature, signed):
            raise WireError(f"{site}: the proof of its contribution is not signed by its key")


def parcels(
    study: Study, keys: Keys, roster: tuple[SiteId, ...], public: bytes, secret: bytes
) -> Mapping[SiteId, bytes]:
    """The secret key, sealed for each other site."""
    others = (site for site in roster if site != keys.card.site)
    return {site: keys.seal_for(site, secret, _about(study, public)) for site in others}


def open_parcel(study: Study, keys: Keys, setup: Setup) -> bytes:
    """The secret key that another site has made and sealed for this one.

    Raises:
        WireError: there is not exactly one parcel, or it is not from its maker for this study.
    """
    if len(setup.parcels) != 1:
        raise WireError("a study's key comes from one maker")
    ((maker, sealed),) = setup.parcels.items()
    return keys.open_from(maker, sealed, _about(study, setup.public))


def _about(study: Study, public: bytes) -> bytes:
    return study.hash.encode() + sha256(public).digest()
