"""Compiled core of :mod:`plastimap.stats.mixed`: one small restricted-likelihood problem per voxel.

Notation. Relative to the error variance, person i's scans have the covariance I + Z_i Λ Λ' Z_i', Λ lower triangular
2 × 2. With K = Z_i'Z_i, M = Λ (I + Λ'KΛ)⁻¹ Λ', C_i = X_i'Z_i and d_i = Z_i'y_i, everything that the likelihood needs
comes from sums over people of products of these: no matrix is larger than the number of columns of X.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled: Any = njit(cache=True, nogil=True)

MOST_STEPS = 100

SETTLED = 1e-7
"""Largest element of the gradient, by degrees of freedom, at which the search ends."""

_SUFFICIENT_DECREASE = 1e-4
_SHORTEST_STEP = 1e-10


@_compiled
def _middle(theta: Any, k: Any) -> Any:
    """M as (m11, m12, m22), and log |I + Λ'KΛ|, for K = (k11, k12, k22)."""
    a, b, c = theta[0], theta[1], theta[2]
    # Λ = [[a, 0], [b, c]]; J = I + Λ'KΛ.
    ka1, ka2 = k[0] * a + k[1] * b, k[1] * a + k[2] * b
    kc1, kc2 = k[1] * c, k[2] * c
    j11, j12, j22 = 1 + a * ka1 + b * ka2, a * kc1 + b * kc2, 1 + c * kc2
    determinant = j11 * j22 - j12 * j12
    i11, i12, i22 = j22 / determinant, -j12 / determinant, j11 / determinant
    m11 = a * a * i11
    m12 = a * (b * i11 + c * i12)
    m22 = b * b * i11 + 2 * b * c * i12 + c * c * i22
    return m11, m12, m22, np.log(determinant)


@_compiled
def _factor(matrix: Any) -> Any:
    """Cholesky factor in the lower triangle, in place; log determinant, or infinity where there is none."""
    n = matrix.shape[0]
    total = 0.0
    for j in range(n):
        s = matrix[j, j]
        for k in range(j):
            s -= matrix[j, k] * matrix[j, k]
        if s <= 0:
            return np.inf
        root = np.sqrt(s)
        matrix[j, j] = root
        total += 2 * np.log(root)
        for i in range(j + 1, n):
            s = matrix[i, j]
            for k in range(j):
                s -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = s / root
    return total


@_compiled
def _solve(factor: Any, vector: Any) -> None:
    """Solve with a Cholesky factor, in place."""
    n = factor.shape[0]
    for i in range(n):
        s = vector[i]
        for k in range(i):
            s -= factor[i, k] * vector[k]
        vector[i] = s / factor[i, i]
    for i in range(n - 1, -1, -1):
        s = vector[i]
        for k in range(i + 1, n):
            s -= factor[k, i] * vector[k]
        vector[i] = s / factor[i, i]


@_compiled
def _normal_equations(theta: Any, xx: Any, gram: Any, k: Any, m: Any, normal: Any) -> Any:
    """X'V⁻¹X into `normal`, M of every pattern into `m`; returns nothing but fills."""
    p = xx.shape[0]
    for i in range(p):
        for j in range(i + 1):
            normal[i, j] = xx[i, j]
    for pattern in range(k.shape[0]):
        m11, m12, m22, logdet = _middle(theta, k[pattern])
        m[pattern, 0], m[pattern, 1], m[pattern, 2], m[pattern, 3] = m11, m12, m22, logdet
        for i in range(p):
            for j in range(i + 1):
                normal[i, j] -= (
                    m11 * gram[pattern, 0, i, j] + m12 * gram[pattern, 1, i, j] + m22 * gram[pattern, 2, i, j]
                )


