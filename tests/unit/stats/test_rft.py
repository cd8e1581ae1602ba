from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plastimap.stats.rft import TField, cluster_p, ec_densities_f, ec_densities_t, peak_p, resel_counts, resels_inside


def test_resels_of_a_box_are_known() -> None:
    mask = np.zeros((9, 8, 7), dtype=bool)
    mask[1:7, 1:6, 1:5] = True  # 6 x 5 x 4 voxels: edges of 5, 4, 3
    fwhm = np.array([2.0, 2.5, 3.0])
    a, b, c = np.array([5, 4, 3]) / fwhm
    np.testing.assert_allclose(resel_counts(mask, fwhm), [1, a + b + c, a * b + a * c + b * c, a * b * c])


def test_euler_characteristic_of_shells_and_pieces() -> None:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    mask[3, 3, 3] = False  # a cavity counts one
    mask[8:10, 8:10, 8:10] = True  # and so does a second piece
    assert resel_counts(mask, [1, 1, 1])[0] == 3


def test_the_printed_study_is_reproduced() -> None:
    # Right-hemisphere white matter of the example study: Ec 3.93, Ek 8.16 voxels, printed cluster p values.
    threshold, dof = 3.3, 30.0
    density = ec_densities_t(threshold, dof)
    fwhm = np.full(3, (8.16 * density[3] / density[0]) ** (1 / 3))
    resels = np.array([0, 0, 0, 3.93 / density[3]])
    p, _ = cluster_p([61, 62, 95, 105], threshold=threshold, field=TField(dof), resels=resels, fwhm=fwhm)
    # Ec and Ek are known to three digits.
    np.testing.assert_allclose(p, [0.0380, 0.0361, 0.0079, 0.0051], atol=1.5e-4)


def test_f_with_one_numerator_degree_is_t_squared() -> None:
    t, dof = np.array([2.5, 3.5, 5.0]), 24.0
    # F > t² is t > |t| or t < -|t|: every density counts twice.
    np.testing.assert_allclose(ec_densities_f(t**2, (1, dof)), 2 * ec_densities_t(t, dof), rtol=1e-9)


def test_many_degrees_of_freedom_give_a_gaussian_field() -> None:
    u, a = 3.1, 4 * np.log(2)
    expected = [
        stats.norm.sf(u),
        a**0.5 / (2 * np.pi) * np.exp(-(u**2) / 2),
        a / (2 * np.pi) ** 1.5 * u * np.exp(-(u**2) / 2),
        a**1.5 / (2 * np.pi) ** 2 * (u**2 - 1) * np.exp(-(u**2) / 2),
    ]
    np.testing.assert_allclose(ec_densities_t(u, 1e7), expected, rtol=1e-5)


def test_cluster_p_falls_with_extent_and_uncorrected_p_ignores_the_volume() -> None:
    options = {"threshold": 3.4, "field": TField(20.0), "fwhm": [3.0, 3.0, 3.0]}
    small, small_unc = cluster_p([1, 10, 50, 400], resels=np.array([1, 5, 20, 40.0]), **options)
    large, large_unc = cluster_p([1, 10, 50, 400], resels=np.array([1, 30, 300, 900.0]), **options)
    assert (np.diff(small) < 0).all()
    assert (large > small).all()
    np.testing.assert_allclose(small_unc, large_unc)
    assert large[-1] > 0


def test_a_flat_search_volume_is_judged_in_two_dimensions() -> None:
    mask = np.zeros((20, 20, 3), dtype=bool)
    mask[1:-1, 1:-1, 1] = True
    p, _ = cluster_p([5, 50], threshold=3.0, field=TField(20.0), resels=resel_counts(mask, [3, 3, 3]), fwhm=[3, 3, 3])
    assert 0 < p[1] < p[0] < 1


def test_peak_p_is_never_above_bonferroni() -> None:
    resels = np.array([1, 30, 300, 900.0])
    p = peak_p([3.0, 5.0, 9.0], field=TField(20.0), resels=resels, n_voxels=1000)
    assert (p <= np.minimum(1000 * stats.t.sf([3.0, 5.0, 9.0], 20), 1) * (1 + 1e-12)).all()
    assert peak_p(9.0, field=TField(20.0), resels=resels, n_voxels=10**9) == pytest.approx(
        resels @ ec_densities_t(9.0, 20), rel=1e-3
    )


def test_a_cluster_in_rough_noise_counts_more() -> None:
    options = {"threshold": 3.4, "field": TField(20.0), "fwhm": [3.0, 3.0, 3.0], "resels": np.array([1, 5, 20, 40.0])}
    even, _ = cluster_p([50], **options)
    same, _ = cluster_p([50], **options, own_resels=[50 / 27])
    rough, _ = cluster_p([50], **options, own_resels=[3 * 50 / 27])
    np.testing.assert_allclose(same, even, rtol=1e-12)
    assert rough[0] < even[0]


def test_resels_inside_fill_in_the_edge() -> None:
    assert resels_inside(np.array([0.1, np.nan, 0.3]), [3, 3, 3]) == pytest.approx(0.6)
    assert resels_inside(np.array([np.nan, np.nan]), [2, 2, 2]) == pytest.approx(0.25)
