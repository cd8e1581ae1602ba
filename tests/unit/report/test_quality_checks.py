"""Quality numbers are flagged by what they are, not by letters in their names."""

from __future__ import annotations

import pytest

from plastimap.report.checks import checks_of
from plastimap.report.inputs import ScanInputs


def test_only_tiv_has_the_range_of_tiv() -> None:
    qa = {"dwi": {"n_negative_eigenvalue": 126}, "anat": {"tiv_ml": 2500.0}}
    flagged = {check.name for check in checks_of(ScanInputs(label="sub-01", qa=qa)) if check.flag}
    assert len(flagged) == 1
    assert "tiv" in flagged.pop().split()[1]


GOOD = {
    "dwi to structural": {
        "coreg_mask_dice": 0.93,
        "coreg_overlap": 1.0,
        "coreg_information_nats": 0.30,
        "coreg_turned_deg": 0.0,
    },
    "anat": {"folding_share": 0.0, "mask_dice": 0.97, "priors_dice": {"GM": 0.9, "WM": 0.9, "CSF": 0.4}},
    "space": {"dice_GM": 0.8, "dice_WM": 0.8, "session_folding_share": 0.001},
}


def test_a_sound_scan_has_no_flag() -> None:
    assert not [check.name for check in checks_of(ScanInputs(label="sub-01", qa=GOOD)) if check.flag]


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [
        # A quarter turn, and half ones, of a real scan's header gave these.
        ("dwi to structural", "coreg_mask_dice", 0.74),
        ("dwi to structural", "coreg_information_nats", 0.24),
        ("dwi to structural", "coreg_turned_deg", 90.0),
        ("dwi to structural", "coreg_mask_dice", float("nan")),
        ("anat", "mask_dice", 0.6),
        ("anat", "folding_share", 0.2),
        ("anat", "priors_dice", {"GM": 0.3, "WM": 0.9}),
        ("space", "dice_WM", 0.1),
        ("space", "session_folding_share", 0.4),
    ],
)
def test_what_lies_wrong_is_flagged(stage: str, name: str, value: object) -> None:
    qa = {**GOOD, stage: {**GOOD[stage], name: value}}
    (flagged,) = [check for check in checks_of(ScanInputs(label="sub-01", qa=qa)) if check.flag]
    assert flagged.name.startswith(f"{stage}: {name.replace('_', ' ')}")
    assert flagged.expected