@_compiled
def _criterion(
    theta: Any, xx: Any, gram: Any, k: Any, count: Any, kind: Any, c: Any, xy: Any, d: Any, yy: float, dof: float,
    m: Any, normal: Any, beta: Any, gradient: Any,
) -> Any:
    """−2 × restricted log-likelihood (σ² profiled out); fills β and the gradient; returns it and y'Py."""
    p, people = xx.shape[0], d.shape[0]
    _normal_equations(theta, xx, gram, k, m, normal)
    logdet = _factor(normal)
    if not np.isfinite(logdet):
        return np.inf, 0.0
    for i in range(p):
        beta[i] = xy[i]
    quadratic = yy
    for person in range(people):
        own = m[kind[person]]
        v1 = own[0] * d[person, 0] + own[1] * d[person, 1]
        v2 = own[1] * d[person, 0] + own[2] * d[person, 1]
        quadratic -= v1 * d[person, 0] + v2 * d[person, 1]
        for i in range(p):
            beta[i] -= c[person, i, 0] * v1 + c[person, i, 1] * v2
    right = beta.copy()
    _solve(normal, beta)
    for i in range(p):
        quadratic -= beta[i] * right[i]
    # H = (X'V⁻¹X)⁻¹, column by column.
    inverse = np.empty((p, p))
    for j in range(p):
        for i in range(p):
            inverse[i, j] = 0.0
        inverse[j, j] = 1.0
        _solve(normal, inverse[:, j])
    g11, g12, g22 = 0.0, 0.0, 0.0
    for pattern in range(k.shape[0]):
        k11, k12, k22 = k[pattern]
        m11, m12, m22, part = m[pattern]
        logdet += count[pattern] * part
        f11, f12 = 1 - (m11 * k11 + m12 * k12), -(m11 * k12 + m12 * k22)
        f21, f22 = -(m12 * k11 + m22 * k12), 1 - (m12 * k12 + m22 * k22)
        # S = K (I − MK)
        g11 += count[pattern] * (k11 * f11 + k12 * f21)
        g12 += count[pattern] * (k11 * f12 + k12 * f22)
        g22 += count[pattern] * (k12 * f12 + k22 * f22)
        w11, w12, w22 = 0.0, 0.0, 0.0
        for i in range(p):
            for j in range(i + 1):
                h = inverse[i, j] * (1.0 if i == j else 2.0)
                w11 += h * gram[pattern, 0, i, j]
                w12 += 0.5 * h * gram[pattern, 1, i, j]
                w22 += h * gram[pattern, 2, i, j]
        g11 -= f11 * (w11 * f11 + w12 * f21) + f21 * (w12 * f11 + w22 * f21)
        g12 -= f11 * (w11 * f12 + w12 * f22) + f21 * (w12 * f12 + w22 * f22)
        g22 -= f12 * (w11 * f12 + w12 * f22) + f22 * (w12 * f12 + w22 * f22)
    scale = dof / quadratic
    for person in range(people):
        pattern = kind[person]
        k11, k12, k22 = k[pattern]
        m11, m12, m22, _ = m[pattern]
        e1, e2 = d[person, 0], d[person, 1]
        for i in range(p):
            e1 -= c[person, i, 0] * beta[i]
            e2 -= c[person, i, 1] * beta[i]
        v1, v2 = m11 * e1 + m12 * e2, m12 * e1 + m22 * e2
        u1, u2 = e1 - (k11 * v1 + k12 * v2), e2 - (k12 * v1 + k22 * v2)
        g11 -= scale * u1 * u1
        g12 -= scale * u1 * u2
        g22 -= scale * u2 * u2
    # d/dΛ = 2 Γ Λ, its lower triangle.
    gradient[0] = 2 * (g11 * theta[0] + g12 * theta[1])
    gradient[1] = 2 * (g12 * theta[0] + g22 * theta[1])
    gradient[2] = 2 * g22 * theta[2]
    return logdet + dof * np.log(quadratic), quadratic


