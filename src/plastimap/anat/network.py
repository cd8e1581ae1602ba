"""Brain extraction by a network that travels in its package: deepbet (MIT), the extra ``plastimap[deep]``.

References
----------
Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.brainmask import BrainMask, BrainMaskProblem
from plastimap.images import Volume

LEAST_ML, MOST_ML = 500.0, 2500.0
"""Intracranial volumes of people, small children included; anything else is no brain."""

AIR_PERCENTILE = 99.9
"""Quantitative maps hold failed fits of any size, which would hide the tissue's contrast from the network."""


def deepbet_is_installed() -> bool:
    """Whether the extra ``plastimap[deep]`` is there. Nothing is imported for it."""
    return find_spec("deepbet") is not None and find_spec("torch") is not None


def deepbet_mask(volume: Volume) -> BrainMask:
    """Let the network draw the brain of a whole head, on one thread of the processor.

    Parameters
    ----------
    volume : Volume
        Shape (X, Y, Z); T1-like contrast, any orientation. NaN counts as air.

    Returns
    -------
    BrainMask

    Raises
    ------
    BrainMaskProblem
        When deepbet is not installed, or what it draws has no brain's volume.
    """
    if not deepbet_is_installed():
        raise BrainMaskProblem("deepbet is not installed; install plastimap[deep], or set anat.brain_mask: classical")
    mask = _drawn(volume)
    volume_ml = float(mask.sum()) * volume.voxel_volume / 1000
    if not LEAST_ML < volume_ml < MOST_ML:
        raise BrainMaskProblem(f"deepbet drew {volume_ml:.0f} ml, which is no brain's volume")
    return BrainMask(mask, "deepbet", ("the brain mask was drawn by the network deepbet",))


def _drawn(volume: Volume) -> NDArray[np.bool_]:
    # Imported here: torch takes seconds, and is there for few.
    import nibabel as nib

    torch: Any = __import__("torch")
    deepbet: Any = __import__("deepbet")
    data = np.nan_to_num(np.asarray(volume.data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    data = np.clip(data, 0, np.percentile(data, AIR_PERCENTILE))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, drawn, _ = deepbet.BrainExtraction(no_gpu=True).run(nib.Nifti1Image(data, volume.affine))
    finally:
        torch.set_num_threads(threads)
    return np.asarray(drawn.dataobj) > 0
