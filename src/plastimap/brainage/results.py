"""Predictions as a table: one row per person and region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plastimap.brainage.lesions import side_of
from plastimap.brainage.model import BrainAgeModel, Prediction
from plastimap.brainage.parcels import Parcels
from plastimap.brainage.tables import ParcelTable

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def long_table(
    model: BrainAgeModel,
    table: ParcelTable,
    prediction: Prediction,
    *,
    lesioned: ArrayLike | None = None,
    lesion_sides: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Ages of every person and region.

    Parameters
    ----------
    model : BrainAgeModel
    table : ParcelTable
    prediction : Prediction
    lesioned : array-like, shape (n, p), optional
        Lesioned share of each parcel.
    lesion_sides : sequence of str, length n, optional
        ``L``, ``R`` or empty.

    Returns
    -------
    DataFrame
        ``participant_id``, ``session``, ``site``, ``network``, ``hemisphere`` (B = whole brain), ``side`` (from the
        lesion), ``age``, ``predicted_age``, ``lower``, ``upper`` (interval of the real age), ``pad`` (predicted −
        real), ``predicted_age_corrected``, ``pad_corrected`` (less what is expected at that age), ``sd``,
        ``lesioned_fraction``, ``imputed`` (share of parcels replaced), ``calibration`` (whose bias and intervals were
        taken); years.
    """
    import pandas as pd

    n, regions = len(table.people), model.regions
    keys = [name for name in ("participant_id", "session", "site") if name in table.people]
    out = table.people[keys].loc[table.people.index.repeat(len(regions))].reset_index(drop=True)
    out["network"] = [network for network, _ in regions] * n
    out["hemisphere"] = [side for _, side in regions] * n
    sides = list(lesion_sides) if lesion_sides is not None else [""] * n
    out["side"] = [side_of(hemisphere, one) or None for one in sides for _, hemisphere in regions]
    years = np.repeat(table.age, len(regions))
    out["age"] = years
    out["predicted_age"] = prediction.age.ravel()
    out["lower"], out["upper"] = prediction.lower.ravel(), prediction.upper.ravel()
    out["pad"] = out["predicted_age"] - years
    out["pad_corrected"] = (prediction.age - prediction.expected).ravel()
    out["predicted_age_corrected"] = years + out["pad_corrected"]
    out["sd"] = prediction.sd.ravel()
    shares = np.zeros_like(table.values) if lesioned is None else np.asarray(lesioned, dtype=np.float64)
    out["lesioned_fraction"] = region_means(shares, model.parcels, len(regions)).ravel()
    out["imputed"] = region_means(prediction.imputed.replaced, model.parcels, len(regions)).ravel()
    out["calibration"] = np.repeat(prediction.calibration, len(regions))
    return pd.DataFrame(out)


def region_means(values: ArrayLike, parcels: Parcels, count: int) -> Array:
    """Mean over each region's parcels, shape (n, count); a last column beyond the regions is the mean of all."""
    given = np.asarray(values, dtype=np.float64)
    means = [given[:, parcels.members(region)].mean(axis=1) for region in parcels.regions]
    return np.column_stack([*means, given.mean(axis=1)])[:, :count]
