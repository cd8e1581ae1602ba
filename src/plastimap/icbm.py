"""The average brain that travels with nilearn: ICBM152 2009a symmetric, 1 mm (BIDS space ``MNI152NLin2009aSym``)."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from plastimap.images import Volume, read_volume

if TYPE_CHECKING:
    # Named, though not imported: its version belongs to the code id of what uses its templates.
    import nilearn  # noqa: F401  # pyright: ignore[reportUnusedImport]


@lru_cache(maxsize=3)
def standard_image(name: Literal["gm", "wm", "t1"]) -> Volume:
    """Read the skull-stripped T1w average, or the probability of grey or white matter, scaled to a maximum of 1.

    The files are read directly: importing nilearn takes two seconds, more than everything else that many jobs do.

    Parameters
    ----------
    name : {"gm", "wm", "t1"}

    Returns
    -------
    Volume, shape (197, 233, 189)
        Read-only, since it is shared between callers.

    References
    ----------
    Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033.
    """
    package = find_spec("nilearn")
    folders = [] if package is None else package.submodule_search_locations or []
    file = Path(*folders[:1], "datasets", "data", f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    volume = read_volume(file)
    data = volume.data / volume.data.max()
    data.flags.writeable = False
    return Volume(data, volume.affine)
