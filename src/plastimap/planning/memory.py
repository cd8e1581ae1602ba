"""How much memory a job asks for: more for larger images, and at every further attempt."""

from __future__ import annotations

import math
from collections.abc import Callable

from plastimap.planning.scans import Scan, Wildcards

PROGRAM_MB = 500
"""Memory of a job before it reads an image: Python and the numerical packages."""

LEAST_MB = 1000
"""A job with images asks for no less, however small they are, unless its rule does."""

USUAL_VOXELS = {"anat": 176 * 256 * 256, "dwi": 110 * 110 * 70 * 70}
"""Numbers of an image at 1 mm, and of a diffusion series at 2 mm with 70 volumes: the rules' figures are for these."""


USUAL_ECHOES = 18
"""Images of multi-parameter mapping that are held at once, receive fields too: six echoes of each weighting."""


def image_size(scan: Scan) -> float:
    """How large a scan is, in times the usual: its largest image, or its echoes and receive images together."""
    sizes = [
        math.prod(row.shape) / USUAL_VOXELS["dwi" if row.datatype == "dwi" else "anat"]
        for row in scan.rows
        if row.shape
    ]
    together = sum(math.prod(row.shape) for row in (*scan.echoes, *scan.receive) if row.shape)
    return max([*sizes, together / (USUAL_ECHOES * USUAL_VOXELS["anat"])]) if sizes else 1.0


def growing(mb: int, size: Callable[[Wildcards], float] = lambda _: 1.0) -> Callable[..., int]:
    """Memory request of a rule, in MB, which grows with every attempt.

    Parameters
    ----------
    mb : int
        What a job needs whose images are of the usual size.
    size : callable
        How many times the usual size a job's images have.
    """

    def request(wildcards: Wildcards, attempt: int) -> int:
        images = max(mb - PROGRAM_MB, 0) * size(wildcards)
        return round(max(PROGRAM_MB + images, min(mb, LEAST_MB))) * attempt

    return request
