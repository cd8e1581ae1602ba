from __future__ import annotations

from dataclasses import replace

import pytest

from plastimap.bids.choose import choose
from plastimap.bids.rows import Row


def mpm(angle, mt, echo=1, *, run=None, acq=None, scan="01"):
    name = f"/d/sub-{scan}_acq-{acq}_run-{run}_echo-{echo}_flip-{angle}_mt-{mt}_MPM.nii.gz"
    return Row(participant_id=f"sub-{scan}", session=None, path=name, datatype="anat", suffix="MPM", acq=acq, run=run,
               echo=echo, mt=mt, flip_angle_deg=float(angle), shape=(4, 5, 3))  # fmt: skip


def dwi(direction, n, *, run=None):
    return Row(participant_id="sub-01", session=None, path=f"/d/sub-01_dir-{direction}_run-{run}_dwi.nii.gz", run=run,
               datatype="dwi", suffix="dwi", dir=direction, shape=(4, 5, 3, n))  # fmt: skip


def used(rows, *, repeated_runs="last"):
    chosen, notices = choose(rows, repeated_runs=repeated_runs)
    assert [replace(row, used=True, unused_because=None, weighting=None) for row in chosen] == list(rows)
    assert all(row.used == (row.unused_because is None) for row in chosen)
    assert all(notice.severity == "notice" for notice in notices)
    return [row for row in chosen if row.used], notices


def test_weightings_follow_pulse_and_angle_never_the_label():
    rows = [mpm(6, "on", acq="T1w"), mpm(6, "off", acq="MTw"), mpm(21, "off", acq="PDw")]
    chosen, notices = used(rows)
    assert [row.weighting for row in chosen] == ["MTw", "PDw", "T1w"]
    assert not notices


@pytest.mark.parametrize(("angle", "weighting"), [(6, "PDw"), (21, "T1w")])
def test_one_angle_alone_is_named_by_its_size(angle, weighting):
    chosen, _ = used([mpm(angle, "off")])
    assert chosen[0].weighting == weighting


def test_a_third_angle_is_left_out_and_told():
    chosen, notices = used([mpm(4, "off"), mpm(12, "off"), mpm(24, "off")])
    assert [row.flip_angle_deg for row in chosen] == [4, 24]
    assert len(notices) == 1


@pytest.mark.parametrize(("rule", "kept"), [("last", 2), ("first", 1)])
def test_a_repeated_run_counts_whole(rule, kept):
    rows = [mpm(6, "off", echo, run=run) for run in (1, 2) for echo in (1, 2, 3)] + [mpm(21, "off", 1, run=1)]
    chosen, notices = used(rows, repeated_runs=rule)
    assert {row.run for row in chosen if row.flip_angle_deg == 6} == {kept}
    assert len(chosen) == 4
    assert len(notices) == 1


def test_complete_repetitions_can_be_combined_and_others_cannot():
    whole = [mpm(angle, "off", echo, run=run) for angle in (6, 21) for run in (1, 2) for echo in (1, 2, 3)]
    chosen, notices = used(whole, repeated_runs="combine")
    assert len(chosen) == 12
    assert not notices
    # A run that broke off, or a contrast that was measured once, cannot be combined: the last run counts.
    for missing in (whole[-1:], whole[-3:]):
        chosen, notices = used([row for row in whole if row not in missing], repeated_runs="combine")
        assert {row.run for row in chosen if row.flip_angle_deg == 6} == {2}
        assert notices
    # Other acquisitions are never combined.
    chosen, _ = used([dwi("AP", 30, run=1), dwi("AP", 30, run=2)], repeated_runs="combine")
    assert [row.run for row in chosen] == [2]


def test_a_run_that_broke_off_is_told_with_its_counts():
    rows = [mpm(6, "off", echo, run=1) for echo in (1, 2, 3)] + [mpm(6, "off", 1, run=2)]
    _, notices = used(rows)
    assert "broken off" in notices[0].why


def test_a_name_without_run_is_the_first():
    chosen, _ = used([mpm(6, "off"), mpm(6, "off", run=2)])
    assert [row.run for row in chosen] == [2]


def test_scans_do_not_mix():
    chosen, notices = used([mpm(6, "off", scan="01"), mpm(21, "off", scan="02")])
    assert len(chosen) == 2
    assert not notices


def test_the_longest_diffusion_series_counts_and_of_equals_the_first():
    chosen, notices = used([dwi("AP", 3), dwi("PA", 30)])
    assert [row.dir for row in chosen] == ["PA"]
    assert "dir-AP" in notices[0].why
    chosen, _ = used([dwi("PA", 30), dwi("AP", 30)])
    assert [row.dir for row in chosen] == ["AP"]


def test_a_repeated_diffusion_series_follows_the_run_rule():
    chosen, _ = used([dwi("AP", 30, run=1), dwi("AP", 30, run=2)])
    assert [row.run for row in chosen] == [2]


def test_phase_images_do_not_count():
    phase = replace(mpm(6, "off"), part="phase", path="/d/phase")
    chosen, _ = used([phase, replace(mpm(6, "off"), part="mag")])
    assert [row.part for row in chosen] == ["mag"]


