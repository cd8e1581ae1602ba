from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dwi.conftest import directions

from plastimap.dwi._eigen import eigensystems
from plastimap.dwi._tensor import exponentials, logarithms
from plastimap.dwi.tensor import chosen_volumes, colour_fa, fit_tensor, fractional_anisotropy
from plastimap.images import read_volume

BVALS = np.r_[0, 0, np.full(30, 1000.0)]
BVECS = np.r_[np.zeros((2, 3)), directions(30)]


def turned(eigenvalues, rng):
    """Tensors with the given eigenvalues (n, 3) in random orientation, and their first axes."""
    axes = np.linalg.qr(rng.normal(size=(len(eigenvalues), 3, 3)))[0]
    return np.einsum("nij,nj,nkj->nik", axes, eigenvalues, axes), axes[..., 0]


def signals(tensors, bvals=BVALS, bvecs=BVECS, s0=800.0):
    exponent = np.einsum("gi,nij,gj->ng", bvecs, tensors, bvecs) * bvals * 1e-3
    return (s0 * np.exp(-exponent)).reshape(-1, 1, 1, bvals.size)


@pytest.mark.parametrize("method", ["ols", "wls", "iwls", "robust"])
def test_noise_free_truth_is_found(method, rng):
    values = np.sort(rng.uniform(0.1, 2.5, (50, 3)), axis=1)[:, ::-1]
    tensors, axes = turned(values, rng)
    made = fit_tensor(signals(tensors), BVALS, BVECS, mask=np.ones((50, 1, 1)), method=method)
    np.testing.assert_allclose(made.ad.ravel(), values[:, 0], rtol=1e-5)
    np.testing.assert_allclose(made.rd.ravel(), values[:, 1:].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(made.md.ravel(), values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(made.fa.ravel(), fractional_anisotropy(values), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made.s0.ravel(), 800, rtol=1e-5)
    np.testing.assert_allclose(np.abs((made.direction.reshape(-1, 3) * axes).sum(axis=1)), 1, atol=1e-5)
    assert made.qa["n_negative_eigenvalue"] == 0
    assert not made.notes


@pytest.mark.parametrize(("method", "theirs"), [("ols", "OLS"), ("wls", "WLS")])
def test_equals_dipy(method, theirs, rng):
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    tensors, _ = turned(rng.uniform(0.4, 1.8, (200, 3)), rng)
    noisy = np.maximum(signals(tensors) + rng.normal(0, 25, (200, 1, 1, BVALS.size)), 1)
    made = fit_tensor(noisy, BVALS, BVECS, mask=np.ones((200, 1, 1)), method=method)
    other = TensorModel(gradient_table(BVALS, bvecs=BVECS), fit_method=theirs).fit(noisy)
    # Their tensors are stored in mm²/s; the rest is float32 rounding of ours.
    np.testing.assert_allclose(made.md, other.md * 1e3, rtol=1e-5)
    np.testing.assert_allclose(made.fa, other.fa, rtol=1e-4, atol=1e-6)


def test_weights_help_where_the_signal_is_weak(rng):
    tensors, _ = turned(np.repeat([[2.4, 0.3, 0.3]], 3000, axis=0), rng)
    bvals = BVALS * 2.5
    clean = signals(tensors, bvals)
    noisy = np.hypot(clean + rng.normal(0, 30, clean.shape), rng.normal(0, 30, clean.shape))
    errors = {
        method: np.std(fit_tensor(noisy, bvals, BVECS, mask=np.ones((3000, 1, 1)), method=method).fa)
        for method in ("ols", "wls")
    }
    assert errors["wls"] < 0.95 * errors["ols"]


@given(scale=st.floats(1e-2, 1e3))
@settings(max_examples=20, deadline=None)
def test_scaling_the_signal_changes_s0_only(scale):
    tensors, _ = turned(np.array([[1.7, 0.4, 0.3]]), np.random.default_rng(1))
    data = signals(tensors)
    one, other = (fit_tensor(d, BVALS, BVECS, mask=np.ones((1, 1, 1))) for d in (data, data * scale))
    np.testing.assert_allclose(other.fa, one.fa, rtol=1e-5)
    np.testing.assert_allclose(other.md, one.md, rtol=1e-5)
    np.testing.assert_allclose(other.s0, one.s0 * scale, rtol=1e-5)


def test_turning_the_gradients_turns_the_direction_only(rng):
    tensors, _ = turned(np.array([[1.7, 0.4, 0.3]] * 5), rng)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    data, mask = signals(tensors), np.ones((5, 1, 1))
    one, other = fit_tensor(data, BVALS, BVECS, mask=mask), fit_tensor(data, BVALS, BVECS @ turn.T, mask=mask)
    np.testing.assert_allclose(other.fa, one.fa, atol=1e-5)
    cosine = (other.direction * (one.direction @ turn.T)).sum(axis=-1)
    np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-5)


def test_bad_voxels_are_nan_or_floored_and_counted(rng):
    tensors, _ = turned(np.repeat([[1.0, 0.9, 0.8]], 5, axis=0), rng)
    data = signals(tensors)
    data[0, 0, 0, 4] = np.nan
    data[1] = 0
    data[2, 0, 0, 7] = 0
    data[3, 0, 0, 2:] = 900  # more signal with weighting than without: negative diffusivities
    mask = np.ones((5, 1, 1), dtype=bool)
    mask[4] = False
    made = fit_tensor(data, BVALS, BVECS, mask=mask)
    np.testing.assert_array_equal(np.isnan(made.fa).ravel(), [True, True, False, False, True])
    counts = {name: made.qa[name] for name in ("n_invalid_signal", "n_floored_signal", "n_negative_eigenvalue")}
    assert counts == {"n_invalid_signal": 2, "n_floored_signal": 1, "n_negative_eigenvalue": 1}
    assert made.fa[3, 0, 0] >= 0
    assert made.rd[3, 0, 0] >= 0


@pytest.mark.parametrize(
    ("bvals", "n_used", "n_notes"),
    [
        ([0, *[1000] * 6, *[2500] * 6], 7, 1),
        ([0, *[1000] * 5, *[2500] * 7], 13, 1),
        ([0, *[2500] * 12], 13, 1),
        ([0, *[1000] * 12], 13, 0),
        ([300, *[1000] * 6, *[2500] * 6], 13, 1),
    ],
)
def test_high_shells_are_left_out_only_where_enough_remains(bvals, n_used, n_notes):
    used, notes = chosen_volumes(
        np.array(bvals, dtype=float), np.r_[np.zeros((1, 3)), directions(12)], b0_threshold=50, max_bval=1500
    )
    assert (used.sum(), len(notes)) == (n_used, n_notes)


def test_robust_fit_leaves_outliers_out(rng):
    tensors, _ = turned(np.repeat([[1.7, 0.4, 0.3]], 400, axis=0), rng)
    clean = signals(tensors)
    noisy = clean + rng.normal(0, 15, clean.shape)
    rows, columns = np.arange(400)[:, None], np.argsort(rng.random((400, 30)), axis=1)[:, :3] + 2
    noisy[rows, 0, 0, columns] *= 0.3
    truth = fractional_anisotropy(np.array([1.7, 0.4, 0.3]))
    mask = np.ones((400, 1, 1))
    plain, robust = (fit_tensor(noisy, BVALS, BVECS, mask=mask, method=method) for method in ("wls", "robust"))
    errors = [np.sqrt(np.mean((made.fa - truth) ** 2)) for made in (plain, robust)]
    assert errors[1] < 0.3 * errors[0]
    assert robust.qa["tensor_outlier_share"] == pytest.approx(3 / 32, rel=0.25)
    assert "tensor_outlier_share" not in plain.qa


def test_residuals_show_the_noise(rng):
    tensors, _ = turned(rng.uniform(0.4, 1.8, (300, 3)), rng)
    noisy = signals(tensors) + rng.normal(0, 12, (300, 1, 1, BVALS.size))
    made = fit_tensor(noisy, BVALS, BVECS, mask=np.ones((300, 1, 1)))
    assert made.qa["noise_sd"] == pytest.approx(12, rel=0.1)
    exact = [0, *range(2, 8)]
    seven = fit_tensor(noisy[..., exact], BVALS[exact], BVECS[exact], mask=np.ones((300, 1, 1)))
    assert np.isnan(seven.residual).all()
    assert np.isnan(seven.qa["noise_sd"])


def test_tensor_and_colours_come_out(rng):
    tensors, axes = turned(np.array([[1.7, 0.4, 0.3]] * 4), rng)
    made = fit_tensor(signals(tensors), BVALS, BVECS, mask=np.array([1, 1, 1, 0]).reshape(4, 1, 1))
    found = made.tensor[:3, 0, 0]
    expected = np.stack([tensors[:3, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    colours = colour_fa(made)
    np.testing.assert_allclose(colours[:3, 0, 0], np.abs(axes[:3]) * made.fa[:3, 0], atol=1e-5)
    np.testing.assert_array_equal(colours[3], 0)


@given(seed=st.integers(0, 10_000), close=st.sampled_from([0.0, 1e-12, 1e-6, 1e-3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_eigensystems_equal_lapack(seed, close):
    rng = np.random.default_rng(seed)
    values = np.array([1.0, 1.0 - close * rng.random(), rng.choice([0.2, 1.0 - close, -0.3])])
    tensor, _ = turned(np.sort(values)[None, ::-1], rng)
    packed = np.array([[tensor[0, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]])
    found, direction = np.empty((1, 3)), np.empty((1, 3))
    eigensystems(packed, found, direction)
    np.testing.assert_allclose(found[0], np.sort(values)[::-1], atol=2e-8)
    np.testing.assert_allclose(tensor[0] @ direction[0], found[0, 0] * direction[0], atol=1e-5)
    assert np.linalg.norm(direction) == pytest.approx(1)


def test_storage_order_and_unused_volumes_do_not_matter(rng):
    tensors, _ = turned(rng.uniform(0.4, 1.8, (60, 3)), rng)
    noisy = (signals(tensors) + rng.normal(0, 12, (60, 1, 1, BVALS.size))).reshape(5, 4, 3, -1).astype(np.float32)
    mask = rng.random((5, 4, 3)) < 0.7
    bvals = np.where(np.arange(BVALS.size) > 25, 3000.0, BVALS)
    one, other, strided = (
        fit_tensor(data, bvals, BVECS, mask=mask)
        for data in (noisy, np.asfortranarray(noisy), np.repeat(noisy, 2, axis=0)[::2])
    )
    np.testing.assert_array_equal(one.fa, other.fa)
    np.testing.assert_array_equal(one.fa, strided.fa)
    np.testing.assert_array_equal(np.isnan(one.fa), ~mask)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_volumes_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    tensors, _ = turned(rng.uniform(0.4, 1.8, (5, 3)), rng)
    noisy = signals(tensors) + rng.normal(0, 12, (5, 1, 1, BVALS.size))
    order = rng.permutation(BVALS.size)
    mask = np.ones((5, 1, 1))
    one = fit_tensor(noisy, BVALS, BVECS, mask=mask)
    other = fit_tensor(noisy[..., order], BVALS[order], BVECS[order], mask=mask)
    np.testing.assert_allclose(other.fa, one.fa, atol=1e-5)


def test_air_can_be_fitted_without_harm(rng):
    air = np.abs(rng.normal(0, 1, (500, 1, 1, BVALS.size))) ** 8
    air[:20] = 0
    made = fit_tensor(air, BVALS, BVECS, mask=np.ones((500, 1, 1)))
    assert np.isnan(made.fa[:20]).all()
    fitted = made.fa[20:]
    assert ((fitted >= 0) & (fitted <= 1)).all()
    assert np.isfinite(made.s0[20:]).all()


def test_exponentials_and_logarithms(rng):
    x = rng.uniform(-40, 40, 1000).astype(np.float32)
    made = np.empty_like(x)
    exponentials(x, made, made.view(np.int32), np.empty(1000, np.int32))
    np.testing.assert_allclose(made, np.exp(x.astype(np.float64)), rtol=3e-7)
    positive = np.exp(rng.uniform(-20, 20, 1000)).astype(np.float32)
    room = positive.copy()
    logarithms(room, room.view(np.int32), made)
    np.testing.assert_allclose(made, np.log(positive.astype(np.float64)), rtol=3e-7, atol=3e-7)


def test_fa_of_known_tensors():
    found = fractional_anisotropy(np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [np.nan] * 3, [2, 1, 1]]))
    np.testing.assert_allclose(found, [0, 1, 0, np.nan, np.sqrt(1 / 6)], atol=1e-12)


def test_what_cannot_be_fitted_is_refused(rng):
    data, mask = signals(turned(np.ones((2, 3)), rng)[0]), np.ones((2, 1, 1))
    with pytest.raises(ValueError, match="go together"):
        fit_tensor(data, BVALS[1:], BVECS[1:], mask=mask)
    with pytest.raises(ValueError, match="ols, wls, iwls, robust"):
        fit_tensor(data, BVALS, BVECS, mask=mask, method="nlls")
    with pytest.raises(ValueError, match="do not determine a tensor"):
        fit_tensor(data, BVALS, np.where(BVALS[:, None] > 0, BVECS[5], 0), mask=mask)


@pytest.mark.shared
@pytest.mark.parametrize("encoding", ["AP", "PA"])
def test_agrees_with_the_scanner(shared, encoding):
    from plastimap.dwi.gradients import fsl_to_world, read_gradients
    from plastimap.dwi.mask import brain_mask

    folder = shared / "data" / "real-siemens-1subject"
    stem = f"sub-01_dir-{encoding}_dwi"
    series = read_volume(folder / "sub-01" / "dwi" / f"{stem}.nii.gz")
    bvals, bvecs = read_gradients(*(folder / "sub-01" / "dwi" / f"{stem}.{kind}" for kind in ("bval", "bvec")))
    mask = brain_mask(series.data[..., 0], voxel_size=series.voxel_size)
    made = fit_tensor(series.data, bvals, fsl_to_world(bvecs, series.affine), mask=mask, method="ols")
    fa, adc = (
        read_volume(folder / "scanner-maps" / f"dir-{encoding}_{name}.nii.gz").data / 1000 for name in ("FA", "ADC")
    )
    where = mask & np.isfinite(made.fa) & (adc > 0)
    # The scanner fits the same raw data without motion correction: equal but for its rounding and its outliers.
    assert np.corrcoef(made.fa[where], fa[where])[0, 1] > 0.99
    assert abs(np.median(made.fa[where] - fa[where])) < 0.001
    assert np.corrcoef(made.md[where], adc[where])[0, 1] > 0.999
    assert abs(np.median(made.md[where] / adc[where]) - 1) < 0.001
