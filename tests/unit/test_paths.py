"""The one table of outputs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.paths import (
    ANALYSED_TISSUES,
    TISSUES,
    WILDCARDS,
    Paths,
    scan_folder,
    scan_label,
    scan_session,
    scan_subject,
    sidecar_of,
)

PATHS = Paths("MNI152NLin2009aSym", 1.5, "MTsat")
labels = st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True)


@given(labels, st.none() | labels)
def test_labels_round_trip(subject: str, session: str | None) -> None:
    label = scan_label(subject, session)
    assert (scan_subject(label), scan_session(label)) == (subject, session)
    assert re.fullmatch(WILDCARDS["scan"], label)
    assert re.fullmatch(WILDCARDS["folder"], scan_folder(label))


def test_patterns_are_filled_with_and_without_sessions() -> None:
    assert PATHS.at(PATHS.native("R1"), "sub-01_ses-02") == "sub-01/ses-02/anat/sub-01_ses-02_R1map.nii.gz"
    assert PATHS.at(PATHS.native("FA"), "sub-01") == "sub-01/dwi/sub-01_model-tensor_param-fa_dwimap.nii.gz"
    assert PATHS.at(PATHS.smoothed("vbm", "GM"), "sub-01").endswith("res-1p5_label-GM_desc-smoothed_probseg.nii.gz")


def test_no_two_outputs_of_a_scan_share_a_name() -> None:
    maps = ("R1", "R2s", "MTsat", "PD", "FA", "MD", "AD", "RD")
    pairs = [(name, tissue) for name in (*maps, "vbm") for tissue in ("GM", "WM")]
    names = [place(name) for place in (PATHS.native, PATHS.warped) for name in maps]
    names += [place(name) for place in (PATHS.tissue, PATHS.warped_tissue) for name in TISSUES]
    names += [PATHS.modulated(name) for name in ANALYSED_TISSUES]
    names += [PATHS.smoothed(*pair) for pair in pairs] + [PATHS.structural]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("image", "json"), [("a/b.nii.gz", "a/b.json"), ("a/b.nii", "a/b.json")])
def test_sidecar_is_beside(image: str, json: str) -> None:
    assert sidecar_of(image) == json
