"""Grey matter, white matter, CSF: a mixture model with spatial priors and partial volume.

Every voxel is pure, or a mix of two tissues that meet (GM with WM, GM with
CSF). Pure tissues have normally distributed intensities (one mean and
variance each); a mix in the proportion α : 1 − α has the mean and variance
that the proportion gives. Priors say where a tissue may be, the mixture
learns what it looks like; both are iterated by expectation–maximisation.

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

PROPORTIONS = (0.25, 0.5, 0.75)
"""Shares of the first tissue in the mixed voxels that are told apart."""

PRIOR_FLOOR = 0.005
"""No tissue is impossible anywhere in the mask: the average brain is not this one."""

ITERATIONS = 40
CONVERGED = 1e-4
"""Largest change of a mean, relative to the distance between the tissues, that ends the iteration."""

FITTED_VOXELS = 150_000
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
    iterations: int = ITERATIONS,
) -> Segmentation:
    """Tissue probabilities of a brain.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        One structural contrast in any unit, free of bias: T1w, R1, MTsat. Voxels that are not finite are
        judged by the priors alone.
    priors : mapping of str to ndarray, shape (X, Y, Z)
        ``"GM"`` and ``"WM"``, on the same grid; ``"CSF"`` where there is one. What the mask holds beside them is CSF.
    mask : ndarray of bool, shape (X, Y, Z)
        The brain with its CSF.
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
    step = max(1, int(finite.sum()) // FITTED_VOXELS)
    mixture, done = _fit(values[finite][::step], spatial[:, finite][:, ::step], iterations)
    shares = spatial / spatial.sum(axis=0)
    shares[:, finite] = _expected_shares(values[finite], spatial[:, finite], mixture)
    maps = [_fill(share, mask) for share in shares]
    means = dict(zip(TISSUES, mixture.means.tolist(), strict=True))
    sds = dict(zip(TISSUES, np.sqrt(mixture.variances).tolist(), strict=True))
    return Segmentation(*maps, means=means, sds=sds, iterations=done)


def _fill(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    full = np.zeros(mask.shape, dtype=np.float32)
    full[mask] = values
    return full


def _spatial_priors(priors: Mapping[str, NDArray[np.floating]], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    missing = [name for name in TISSUES[:2] if name not in priors]
    if missing:
        raise SegmentationProblem(f"there is no prior for {' and '.join(missing)}")
    if not mask.any():
        raise SegmentationProblem("the brain mask is empty")
    gm, wm = (np.nan_to_num(np.asarray(priors[name][mask], dtype=np.float64)) for name in TISSUES[:2])
    csf = 1.0 - gm - wm
    spatial = np.clip(np.stack([gm, wm, csf]), PRIOR_FLOOR, 1.0)
    return spatial / spatial.sum(axis=0)


def _fit(values: NDArray[np.float64], spatial: NDArray[np.float64], iterations: int) -> tuple[_Mixture, int]:
    mixture = _start(values, spatial)
    component_priors = _component_priors(spatial)
    done = 0
    for done in range(1, iterations + 1):
        parts = _responsibilities(values, component_priors, mixture)
        updated = _maximise(values, parts, component_priors, mixture)
        moved = np.abs(updated.means - mixture.means).max() / np.ptp(mixture.means)
        mixture = updated
        if moved < CONVERGED:
            break
    return mixture, done


def _start(values: NDArray[np.float64], spatial: NDArray[np.float64]) -> _Mixture:
    means = np.array([_weighted_median(values, weight**4) for weight in spatial])
    spread = float(np.ptp(means))
    if not spread > 0:
        raise SegmentationProblem("the tissues have the same intensity where the priors expect them; is it a brain?")
    ordered = np.sort(means)
    gap = float(np.diff(ordered).min())
    sd = max(gap / 2, spread / 20)
    count = len(TISSUES) + len(MIXES) * len(PROPORTIONS)
    return _Mixture(means, np.full(len(TISSUES), sd**2), np.ones(count))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _component_priors(spatial: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prior of each component: tissues where they are, mixes where both of their tissues may be."""
    mixes = [2.0 * spatial[a] * spatial[b] / len(PROPORTIONS) for a, b in MIXES for _ in PROPORTIONS]
    return np.concatenate([spatial**2, np.stack(mixes)])


def _components(mixture: _Mixture) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means and variances of all components, and their tissue shares (components × tissues)."""
    shares = [np.eye(len(TISSUES))]
    for a, b in MIXES:
        rows = np.zeros((len(PROPORTIONS), len(TISSUES)))
        rows[:, a] = PROPORTIONS
        rows[:, b] = 1.0 - rows[:, a]
        shares.append(rows)
    table = np.concatenate(shares)
    return table @ mixture.means, table @ mixture.variances, table


def _responsibilities(
    values: NDArray[np.float64], component_priors: NDArray[np.float64], mixture: _Mixture
) -> NDArray[np.float64]:
    means, variances, _ = _components(mixture)
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
) -> _Mixture:
    pure = parts[: len(TISSUES)]
    total = np.maximum(pure.sum(axis=1), 1e-9)
    means = pure @ values / total
    variances = np.array([part @ (values - mean) ** 2 for part, mean in zip(pure, means, strict=True)]) / total
    least = (np.ptp(means) / 50) ** 2
    # How common a component is beside what its prior says; all proportions of one mix count together.
    expected = component_priors @ (1.0 / (mixture.weights @ component_priors))
    weights = parts.sum(axis=1) / expected
    for first in range(len(TISSUES), len(weights), len(PROPORTIONS)):
        weights[first : first + len(PROPORTIONS)] = weights[first : first + len(PROPORTIONS)].mean()
    return _Mixture(means, np.maximum(variances, least), weights / weights.mean())


def _expected_shares(
    values: NDArray[np.float64], spatial: NDArray[np.float64], mixture: _Mixture
) -> NDArray[np.float64]:
    _, _, table = _components(mixture)
    shares = np.empty_like(spatial)
    for first in range(0, values.size, CHUNK):
        some = slice(first, first + CHUNK)
        parts = _responsibilities(values[some], _component_priors(spatial[:, some]), mixture)
        shares[:, some] = table.T @ parts
    return shares
