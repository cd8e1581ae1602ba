"""Quality numbers are flagged by what they are, not by letters in their names."""

from __future__ import annotations

from plastimap.report.checks import checks_of
from plastimap.report.inputs import ScanInputs


def test_only_tiv_has_the_range_of_tiv() -> None:
    qa = {"dwi": {"n_negative_eigenvalue": 126}, "anat": {"tiv_ml": 2500.0}}
    flagged = {check.name for check in checks_of(ScanInputs(label="sub-01", qa=qa)) if check.flag}
    assert len(flagged) == 1
    assert "tiv" in flagged.pop().split()[1]
