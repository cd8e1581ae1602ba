"""Signal equations: spoiled gradient echo with MT saturation, diffusion tensor, Rician noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def spgr(a: ArrayLike, r1: ArrayLike, *, flip_deg: float, tr_s: float, b1: ArrayLike = 1.0) -> Array:
    """Spoiled gradient-echo signal at TE = 0 (Ernst equation, perfect spoiling).

    S = A sin(fα) (1 − E) / (1 − E cos(fα)), E = exp(−TR·R1).

    Parameters
    ----------
    a : array-like
        Proton density × receive field × constant.
    r1 : array-like
        1/s.
    flip_deg, tr_s : float
        Nominal flip angle in degrees, repetition time in s.
    b1 : array-like
        Actual / nominal flip angle.
    """
    angle = np.deg2rad(flip_deg) * np.asarray(b1, dtype=np.float64)
    recovery = np.exp(-tr_s * np.asarray(r1, dtype=np.float64))
    return np.asarray(a) * np.sin(angle) * (1 - recovery) / (1 - recovery * np.cos(angle))


def mt_spgr(
    a: ArrayLike, r1: ArrayLike, mtsat_pu: ArrayLike, *, flip_deg: float, tr_s: float, b1: ArrayLike = 1.0, c: float
) -> Array:
    """MT-weighted signal at TE = 0 with a saturation δ per TR (Helms 2008, doi:10.1002/mrm.21732).

    S = A fα R1 TR / (R1 TR + (fα)²/2 + δ(f)); δ(f) = δ f² (1 − C f)/(1 − C),
    so that Helms' MTsat, corrected by (1 − C)/(1 − C f), is δ whatever f
    (exactly at f = 1, to the order of the small-angle form elsewhere).

    Parameters
    ----------
    a, r1, flip_deg, tr_s, b1
        As in :func:`spgr`.
    mtsat_pu : array-like
        100 δ at f = 1, in percent units.
    c : float
        C, 0.4 for the pulse of the "helms" correction.
    """
    f = np.asarray(b1, dtype=np.float64)
    angle = np.deg2rad(flip_deg) * f
    relaxation = np.asarray(r1, dtype=np.float64) * tr_s
    saturation = np.asarray(mtsat_pu) / 100 * f**2 * (1 - c * f) / (1 - c)
    return np.asarray(a) * angle * relaxation / (relaxation + angle**2 / 2 + saturation)


def axial_radial(fa: ArrayLike, md: ArrayLike) -> tuple[Array, Array]:
    """Axial and radial diffusivity of an axially symmetric tensor with given FA and MD (units of `md`)."""
    anisotropy = np.asarray(fa, dtype=np.float64)
    share = anisotropy / np.sqrt(3 - 2 * anisotropy**2)
    mean = np.asarray(md, dtype=np.float64)
    return mean * (1 + 2 * share), mean * (1 - share)


def tensor_attenuation(fa: ArrayLike, md: ArrayLike, cosine: ArrayLike, *, bvalue: float) -> Array:
    """exp(−b gᵀDg) of an axially symmetric tensor.

    Parameters
    ----------
    fa : array-like
    md : array-like
        10⁻³ mm²/s.
    cosine : array-like
        Cosine of the angle between gradient and fibre.
    bvalue : float
        s/mm².
    """
    axial, radial = axial_radial(fa, md)
    return np.exp(-bvalue * 1e-3 * (radial + (axial - radial) * np.asarray(cosine) ** 2))


def rician(signal: NDArray[Any], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude of `signal` plus complex Gaussian noise of standard deviation `sigma` in each part."""
    real = rng.standard_normal(signal.shape, dtype=np.float32)
    real *= np.float32(sigma)
    real += signal.astype(np.float32, copy=False)
    imaginary = rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary *= np.float32(sigma)
    return np.hypot(real, imaginary)
