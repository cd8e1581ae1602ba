"""How uncertain R1, A and MTsat are: derivatives by the signals, and two ways to propagate errors through them.

`as_hmri` gives the error maps of the hMRI toolbox (Mohammadi 2022, doi:10.1016/j.neuroimage.2022.119529): the root mean
square residual of each contrast, taken for the error of its TE = 0 signal. `standard_errors` gives true standard
errors: the covariance of the fit's parameters, R2* among them, for the noise that its residuals show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.mpm import maps

Vector = NDArray[Any]
Gradients = dict[str, dict[str, Vector]]


@dataclass(frozen=True)
class Excitation:
    """Nominal flip angle in degrees and repetition time in seconds of every contrast, and how they are used.

    Attributes
    ----------
    flip_deg, tr : mapping of str to float
        By contrast: ``PDw``, ``T1w`` and, for MTsat, ``MTw``.
    small_angle : bool
    correction : {"helms", "lipp", "none"}
    constant : float or None
        As in :func:`plastimap.mpm.maps.mtsat`.
    """

    flip_deg: Mapping[str, float]
    tr: Mapping[str, float]
    small_angle: bool = False
    correction: maps.B1Correction = "helms"
    constant: float | None = None


def gradients(signals: Mapping[str, ArrayLike], excitation: Excitation, *, b1: ArrayLike | None = None) -> Gradients:
    """Derivatives of R1, A and (with an ``MTw`` signal) MTsat by the TE = 0 signals.

    Parameters
    ----------
    signals : mapping of str to array_like
        TE = 0 signals of one shape.
    excitation : Excitation
    b1 : array_like, optional
        B1+ ratio.

    Returns
    -------
    dict of str to dict of str to ndarray
        ``["R1"]["PDw"]`` is ∂R1/∂S_PDw, and so on.
    """
    found = _relaxation_gradients(signals, excitation, b1)
    if "MTw" in signals:
        found["MTsat"] = _saturation_gradient(signals, excitation, b1)
    return found


def as_hmri(derivatives: Gradients, residual_sd: Mapping[str, ArrayLike]) -> dict[str, Vector]:
    """Error maps as the hMRI toolbox makes them: squares of derivative times residual, summed.

    Parameters
    ----------
    derivatives : dict
        From :func:`gradients`.
    residual_sd : mapping of str to array_like
        Root mean square residual per contrast (divisor: number of echoes).

    Returns
    -------
    dict of str to ndarray
        By map, in its units.
    """
    return {
        name: np.sqrt(sum(np.square(slope * np.asarray(residual_sd[contrast])) for contrast, slope in by.items()))
        for name, by in derivatives.items()
    }


def standard_errors(
    derivatives: Gradients,
    signals: Mapping[str, ArrayLike],
    covariance: NDArray[np.float64],
    variance: ArrayLike,
    *,
    contrasts: Sequence[str],
) -> dict[str, Vector]:
    """Standard errors by first-order propagation of the fit's whole covariance.

    The contrasts share R2*, so the errors of their TE = 0 signals go together; in ratios much of that cancels.

    Parameters
    ----------
    derivatives : dict
        From :func:`gradients`.
    signals : mapping of str to array_like, shape (n,)
        TE = 0 signals.
    covariance : ndarray, shape (n, n_contrasts + 1, n_contrasts + 1)
        From :func:`plastimap.mpm.estatics.line_covariances`.
    variance : array_like, shape (n,)
        Noise variance.
    contrasts : sequence of str
        Order of the contrasts in `covariance`.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        By map, in its units.
    """
    found: dict[str, Vector] = {}
    for name, by in derivatives.items():
        positions = [contrasts.index(contrast) for contrast in by]
        # ∂/∂(ln S) = S ∂/∂S
        slopes = np.stack([slope * np.asarray(signals[contrast]) for contrast, slope in by.items()], axis=-1)
        part = covariance[:, positions][:, :, positions]
        found[name] = np.sqrt(np.einsum("vi,vij,vj->v", slopes, part, slopes) * np.asarray(variance))
    return found


def _relaxation_gradients(signals: Mapping[str, ArrayLike], excitation: Excitation, b1: ArrayLike | None) -> Gradients:
    p, t = (np.asarray(signals[name], dtype=np.float64) for name in ("PDw", "T1w"))
    t_p, t_t = (maps.angle_term(excitation.flip_deg[name], b1, excitation.small_angle) for name in ("PDw", "T1w"))
    tr_p, tr_t = excitation.tr["PDw"], excitation.tr["T1w"]
    with np.errstate(divide="ignore", invalid="ignore"):
        top = p * t_p / tr_p - t * t_t / tr_t
        bottom = t / t_t - p / t_p
        r1_by_p = 0.5 * (t_p / tr_p * bottom + top / t_p) / bottom**2
        r1_by_t = -0.5 * (t_t / tr_t * bottom + top / t_t) / bottom**2
        common = (tr_t * t_p / t_t - tr_p * t_t / t_p) / (p * tr_t * t_p - t * tr_p * t_t) ** 2
        a_by_p = -(t**2) * tr_p * t_t * common
        a_by_t = p**2 * tr_t * t_p * common
    return {"R1": {"PDw": r1_by_p, "T1w": r1_by_t}, "A": {"PDw": a_by_p, "T1w": a_by_t}}


def _saturation_gradient(
    signals: Mapping[str, ArrayLike], excitation: Excitation, b1: ArrayLike | None
) -> dict[str, Vector]:
    # MTsat = 100 [(A α − S_M)/S_M · R1 · TR − α²/2] · factor, with A and R1 at the nominal angles unless "lipp".
    measured = b1 if excitation.correction == "lipp" else None
    flips = {f"flip_{name.lower()}_deg": excitation.flip_deg[name] for name in ("PDw", "T1w")}
    times = {f"tr_{name.lower()}": excitation.tr[name] for name in ("PDw", "T1w")}
    r1, a = maps.r1_and_a(
        signals["PDw"], signals["T1w"], b1=measured, small_angle=excitation.small_angle, **flips, **times
    )
    inner = _relaxation_gradients(signals, excitation, measured)
    angle = maps.angle_term(excitation.flip_deg["MTw"], measured, True)
    m = np.asarray(signals["MTw"], dtype=np.float64)
    scale = 100 * excitation.tr["MTw"] * maps.saturation_factor(b1, excitation.correction, excitation.constant)
    with np.errstate(divide="ignore", invalid="ignore"):
        by = {
            name: scale * (angle / m * inner["A"][name] * r1 + (a * angle / m - 1) * inner["R1"][name])
            for name in ("PDw", "T1w")
        }
        return by | {"MTw": -scale * a * angle * r1 / m**2}
