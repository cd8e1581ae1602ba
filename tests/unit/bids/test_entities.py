from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plastimap.bids.entities import ENTITY_ORDER, format_name, parse_name

LABELS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
ENTITIES = st.dictionaries(st.sampled_from(ENTITY_ORDER), LABELS, max_size=8)
SUFFIXES = st.sampled_from(["MPM", "dwi", "T1w", "TB1map", "R2starmap"])
EXTENSIONS = st.sampled_from([".nii.gz", ".nii", ".json", ".bval", ".tsv"])


@given(ENTITIES, SUFFIXES, EXTENSIONS)
def test_a_name_reads_back_as_its_parts(entities, suffix, extension):
    name = parse_name(format_name(entities, suffix, extension))
    assert name is not None
    assert (dict(name.entities), name.suffix, name.extension) == (entities, suffix, extension)


@given(ENTITIES, SUFFIXES)
def test_entities_stand_in_the_order_of_the_standard(entities, suffix):
    name = parse_name(format_name(entities, suffix, ".json"))
    assert name is not None
    places = [ENTITY_ORDER.index(key) for key in name.entities]
    assert places == sorted(places)


def test_labels_keep_their_zeros_and_indices_lose_them():
    name = parse_name("sub-007_ses-01_run-02_echo-11_flip-1_mt-off_MPM.nii.gz")
    assert name is not None
    assert name.get("sub") == "007"
    assert name.index("run") == 2
    assert name.index("echo") == 11
    assert name.index("acq") is None


@pytest.mark.parametrize(
    "name",
    ["sub-01_sub-02_T1w.nii.gz", "sub-01_T1w", "notes.", "sub_01_T1w.nii.gz", "sub-0!1_T1w.nii.gz", "sub-01_T 1.nii"],
)
def test_other_names_are_none(name):
    assert parse_name(name) is None


def test_parts_that_make_no_name_are_refused():
    with pytest.raises(ValueError, match="no BIDS name"):
        format_name({"sub": "0_1"}, "T1w", ".nii.gz")
    with pytest.raises(ValueError, match="no BIDS name"):
        format_name({"sub": "01"}, "T1w", "nii.gz")


def test_missing_values_are_left_out():
    assert format_name({"ses": None, "sub": "01", "run": 2}, "dwi", ".bval") == "sub-01_run-2_dwi.bval"