def test_a_ready_b1_map_counts_before_raw_ones():
    def b1(suffix, acq=None):
        return Row(participant_id="sub-01", session=None, path=f"/d/{acq}_{suffix}", datatype="fmap", suffix=suffix,
                   acq=acq)  # fmt: skip

    chosen, notices = used([b1("TB1AFI", "tr1"), b1("TB1AFI", "tr2"), b1("TB1map")])
    assert [row.suffix for row in chosen] == ["TB1map"]
    assert len(notices) == 1
    chosen, _ = used([b1("TB1AFI", "tr1"), b1("TB1AFI", "tr2")])
    assert len(chosen) == 2


def test_a_t1_weighted_image_is_not_the_t1_weighting():
    t1w = Row(participant_id="sub-01", session=None, path="/d/sub-01_T1w.nii.gz", datatype="anat", suffix="T1w")
    chosen, notices = used([mpm(6, "off", acq="a"), mpm(21, "off", acq="a"), t1w])
    assert len(chosen) == 3
    assert not notices


def t1w(name="", *, session="01", ending=".nii.gz", **entities):
    path = f"/d/ses-{session}/sub-01_{name}T1w{ending}"
    return Row(participant_id="sub-01", session=session, path=path, datatype="anat", suffix="T1w", **entities)


def test_one_t1_weighted_image_counts_and_the_others_are_told():
    plain, agent = t1w(), t1w("ce-gad_", ce="gad")
    for others in (
        agent,
        t1w("rec-norm_", rec="norm"),
        t1w("acq-fast_", acq="fast"),
        t1w("ce-a_acq-a_", ce="a", acq="a"),
    ):
        chosen, (notice,) = used([others, plain])
        assert chosen == [plain]
        assert others.path.rpartition("sub-01_")[2].removesuffix(".nii.gz").split("_")[0] in notice.why
    echoes = [t1w(f"echo-{n}_", echo=n) for n in (2, 1, 3)]
    chosen, (notice,) = used(echoes)
    assert [row.echo for row in chosen] == [1]
    assert "echo-2_T1w, echo-3_T1w" in notice.why


def test_sessions_with_images_of_different_kinds_are_told():
    """With a contrast agent in one session only, every vessel would have grown."""
    chosen, notices = used([t1w(), t1w("ce-gad_", ce="gad", session="02")])
    assert len(chosen) == 2
    assert [notice.what for notice in notices] == ["T1-weighted images of several kinds: T1w, ce-gad_T1w"]
    _, notices = used([t1w("run-1_", run=1), t1w("run-2_", run=2, session="02")])
    assert not notices


def test_of_one_image_packed_and_unpacked_the_packed_one_counts():
    chosen, (notice,) = used([t1w(ending=".nii"), t1w()])
    assert [row.path for row in chosen] == ["/d/ses-01/sub-01_T1w.nii.gz"]
    assert "sub-01_T1w.nii" in notice.why
    whole = [mpm(angle, "off", echo) for angle in (6, 21) for echo in (1, 2)]
    twin = replace(whole[0], path=whole[0].path.removesuffix(".gz"))
    chosen, notices = used([*whole, twin])
    assert ([row.path for row in chosen], len(notices)) == ([row.path for row in whole], 1)


def test_reconstructions_of_one_acquisition_do_not_mix():
    rows = [replace(mpm(6, "off", echo), rec=rec, path=f"/d/{rec}{echo}") for rec in ("a", "b") for echo in (1, 2)]
    chosen, notices = used(rows)
    assert [row.rec for row in chosen] == ["a", "a"]
    assert len(notices) == 1


def test_a_preferred_acquisition_counts_where_it_is():
    rows = [t1w("acq-fast_", acq="fast"), t1w("acq-mprage_", acq="mprage"), t1w("acq-fast_", session="02", acq="fast")]
    chosen, problems = choose(rows, repeated_runs="last", prefer={"T1w": {"acq": "mprage"}})
    assert [row.acq for row in chosen if row.used] == ["mprage", "fast"]
    assert {problem.what: problem.severity for problem in problems} == {
        "no T1w with acq-mprage in sub-01_ses-02": "notice",
        "T1-weighted images of several kinds: acq-mprage_T1w, acq-fast_T1w": "notice",
    }
    _, (wrong,) = choose(rows[:1], repeated_runs="last", prefer={"T1w": {"acq": "mprag"}})
    assert (wrong.what, wrong.severity) == ("no T1w with acq-mprag", "error")


def test_a_preference_holds_within_a_weighting_and_for_diffusion():
    rows = [mpm(angle, "off", acq=acq) for angle in (6, 21) for acq in ("a", "b")]
    chosen, problems = choose(rows, repeated_runs="last", prefer={"MPM": {"acq": "b"}})
    assert [(row.acq, row.weighting) for row in chosen if row.used] == [("b", "PDw"), ("b", "T1w")]
    assert not problems
    series = [dwi("AP", 30), dwi("PA", 31)]
    chosen, _ = choose(series, repeated_runs="last", prefer={"dwi": {"dir": "AP"}})
    assert [row.dir for row in chosen if row.used] == ["AP"]
