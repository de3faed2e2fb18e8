"""Every protection by the name that a study says."""

from fedcohort.protection.contract import Protection
from fedcohort.protection.homomorphic import CKKS, PAILLIER
from fedcohort.protection.masks import MASKS
from fedcohort.protection.none import NONE

PROTECTIONS: dict[str, Protection] = {"none": NONE, "masks": MASKS, "paillier": PAILLIER, "ckks": CKKS}
"""As `protection.words` names them."""