@_compiled
def fit_voxels(
    xx: Any, gram: Any, k: Any, count: Any, kind: Any, c: Any, xy: Any, d: Any, yy: Any, dof: float,
    theta: Any, beta: Any, quadratic: Any, settled: Any,
) -> None:
    """Restricted maximum likelihood at every voxel, by quasi-Newton steps (BFGS) on Λ.

    Parameters
    ----------
    xx : (p, p); gram : (patterns, 3, p, p), Σ C_a C_b' for ab = 11, 12 (both orders together), 22
    k : (patterns, 3); count : (patterns,); kind : (people,), each one's pattern; c : (people, p, 2)
    xy : (voxels, p); d : (voxels, people, 2); yy : (voxels,)
    theta : (voxels, 3), start and result; beta : (voxels, p); quadratic, settled : (voxels,), results
    """
    p = xx.shape[0]
    m, normal = np.empty((k.shape[0], 4)), np.empty((p, p))
    here, gradient, ahead = np.empty(3), np.empty(3), np.empty(3)
    there, trial, step, change = np.empty(3), np.empty(p), np.empty(3), np.empty(3)
    curve = np.empty((3, 3))
    for voxel in range(yy.size):
        own = (xy[voxel], d[voxel], yy[voxel], dof, m, normal)
        here[:] = theta[voxel]
        value, square = _criterion(here, xx, gram, k, count, kind, c, *own, trial, gradient)
        curve[:] = np.eye(3) / (2 * dof)
        done = False
        for _ in range(MOST_STEPS):
            if np.abs(gradient).max() < SETTLED * dof:
                done = True
                break
            slope = 0.0
            for i in range(3):
                step[i] = -(curve[i, 0] * gradient[0] + curve[i, 1] * gradient[1] + curve[i, 2] * gradient[2])
                slope += step[i] * gradient[i]
            if slope >= 0:
                curve[:] = np.eye(3) / (2 * dof)
                step[:] = -gradient / (2 * dof)
                slope = -(gradient * gradient).sum() / (2 * dof)
            length, moved = 1.0, False
            while length > _SHORTEST_STEP:
                there[:] = here + length * step
                fresh, new_square = _criterion(there, xx, gram, k, count, kind, c, *own, trial, ahead)
                if fresh <= value + _SUFFICIENT_DECREASE * length * slope:
                    moved = True
                    break
                length *= 0.5
            if not moved:
                # Not to be improved at the precision of the numbers.
                done = np.abs(gradient).max() < 1e3 * SETTLED * dof
                break
            bend = 0.0
            for i in range(3):
                step[i] = there[i] - here[i]
                change[i] = ahead[i] - gradient[i]
                bend += step[i] * change[i]
            here[:], gradient[:] = there, ahead
            value, square = fresh, new_square
            if bend > 1e-12:
                turned = curve @ change
                both = (change * turned).sum()
                for i in range(3):
                    for j in range(3):
                        curve[i, j] += (1 + both / bend) * step[i] * step[j] / bend
                        curve[i, j] -= (turned[i] * step[j] + step[i] * turned[j]) / bend
        value, square = _criterion(here, xx, gram, k, count, kind, c, *own, trial, gradient)
        theta[voxel], beta[voxel] = here, trial
        quadratic[voxel], settled[voxel] = square, done


@_compiled
def contrast_covariances(theta: Any, rows: Any, xx: Any, gram: Any, k: Any) -> NDArray[np.float64]:
    """C (X'V⁻¹X)⁻¹ C' at every voxel: theta (voxels, 3), rows (r, p), result (voxels, r, r)."""
    p, r = xx.shape[0], rows.shape[0]
    m, normal = np.empty((k.shape[0], 4)), np.empty((p, p))
    out = np.full((theta.shape[0], r, r), np.nan)
    solved = np.empty((r, p))
    for voxel in range(theta.shape[0]):
        _normal_equations(theta[voxel], xx, gram, k, m, normal)
        if not np.isfinite(_factor(normal)):
            continue
        for i in range(r):
            solved[i] = rows[i]
            _solve(normal, solved[i])
        out[voxel] = rows @ solved.T
    return out
