"""The space stage in a few calls, for thin scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.images import Volume
from plastimap.space.mni import Normalisation, template_to_mni
from plastimap.space.template import Midpoint, midpoint
from plastimap.space.vbm import modulated
from plastimap.transforms import Chain, Grid, Order, Warp, resample

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PersonSpace:
    """One person's way into the target space.

    Attributes
    ----------
    midpoint : Midpoint
        Template, and a transform and Jacobian per session.
    tissues : dict of str to Volume
        Mean tissue probabilities of all sessions in template space.
    normalisation : Normalisation
        Pull map target → template with its quality.
    notes : tuple of str
    """

    midpoint: Midpoint
    tissues: dict[str, Volume]
    normalisation: Normalisation
    notes: tuple[str, ...]


def person_template(
    volumes: Sequence[Volume],
    *,
    masks: Sequence[Mask],
    tissues: Sequence[Mapping[str, Volume]],
    grid: Grid,
    equalise: bool = False,
    session_weights: Sequence[float] | None = None,
) -> PersonSpace:
    """Midpoint template, mean tissues in it, and its place in the target space.

    Parameters
    ----------
    volumes : sequence of Volume
        Structural contrast(s) per session, see :func:`plastimap.space.template.midpoint`.
    masks : sequence of ndarray of bool
        Brain masks, on the volumes' grids.
    tissues : sequence of mapping of str to Volume
        Tissue probabilities per session in its own space; GM and WM at least.
    grid : (shape, affine)
        Target grid.
    equalise, session_weights
        As in :func:`plastimap.space.template.midpoint`.

    Raises
    ------
    TemplateProblem, RegistrationProblem
        When sessions or spaces cannot be matched.
    """
    middle = midpoint(volumes, masks=masks, equalise=equalise, session_weights=session_weights)
    mean = mean_tissues(tissues, middle.transforms)
    normalisation = template_to_mni(mean["GM"], mean["WM"], grid=grid)
    return PersonSpace(middle, mean, normalisation, middle.notes + normalisation.notes)


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


def to_target(volume: Volume, transforms: Chain, grid: Grid, *, order: Order = 1, validity: bool = True) -> Volume:
    """Bring a native image to the target space, interpolated once.

    Parameters
    ----------
    volume : Volume
        In its own space; NaN where invalid.
    transforms : Warp, ndarray (4, 4) or a sequence of them
        From the target on: target → template, template → session, session
        structural → native (for example of diffusion images).
    grid : (shape, affine)
        Target grid.
    order, validity
        As in :func:`plastimap.transforms.resample`: validity False for
        probabilities, where the outside is 0.
    """
    return Volume(resample(volume, grid, transforms, order=order, validity=validity), grid[1])


def vbm_in_target(tissue: Volume, session_jacobian: NDArray[np.floating], normalisation: Warp, grid: Grid) -> Volume:
    """Modulated tissue of one session in the target space: template tissue × session × normalisation Jacobian.

    Parameters
    ----------
    tissue : Volume
        Mean probability in template space.
    session_jacobian : ndarray, shape of `tissue`
        From :class:`plastimap.space.template.Midpoint`.
    normalisation : Warp
        Target → template.
    grid : (shape, affine)
        Target grid.
    """
    return Volume(modulated(tissue, normalisation, grid, session_jacobian=session_jacobian), grid[1])
