"""What a site sends of a sum that it opens for a study of `opened_at = "site"`: what may be shown of it.

The coordinator then has a report and never the sum. The rules are the strictest of the study's and of all
sites whose vectors are in the sum, as each has signed them with its approval.
"""

import json
from collections.abc import Iterator

from fedcohort.analyses.contract import Analysis, Sums
from fedcohort.analyses.disclosing import asked_under, control_of, reported
from fedcohort.disclosure.rules import Disclosure, read_rules
from fedcohort.disclosure.shown import finite
from fedcohort.errors import DisclosureError, WireError
from fedcohort.node import protect
from fedcohort.node.keys import Keys
from fedcohort.node.records import Stored
from fedcohort.protection.fixed_point import from_ring, ring_from_bytes, shape_from_text
from fedcohort.study import Study
from fedcohort.texts.look_up import carried
from fedcohort.wire.codec import decode
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import Approval, OpenRequest
from fedcohort.wire.signing import approval_signing_bytes, state_digest


def shown_of_sum(
    study: Study, analysis: Analysis, keys: Keys, request: OpenRequest, stored: Stored, integers: bytes
) -> bytes:
    """The report and metrics of a study's only sum, or that the rules end it, as JSON.

    Args:
        stored: this site's own answer of the round.
        integers: the opened sum.
    Raises:
        WireError: an approval is missing or not signed by its site, or the round was asked of another state
            than a study begins with.
    """
    control = control_of(study, list(_rules(study, keys, request)))
    if control is None:
        raise WireError("a private study has no rules of disclosure")
    analysis = asked_under(analysis, control)
    start = analysis.start()
    if stored.state_digest != state_digest(start.phase, start.round, start.arrays):
        raise WireError("the only round was asked of another state than the study's first")
    shape = shape_from_text(stored.shape)
    values = from_ring(analysis.layout(start), ring_from_bytes(integers, shape.sizes), shape.n_sites)
    sums = Sums(values, {}, len(request.survivors))
    try:
        control.check(analysis, start, sums)
    except DisclosureError as error:
        return json.dumps({"refused": carried(str(error))}).encode()
    state = analysis.update(start, sums)
    rows = control.rows(analysis, start, sums, state.rows)
    shown = {"report": reported(analysis, state, control), "rows": finite([dict(row) for row in rows])}
    return json.dumps(shown, allow_nan=False).encode()


def _rules(study: Study, keys: Keys, request: OpenRequest) -> Iterator[Disclosure]:
    """The rules of each site of the sum, whose approval follows its proof."""
    for site in request.survivors:
        encoded = request.extras[site][protect.PROOF_BYTES :]
        approval = decode(encoded) if encoded else None
        if not isinstance(approval, Approval) or (approval.site, approval.study_hash) != (site, study.hash):
            raise WireError(f"{site}: a sum without the approval that says what it lets be shown")
        key = keys.peer(site).identity_key
        if not approval.approved or not verify(key, approval.signature, approval_signing_bytes(approval)):
            raise WireError(f"{site}: an approval that is no yes, or not signed by its key")
        yield read_rules(approval.disclosure)
