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

NEARLY_SETTLED = 1e-4
"""The same, for a search that ended for want of numerical precision to count as settled."""

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
def _coefficients(c: Any, kind: Any, m: Any, normal: Any, xy: Any, d: Any, yy: float, beta: Any) -> float:
    """β into `beta`; returns y'Py. `normal` holds a Cholesky factor."""
    quadratic = yy
    beta[:] = xy
    for person in range(d.shape[0]):
        own = m[kind[person]]
        v1 = own[0] * d[person, 0] + own[1] * d[person, 1]
        v2 = own[1] * d[person, 0] + own[2] * d[person, 1]
        quadratic -= v1 * d[person, 0] + v2 * d[person, 1]
        for i in range(beta.size):
            beta[i] -= c[person, i, 0] * v1 + c[person, i, 1] * v2
    right = beta.copy()
    _solve(normal, beta)
    return quadratic - (beta * right).sum()


@_compiled
def _expected(gram: Any, k: Any, count: Any, m: Any, normal: Any, gamma: Any) -> None:
    """Trace part of the gradient by Z D Z', into `gamma` = (11, 12, 22): Σ S_i − Σ B_i' (X'V⁻¹X)⁻¹ B_i."""
    p = normal.shape[0]
    inverse = np.eye(p)
    for j in range(p):
        _solve(normal, inverse[j])
    gamma[:] = 0.0
    for pattern in range(k.shape[0]):
        k11, k12, k22 = k[pattern]
        m11, m12, m22, _ = m[pattern]
        # F = I − MK; S = KF; B = CF.
        f11, f12 = 1 - (m11 * k11 + m12 * k12), -(m11 * k12 + m12 * k22)
        f21, f22 = -(m12 * k11 + m22 * k12), 1 - (m12 * k12 + m22 * k22)
        w11 = (inverse * gram[pattern, 0]).sum()
        w12 = 0.5 * (inverse * gram[pattern, 1]).sum()
        w22 = (inverse * gram[pattern, 2]).sum()
        n = count[pattern]
        gamma[0] += n * (k11 * f11 + k12 * f21) - (f11 * (w11 * f11 + w12 * f21) + f21 * (w12 * f11 + w22 * f21))
        gamma[1] += n * (k11 * f12 + k12 * f22) - (f11 * (w11 * f12 + w12 * f22) + f21 * (w12 * f12 + w22 * f22))
        gamma[2] += n * (k12 * f12 + k22 * f22) - (f12 * (w11 * f12 + w12 * f22) + f22 * (w12 * f12 + w22 * f22))


@_compiled
def _observed(c: Any, k: Any, kind: Any, m: Any, d: Any, beta: Any, scale: float, gamma: Any) -> None:
    """Take the data's part off the gradient: scale × Σ u_i u_i' with u_i = Z_i'V⁻¹(y_i − X_i β)."""
    for person in range(d.shape[0]):
        k11, k12, k22 = k[kind[person]]
        m11, m12, m22, _ = m[kind[person]]
        e1, e2 = d[person, 0], d[person, 1]
        for i in range(beta.size):
            e1 -= c[person, i, 0] * beta[i]
            e2 -= c[person, i, 1] * beta[i]
        v1, v2 = m11 * e1 + m12 * e2, m12 * e1 + m22 * e2
        u1, u2 = e1 - (k11 * v1 + k12 * v2), e2 - (k12 * v1 + k22 * v2)
        gamma[0] -= scale * u1 * u1
        gamma[1] -= scale * u1 * u2
        gamma[2] -= scale * u2 * u2


