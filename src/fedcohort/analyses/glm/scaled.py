"""The scaling of a formula's columns, as a coordinator sends it."""

import numpy as np

from fedcohort.analyses.contract import State
from fedcohort.analyses.glm.newton import Scaling
from fedcohort.analyses.glm.regression import Regression
from fedcohort.errors import WireError


def scaling_in(state: State, regression: Regression) -> Scaling:
    """A centre and a scale of each column.

    Raises:
        WireError: the coordinator has sent another scaling than the formula's.
    """
    centre, scale = (np.asarray(state.arrays.get(name, ()), np.float64) for name in ("centre", "scale"))
    if centre.shape != (regression.p,) or scale.shape != centre.shape:
        raise WireError("a state without a coefficient, a centre and a scale of each column")
    if not (np.isfinite(centre).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise WireError("a state whose scaling is no number")
    return Scaling(centre, scale, regression.design.has_intercept)
