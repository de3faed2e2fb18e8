"""What a client of Flower's SecAgg+ does to mask a vector, by Flower's own functions; prints a line of JSON.

Shares and their encryption, then its own mask and one a neighbour, then the modulus: the
order of flwr.client.mod.secure_aggregation.secaggplus_mod, without the quantisation.
"""

import json
import os
import statistics
import sys
import time

import numpy as np
from flwr.common.secure_aggregation.crypto.shamir import create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.supercore.primitives.asymmetric import generate_key_pairs, private_key_to_bytes

RANGE, REPEATS = 2**32, 9


def main() -> None:
    """Mask a vector of sys.argv[1] integers with sys.argv[2] neighbours, several times."""
    size, neighbours = int(sys.argv[1]), int(sys.argv[2])
    mine, mine_for_parcels = generate_key_pairs()[0], generate_key_pairs()[0]
    others = [generate_key_pairs()[1] for _ in range(neighbours)]
    vector = [np.random.default_rng(0).integers(0, 2**21, size)]
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        own = os.urandom(32)
        own_shares = create_shares(own, neighbours // 2 + 1, neighbours + 1)
        key_shares = create_shares(private_key_to_bytes(mine), neighbours // 2 + 1, neighbours + 1)
        parcels = []
        for index, other in enumerate(others):
            key = generate_shared_key(mine_for_parcels, other)
            text = share_keys_plaintext_concat(0, index, own_shares[index], key_shares[index])
            parcels.append(encrypt(key, text))
        masked = parameters_addition(vector, pseudo_rand_gen(own, RANGE, [(size,)]))
        for index, other in enumerate(others):
            mask = pseudo_rand_gen(generate_shared_key(mine, other), RANGE, [(size,)])
            combine = parameters_addition if index % 2 else parameters_subtraction
            masked = combine(masked, mask)
        masked = parameters_mod(masked, RANGE)
        seconds.append(time.perf_counter() - began)
    size_sent = sum(part.nbytes for part in masked) + sum(map(len, parcels))
    print(json.dumps({"seconds": statistics.median(seconds), "bytes": size_sent}))


if __name__ == "__main__":
    main()
