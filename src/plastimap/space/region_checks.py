"""Regions of the configuration against the values of their images, before the first job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plastimap.bids.problems import Problem
from plastimap.space.atlases import with_images


def region_problems(config: Mapping[str, Any]) -> list[Problem]:
    """Labels and thresholds that the images of the regions do not have.

    Parameters
    ----------
    config : mapping
        A configuration as :func:`plastimap.config.load_config` gives it.

    Returns
    -------
    list of Problem
        An error where nothing of a region would be left, or anything but the region; a notice where it may be meant.
    """
    # Missing files, and regions that are described twice, are told where the configuration is checked.
    regions = [region for region in with_images(config["rois"]) if not {"label", "threshold"} <= region.keys()]
    return [one for region in regions if Path(region.get("image", "")).is_file() for one in _of_region(region)]


def _of_region(region: Mapping[str, Any]) -> Iterator[Problem]:
    from plastimap.images import ImageProblem
    from plastimap.space.region_values import region_doubts
    from plastimap.space.regionfiles import read_region

    place = f"config: rois ({region.get('name')})"
    try:
        image = read_region(region["image"], region.get("volume"))
    except ImageProblem as problem:
        yield Problem(place, "the image of a region cannot be used", str(problem), "correct the region")
        return
    for doubt in region_doubts(image.data, region):
        severity = "error" if doubt.fatal else "notice"
        yield Problem(place, doubt.what, f"a region is cut from {region['image']}", doubt.remedy, severity)
