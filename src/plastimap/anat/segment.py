"""Grey matter, white matter, CSF: a mixture model with spatial priors and partial volume.

Every voxel is pure, or a mix of two tissues that meet (GM with WM, GM with
CSF). Pure tissues have normally distributed intensities (one mean and
variance each); a mix in the proportion α : 1 − α has the mean and variance
that the proportion gives. Priors say where a tissue may be, the mixture learns what it
looks like, by expectation–maximisation. Mixed voxels take part in that in
proportion. Thick voxels hold hardly any pure CSF, so that its intensity can hardly
be told from that of mixes. In the middle of the ventricles it can be read off; in
the sulci, where vessels and membranes run through it, CSF is brighter. What is
read off therefore counts as much as all that the mixture takes for pure CSF.

References
----------
Ashburner & Friston 2005, doi:10.1016/j.neuroimage.2005.02.018 (mixture with
tissue priors); Shattuck et al. 2001, doi:10.1006/nimg.2000.0730 (intensity of mixes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plastimap.anat.priors import TISSUES

MIXES = ((0, 1), (0, 2))
"""Which tissues (by their place in TISSUES) share voxels: GM with WM, GM with CSF."""

PROPORTIONS = (0.2, 0.4, 0.6, 0.8)
"""Shares of the first tissue in the mixed voxels that are told apart."""

SUREST_CSF_ML = 3.0
"""So much of the likeliest CSF (the middle of the ventricles) shows what CSF looks like."""

LEAST_CSF_VOXELS = 20

PRIOR_FLOOR = 0.005
"""No tissue is impossible anywhere in the mask: the average brain is not this one."""

ITERATIONS = 60
CONVERGED = 5e-4
"""Largest change of a mean, relative to the distance between the tissues, that ends the iteration."""

FITTED_VOXELS = 75_000
"""The parameters are learned from about so many voxels, evenly spread; the result is for all."""

CHUNK = 200_000
"""Voxels that are classified at a time."""


class SegmentationProblem(ValueError):
    """The image does not let tissues be told apart; the message says why."""


@dataclass(frozen=True)
class Segmentation:
    """Tissue probabilities on the grid of the image.

    Attributes
    ----------
    gm, wm, csf : ndarray of float32, shape (X, Y, Z)
        Expected share of the voxel. They sum to 1 inside the mask and are 0 outside.
    means, sds : dict of str to float
        Intensity of each pure tissue, in the unit of the image.
    iterations : int
        Number of iterations done.
    """

    gm: NDArray[np.float32]
    wm: NDArray[np.float32]
    csf: NDArray[np.float32]
    means: dict[str, float]
    sds: dict[str, float]
    iterations: int

    @property
    def probabilities(self) -> dict[str, NDArray[np.float32]]:
        """The three maps by tissue name."""
        return {"GM": self.gm, "WM": self.wm, "CSF": self.csf}


@dataclass(frozen=True)
class _Mixture:
    """Parameters of the model: per pure tissue and per component (pure ones first, then mixes)."""

    means: NDArray[np.float64]
    variances: NDArray[np.float64]
    weights: NDArray[np.float64]


def segment(
    image: NDArray[np.floating],
    priors: Mapping[str, NDArray[np.floating]],
    *,
    mask: NDArray[np.bool_],
    voxel_volume_mm3: float = 1.0,
    iterations: int = ITERATIONS,
) -> Segmentation:
    """Tissue probabilities of a brain.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        One structural contrast in any unit, free of bias: T1w, R1, MTsat. Voxels that are not finite are
        judged by the priors alone.
    priors : mapping of str to ndarray, shape (X, Y, Z)
        ``"GM"``, ``"WM"``, ``"CSF"``, on the same grid. What the mask holds beside GM and WM counts as CSF; the prior
        of CSF itself only says where it is surest.
    mask : ndarray of bool, shape (X, Y, Z)
        The brain with its CSF.
    voxel_volume_mm3 : float
        Volume of a voxel.
    iterations : int, optional
        At most.

    Returns
    -------
    Segmentation

    Raises
    ------
    SegmentationProblem
        When the mask is empty, a prior is missing, or the tissues have the same intensity.
    """
    spatial = _spatial_priors(priors, mask)
    values = np.asarray(image[mask], dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise SegmentationProblem("the image has no finite value inside the brain mask")
    csf = _csf_mean(values[finite], np.asarray(priors[TISSUES[2]][mask])[finite], voxel_volume_mm3)
    step = max(1, int(finite.sum()) // FITTED_VOXELS)
    mixture, done = _fit(values[finite][::step], spatial[:, finite][:, ::step], csf, iterations)
    shares = spatial / spatial.sum(axis=0)
    shares[:, finite] = _expected_shares(values[finite], spatial[:, finite], mixture)
    maps = [_fill(share, mask) for share in shares]
    means: dict[str, float] = {name: float(mean) for name, mean in zip(TISSUES, mixture.means, strict=True)}
    sds: dict[str, float] = {name: float(sd) for name, sd in zip(TISSUES, np.sqrt(mixture.variances), strict=True)}
    return Segmentation(*maps, means=means, sds=sds, iterations=done)


def _fill(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    full = np.zeros(mask.shape, dtype=np.float32)
    full[mask] = values
    return full


def _spatial_priors(priors: Mapping[str, NDArray[np.floating]], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    missing = [name for name in TISSUES if name not in priors]
    if missing:
        raise SegmentationProblem(f"there is no prior for {' and '.join(missing)}")
    if not mask.any():
        raise SegmentationProblem("the brain mask is empty")
    gm, wm = (np.nan_to_num(np.asarray(priors[name][mask], dtype=np.float64)) for name in TISSUES[:2])
    csf = 1.0 - gm - wm
    spatial = np.clip(np.stack([gm, wm, csf]), PRIOR_FLOOR, 1.0)
    return spatial / spatial.sum(axis=0)


def _csf_mean(values: NDArray[np.float64], prior: NDArray[np.floating], voxel_volume_mm3: float) -> float:
    count = max(LEAST_CSF_VOXELS, round(SUREST_CSF_ML * 1000 / voxel_volume_mm3))
    # Stable, so that ties fall the same way on every machine.
    surest = np.argsort(-prior, kind="stable")[:count]
    return float(np.median(values[surest]))


def _fit(
    values: NDArray[np.float64], spatial: NDArray[np.float64], csf: float, iterations: int
) -> tuple[_Mixture, int]:
    mixture = _start(values, spatial, csf)
    component_priors = _component_priors(spatial)
    done = 0
    moved = np.inf
    while done < iterations and moved > CONVERGED:
        parts = _responsibilities(values, component_priors, mixture)
        updated = _maximise(values, parts, component_priors, mixture, csf)
        moved = float(np.abs(updated.means - mixture.means).max() / np.ptp(mixture.means))
        mixture = updated
        done += 1
    return mixture, done


def _start(values: NDArray[np.float64], spatial: NDArray[np.float64], csf: float) -> _Mixture:
    means = np.array([*(_weighted_median(values, weight**4) for weight in spatial[:2]), csf])
    spread = float(np.ptp(means))
    if not spread > 0:
        raise SegmentationProblem("the tissues have the same intensity where the priors expect them; is it a brain?")
    ordered = np.sort(means)
    gap = float(np.diff(ordered).min())
    sd = max(gap / 3, spread / 20)
    count = len(TISSUES) + len(MIXES) * len(PROPORTIONS)
    return _Mixture(means, np.full(len(TISSUES), sd**2), np.ones(count))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _share_table() -> NDArray[np.float64]:
    """Tissue shares of all components, shape (components, tissues): pure tissues, then mixes."""
    shares = [np.eye(len(TISSUES))]
    for a, b in MIXES:
        rows = np.zeros((len(PROPORTIONS), len(TISSUES)))
        rows[:, a] = PROPORTIONS
        rows[:, b] = 1.0 - rows[:, a]
        shares.append(rows)
    return np.concatenate(shares)


def _component_priors(spatial: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prior of each component, shape (components, voxels): the geometric mean of its tissues' priors by their shares.

    Where both tissues are equally likely all proportions are; elsewhere those near the likelier tissue win.
    """
    table = _share_table()
    log_priors = np.log(spatial)
    weights = np.exp(table @ log_priors)
    weights[len(TISSUES) :] /= len(PROPORTIONS)
    return weights


