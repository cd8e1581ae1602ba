"""What the values of a region's image allow: a label that is there, a threshold in the image's own unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_SHARE = 1.5
"""Probabilities end at 1, or little above where they were resampled by splines: beyond this an image is in per cent, or
in labels."""

MOST_LISTED = 12
"""Labels named in a message, of those that an image has."""


@dataclass(frozen=True)
class RegionDoubt:
    """What is wrong with how a region is cut from its image.

    Attributes
    ----------
    what, remedy : str
        In words.
    fatal : bool
        Whether what would be cut is no region at all; otherwise it may be meant.
    """

    what: str
    remedy: str
    fatal: bool = False


def region_doubts(data: NDArray[np.floating], specification: Mapping[str, Any]) -> list[RegionDoubt]:
    """Compare what a region asks of its image with what the image holds.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Values of the image: labels, probabilities, per cent.
    specification : mapping
        With ``label`` (whole number, or several) or ``threshold``, or neither.
    """
    values = data[np.isfinite(data)]
    if not values.size or not values.max() > 0:
        return [RegionDoubt("its image holds nothing above 0", "give the right image", fatal=True)]
    label, threshold = specification.get("label"), specification.get("threshold")
    if label is not None:
        return list(_of_labels(values, [int(one) for one in np.atleast_1d(np.asarray(label))]))
    return list(_of_threshold(values, threshold))


def _of_labels(values: NDArray[np.floating], wanted: Sequence[int]) -> Iterator[RegionDoubt]:
    if not _is_whole(values):
        what = "a label is asked of an image whose values are no labels: they lie between whole numbers"
        remedy = "cut it by threshold; or give the label image itself, where it was interpolated linearly"
        yield RegionDoubt(what, remedy, fatal=True)
        return
    if 0 in wanted:
        yield RegionDoubt("label 0 is all that lies outside of the regions", "remove it from label", fatal=True)
    there = [int(one) for one in np.unique(values) if one != 0]
    absent = [one for one in wanted if one not in there and one != 0]
    if absent:
        more = " ..." if len(there) > MOST_LISTED else ""
        has = ", ".join(map(str, there[:MOST_LISTED])) + more
        what = f"its image has no label {', '.join(map(str, absent))}; it has {has}"
        yield RegionDoubt(what, "correct label", fatal=len(absent) == len(wanted))


def _of_threshold(values: NDArray[np.floating], threshold: float | None) -> Iterator[RegionDoubt]:
    largest = float(values.max())
    if threshold is None:
        if largest > MOST_SHARE and _is_whole(values) and float(values[values > 0].min()) < largest:
            what = f"neither label nor threshold, and whole numbers up to {largest:g} in its image, cut at half of that"
            yield RegionDoubt(what, "name its label, or the threshold in the image's own unit")
    elif threshold > largest:
        what = f"no voxel reaches the threshold {threshold:g}: its image ends at {largest:g}"
        yield RegionDoubt(what, "write the threshold in the image's own unit", fatal=True)
    elif threshold <= 1 and largest > MOST_SHARE:
        what = f"the threshold {threshold:g} is a share, its image goes up to {largest:g}"
        yield RegionDoubt(what, f"where it is in per cent write {100 * threshold:g}; where it has labels, label")


def _is_whole(values: NDArray[np.floating]) -> bool:
    return bool((values == np.rint(values)).all())
