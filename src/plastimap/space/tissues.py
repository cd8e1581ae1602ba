"""A person's tissues in the midpoint space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from plastimap.images import Volume
from plastimap.transforms import Warp, resample


def mean_tissues(tissues: Sequence[Mapping[str, Volume]], transforms: Sequence[Warp]) -> dict[str, Volume]:
    """Mean over sessions of tissue probabilities pulled into the template.

    Parameters
    ----------
    tissues : sequence of mapping of str to Volume
        Per session, the same tissues in all.
    transforms : sequence of Warp
        Template → session.
    """
    where = transforms[0]
    mean: dict[str, Volume] = {}
    for name in tissues[0]:
        pulled = [
            resample(session[name], where, transform, validity=False)
            for session, transform in zip(tissues, transforms, strict=True)
        ]
        mean[name] = Volume(np.asarray(np.mean(pulled, axis=0, dtype=np.float64), dtype=np.float32), where.affine)
    return mean
