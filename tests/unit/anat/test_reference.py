"""Real heads against SPM's Segment (its real tissue maps, default settings)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plastimap.anat.pipeline import segment_scan
from plastimap.images import read_volume

T1W = {
    "single_subj": "reference/spm12-segment/single_subj/T1w.nii.gz",
    "real-siemens-1subject": "data/real-siemens-1subject/sub-01/anat/sub-01_T1w.nii.gz",
    "real-t1w-adult": "data/real-t1w-adult/sub-01/anat/sub-01_T1w.nii.gz",
}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(T1W))
def test_whole_heads_against_spm(shared: Path, dice: Callable[..., float], name: str) -> None:
    scan = read_volume(shared / T1W[name])
    folder = shared / "reference" / "spm12-segment" / name
    gm, wm, csf = (read_volume(folder / f"c{number}.nii.gz").data for number in (1, 2, 3))
    found = segment_scan(scan, quantitative=False)
    # SPM is a reference, not truth: methods differ from one another by about as much as these bounds allow.
    assert dice(found.mask, gm + wm + csf) > 0.95
    assert dice(found.gm, gm) > 0.85
    assert dice(found.wm, wm) > 0.87
    # CSF is the weak class: where it ends at the skull differs between methods most.
    assert dice(found.csf, csf) > 0.7
    spm_tiv = float((gm + wm + csf).sum()) * scan.voxel_volume / 1000
    assert found.tiv_ml == pytest.approx(spm_tiv, rel=0.07)