@_compiled
def _criterion(
    theta: Any, xx: Any, gram: Any, k: Any, count: Any, kind: Any, c: Any, xy: Any, d: Any, yy: float, dof: float,
    m: Any, normal: Any, beta: Any, gradient: Any,
) -> Any:  # fmt: skip
    """−2 × restricted log-likelihood (σ² profiled out) and y'Py; fills β and the gradient."""
    _normal_equations(theta, xx, gram, k, m, normal)
    logdet = _factor(normal)
    if not np.isfinite(logdet):
        return np.inf, 0.0
    quadratic = _coefficients(c, kind, m, normal, xy, d, yy, beta)
    gamma = np.empty(3)
    _expected(gram, k, count, m, normal, gamma)
    _observed(c, k, kind, m, d, beta, dof / quadratic, gamma)
    # d/dΛ = 2 Γ Λ, its lower triangle.
    gradient[0] = 2 * (gamma[0] * theta[0] + gamma[1] * theta[1])
    gradient[1] = 2 * (gamma[1] * theta[0] + gamma[2] * theta[1])
    gradient[2] = 2 * gamma[2] * theta[2]
    return logdet + (count * m[:, 3]).sum() + dof * np.log(quadratic), quadratic


@_compiled
def _bend(curve: Any, step: Any, change: Any) -> None:
    """Update the inverse curvature (BFGS) by a step and the gradient's change along it."""
    bend = (step * change).sum()
    if bend <= 1e-12:
        return
    turned = curve @ change
    both = (change * turned).sum()
    for i in range(3):
        for j in range(3):
            curve[i, j] += (1 + both / bend) * step[i] * step[j] / bend
            curve[i, j] -= (turned[i] * step[j] + step[i] * turned[j]) / bend


@_compiled
def _search(theta: Any, beta: Any, shared: Any, own: Any, m: Any, normal: Any) -> Any:
    """Quasi-Newton search from `theta`, in place; returns y'Py and whether it settled. Fills β."""
    dof = own[3]
    gradient, ahead, there = np.empty(3), np.empty(3), np.empty(3)
    start = np.eye(3) / (2 * dof)
    curve = start.copy()
    value, _ = _criterion(theta, *shared, *own, m, normal, beta, gradient)
    step = np.empty(3)
    for _ in range(MOST_STEPS):
        if np.abs(gradient).max() < SETTLED * dof:
            break
        step[:] = -(curve @ gradient)
        if (step * gradient).sum() >= 0:
            curve[:] = start
            step[:] = -(curve @ gradient)
        slope, length, fresh = (step * gradient).sum(), 2.0, np.inf
        while length > _SHORTEST_STEP and not fresh <= value + _SUFFICIENT_DECREASE * length * slope:
            length *= 0.5
            there[:] = theta + length * step
            fresh, _ = _criterion(there, *shared, *own, m, normal, beta, ahead)
        if length <= _SHORTEST_STEP:
            # Not to be improved at the precision of the numbers.
            break
        _bend(curve, there - theta, ahead - gradient)
        theta[:], gradient[:], value = there, ahead, fresh
    value, quadratic = _criterion(theta, *shared, *own, m, normal, beta, gradient)
    return quadratic, np.abs(gradient).max() < NEARLY_SETTLED * dof


@_compiled
def fit_voxels(
    xx: Any, gram: Any, k: Any, count: Any, kind: Any, c: Any, xy: Any, d: Any, yy: Any, dof: float,
    theta: Any, beta: Any, quadratic: Any, settled: Any,
) -> None:  # fmt: skip
    """Restricted maximum likelihood at every voxel, by quasi-Newton steps (BFGS) on Λ.

    Parameters
    ----------
    xx : (p, p); gram : (patterns, 3, p, p), Σ C_a C_b' for ab = 11, 12 (both orders together), 22
    k : (patterns, 3); count : (patterns,); kind : (people,), each one's pattern; c : (people, p, 2)
    xy : (voxels, p); d : (voxels, people, 2); yy : (voxels,)
    theta : (voxels, 3), start and result; beta : (voxels, p); quadratic, settled : (voxels,), results
    """
    m, normal = np.empty((k.shape[0], 4)), np.empty((xx.shape[0], xx.shape[0]))
    shared = (xx, gram, k, count, kind, c)
    for voxel in range(yy.size):
        own = (xy[voxel], d[voxel], yy[voxel], dof)
        quadratic[voxel], settled[voxel] = _search(theta[voxel], beta[voxel], shared, own, m, normal)


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
