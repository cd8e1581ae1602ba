"""Gibbs ringing out of an image by local subvoxel shifts.

Sampled on its zero crossings, the ringing beside an edge does not show. So each line is shifted by fractions of a
voxel, every voxel takes the shift with the least variation beside it, and what it finds there is brought back to its
own place (Kellner 2016, doi:10.1002/mrm.26054).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from plastimap.denoise import without_nan

N_SHIFTS = 10
"""Shifts tried to either side, up to half a voxel."""

CHUNK_LINES = 64
"""Lines shifted at a time."""

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


class RingingProblem(ValueError):
    """Data whose ringing is not of the kind that this method removes."""


def unring(
    data: NDArray,
    *,
    mask: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
    partial_fourier: float | None = None,
    n_shifts: int = N_SHIFTS,
) -> NDArray[np.float32]:
    """Remove ringing within slices.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z) or (X, Y, Z, N)
        Magnitude images, neither interpolated nor filtered; denoised or not. NaN counts as 0.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Lines that do not meet it, and voxels outside, stay as they are.
    slice_axis : {0, 1, 2}
        The axis that was not encoded by frequency and phase.
    partial_fourier : float, optional
        Share of k-space that was measured along the phase-encoding axis (BIDS ``PartialFourier``).
    n_shifts : int
        Shifts tried to either side.

    Returns
    -------
    ndarray of float32, shape of `data`
        Never negative.

    Raises
    ------
    RingingProblem
        When less than the whole k-space was measured: the ringing then has another period along one axis.
    ValueError
        When the data have neither three nor four dimensions.
    """
    from threadpoolctl import threadpool_limits

    if partial_fourier is not None and partial_fourier < 1:
        raise RingingProblem(
            f"PartialFourier is {partial_fourier:g}: ringing of partial Fourier images has another period than "
            "unringing looks for; set dwi: unring to false"
        )
    if data.ndim not in (3, 4):
        raise ValueError(f"images of shape (X, Y, Z) or (X, Y, Z, N) are wanted, not {data.shape}")
    series = without_nan(data).reshape(*data.shape[:3], -1)
    where = np.ones(data.shape[:3], dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    # Slices first: (Z, X, Y).
    inside = np.ascontiguousarray(np.moveaxis(where, slice_axis, 0))
    matrices = [shift_matrices(n, n_shifts) for n in inside.shape[1:]]
    result = np.empty_like(series, order="C")
    # The products are small: more than one BLAS thread would only spin.
    with threadpool_limits(1, user_api="blas"):
        for volume in range(series.shape[3]):
            slices = np.ascontiguousarray(np.moveaxis(series[..., volume], slice_axis, 0))
            result[..., volume] = np.moveaxis(_unrung(slices, inside, matrices), 0, slice_axis)
    return result.reshape(data.shape)


def shift_matrices(n: int, n_shifts: int) -> NDArray[np.float32]:
    """Matrix, shape (n, (2 n_shifts + 1) n), whose product with a line shows it under all shifts, the first being none.

    Block j holds x(m + s_j), the periodic band-limited interpolation of the line, with s_j of :func:`shifts`.
    """
    frequency = np.fft.fftfreq(n)
    phases: NDArray[np.complex128] = np.exp(2j * np.pi * frequency * shifts(n_shifts)[:, None])
    if n % 2 == 0:
        # The highest frequency has no sign: it moves as a cosine.
        phases[:, n // 2] = phases[:, n // 2].real
    kernels = np.fft.ifft(phases, axis=1).real
    place = (np.arange(n)[None, :] - np.arange(n)[:, None]) % n
    return np.ascontiguousarray(kernels[:, place].transpose(1, 0, 2).reshape(n, -1), dtype=np.float32)


def shifts(n_shifts: int) -> NDArray[np.float64]:
    """Shifts in voxels: 0, then ever larger ones to either side, evenly spaced and below one half."""
    steps = np.arange(1, n_shifts + 1) / (2 * n_shifts + 1)
    return np.r_[0.0, np.stack([steps, -steps], axis=1).ravel()]


def _unrung(
    slices: NDArray[np.float32], inside: NDArray[np.bool_], matrices: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Slices (Z, X, Y) without ringing.

    Ringing along x lives at high frequencies of x. So the image is split in two, one with the high frequencies of x and
    one with those of y, and each is treated along its own axis.
    """
    from scipy import fft

    n, m = slices.shape[1:]
    x, y = 1 + np.cos(2 * np.pi * np.fft.fftfreq(n))[:, None], 1 + np.cos(2 * np.pi * np.fft.rfftfreq(m))
    share: Any = np.divide(y, x + y, out=np.full((n, m // 2 + 1), 0.5), where=x + y > 1e-9).astype(np.float32)
    # Slices that the mask does not meet cost nothing.
    met = inside.any(axis=(1, 2))
    chosen, own = slices[met], inside[met]
    spectrum: Any = fft.rfft2(chosen)
    along_x: Any = fft.irfft2(spectrum * share, s=(n, m))
    along_y = chosen - along_x
    turned = _lines_unrung(along_x.transpose(0, 2, 1), own.transpose(0, 2, 1), matrices[0]).transpose(0, 2, 1)
    result = slices.copy()
    result[met] = np.where(own, np.maximum(turned + _lines_unrung(along_y, own, matrices[1]), 0), chosen)
    return result


def _lines_unrung(
    images: NDArray[np.float32], inside: NDArray[np.bool_], matrix: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Images (Z, L, n) without ringing along their last axis, where a line meets the mask."""
    n = images.shape[2]
    lines = images.reshape(-1, n).astype(np.float32, order="C", copy=True)
    rows = np.flatnonzero(inside.reshape(-1, n).any(axis=1))
    steps = shifts((matrix.shape[1] // n - 1) // 2)
    for start in range(0, rows.size, CHUNK_LINES):
        own = rows[start : start + CHUNK_LINES]
        lines[own] = calmest(lines[own] @ matrix, steps)
    return lines.reshape(images.shape)


@_compiled
def calmest(shifted: NDArray, steps: NDArray) -> NDArray:
    """Per voxel, the value under the shift that varies least beside it, brought back to the voxel's place.

    Parameters
    ----------
    shifted : ndarray of float32, shape (n_lines, n_steps n)
        Lines under all shifts; periodic.
    steps : ndarray, shape (n_steps,)
        Shifts in voxels.

    Returns
    -------
    ndarray of float32, shape (n_lines, n)
    """
    n_steps = steps.size
    n = shifted.shape[1] // n_steps
    result = np.empty((shifted.shape[0], n), np.float32)
    # Differences with a margin on both sides, as the line goes on periodically.
    difference = np.empty(n + 8, np.float32)
    least, chosen = np.empty(n, np.float32), np.empty(n, np.int32)
    for line in range(shifted.shape[0]):
        least[:] = np.inf
        for step in range(n_steps):
            values = shifted[line, step * n : (step + 1) * n]
            for i in range(n - 1):
                difference[i + 4] = abs(values[i] - values[i + 1])
            difference[n + 3] = abs(values[n - 1] - values[0])
            difference[:4] = difference[n : n + 4]
            difference[n + 4 :] = difference[4:8]
            # Three differences to either side, beginning one voxel away (difference[i + 4] is between i and i + 1).
            for i in range(n):
                left = difference[i] + difference[i + 1] + difference[i + 2]
                right = difference[i + 5] + difference[i + 6] + difference[i + 7]
                variation = min(left, right)
                better = variation < least[i]
                least[i] = variation if better else least[i]
                chosen[i] = step if better else chosen[i]
        for i in range(n):
            shift = steps[chosen[i]]
            base = chosen[i] * n
            # What lies at i is between two places of the shifted line, to the left or to the right of i + shift.
            other = (i - 1 if shift > 0 else i + 1) % n
            share = abs(shift)
            result[line, i] = (1.0 - share) * shifted[line, base + i] + share * shifted[line, base + other]
    return result
