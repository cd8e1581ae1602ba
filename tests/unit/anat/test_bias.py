"""N4: a planted field is found, and scale, unit and missing values survive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plastimap.anat.bias import log_bias_field, without_bias
from plastimap.images import Volume


def correct_bias(volume: Volume, mask: np.ndarray) -> np.ndarray:
    return without_bias(volume, Volume(log_bias_field(volume, mask), volume.affine)).data


@pytest.fixture(scope="module")
def shaded(phantom: Callable[..., Any]) -> Any:
    return phantom("T1w", resolution_mm=4.0, bias=0.3, noise=0.01)


@pytest.fixture(scope="module")
def corrected(shaded: Any) -> np.ndarray:
    return correct_bias(shaded.image, shaded.brain)


def spread_within_wm(data: np.ndarray, head: Any) -> float:
    values = data[head.truth["WM"] > 0.95]
    return float(values.std() / values.mean())


def test_planted_field_is_removed(shaded: Any, corrected: np.ndarray) -> None:
    # The field makes white matter differ by some 8 %; noise and partial volume alone by about 2 %.
    assert spread_within_wm(corrected, shaded) < 0.5 * spread_within_wm(shaded.image.data, shaded)


def test_scale_stays_and_unit_does_not_matter(shaded: Any, corrected: np.ndarray) -> None:
    before = shaded.image.data.copy()
    logs = np.log(corrected[shaded.brain] / shaded.image.data[shaded.brain])
    assert abs(float(logs.mean())) < 1e-4
    tiny = correct_bias(Volume(shaded.image.data * 1e-3, shaded.image.affine), shaded.brain)
    np.testing.assert_allclose(tiny * 1e3, corrected, rtol=1e-3)
    np.testing.assert_array_equal(shaded.image.data, before)


def test_missing_stays_missing(shaded: Any) -> None:
    data = shaded.image.data.copy()
    data[20, 20, 20] = np.nan
    corrected = correct_bias(Volume(data, shaded.image.affine), shaded.brain)
    assert np.isnan(corrected[20, 20, 20])
    assert np.isfinite(corrected).sum() == corrected.size - 1


def test_empty_mask_is_named(shaded: Any) -> None:
    with pytest.raises(ValueError, match="no positive intensities"):
        correct_bias(shaded.image, np.zeros(shaded.image.shape, dtype=bool))


def test_the_number_of_processors_does_not_matter(shaded: Any) -> None:
    """To the last bit: sums are made in one order."""
    import SimpleITK

    found: list[np.ndarray] = []
    usual = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    for threads in (1, 4):
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        try:
            found.append(log_bias_field(shaded.image, shaded.brain))
            assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
        finally:
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)
    np.testing.assert_array_equal(*found)