def _responsibilities(
    values: NDArray[np.float64], component_priors: NDArray[np.float64], mixture: _Mixture
) -> NDArray[np.float64]:
    table = _share_table()
    means, variances = table @ mixture.means, table @ mixture.variances
    distance = (values - means[:, None]) ** 2 / variances[:, None]
    # Subtracting the least distance per voxel keeps the exponentials of outliers from all vanishing.
    distance -= distance.min(axis=0)
    parts = np.exp(-0.5 * distance)
    parts *= component_priors * (mixture.weights / np.sqrt(variances))[:, None]
    return parts / parts.sum(axis=0)


def _maximise(
    values: NDArray[np.float64],
    parts: NDArray[np.float64],
    component_priors: NDArray[np.float64],
    mixture: _Mixture,
    csf: float,
) -> _Mixture:
    table = _share_table()
    counts, sums = parts.sum(axis=1), parts @ values
    precision = 1.0 / (table @ mixture.variances)
    # Weighted least squares: every component's mean is a mix of the tissues' means.
    normal = (table * (counts * precision)[:, None]).T @ table
    wanted = table.T @ (sums * precision)
    surest = counts[2] * precision[2]
    normal[2, 2] += surest
    wanted[2] += surest * csf
    # The small term keeps the equations solvable for any data.
    means = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(len(TISSUES)), wanted)
    centre = values.mean()
    squares = parts[: len(TISSUES)] @ (values - centre) ** 2
    total = np.maximum(counts[: len(TISSUES)], 1e-9)
    found = sums[: len(TISSUES)] / total
    # Around the means of the model, which need not be those of the parts.
    variances = squares / total - (found - centre) ** 2 + (found - means) ** 2
    least = (np.ptp(means) / 50) ** 2
    # How common a component is beside what its prior says; all proportions of one mix count together.
    expected = component_priors @ (1.0 / (mixture.weights @ component_priors))
    weights = counts / expected
    for first in range(len(TISSUES), len(weights), len(PROPORTIONS)):
        weights[first : first + len(PROPORTIONS)] = weights[first : first + len(PROPORTIONS)].mean()
    return _Mixture(means, np.maximum(variances, least), weights / weights.mean())


def _expected_shares(
    values: NDArray[np.float64], spatial: NDArray[np.float64], mixture: _Mixture
) -> NDArray[np.float64]:
    table = _share_table()
    shares = np.empty_like(spatial)
    for first in range(0, values.size, CHUNK):
        some = slice(first, first + CHUNK)
        parts = _responsibilities(values[some], _component_priors(spatial[:, some]), mixture)
        shares[:, some] = table.T @ parts
    return shares
