from __future__ import annotations

import pytest

from plastimap.bids.manifest import index_dataset


@pytest.fixture
def visits(make):
    for person in ("sub-01", "sub-02"):
        for session in ("01", "02", "03"):
            make.t1w(f"{person}_ses-{session}")
    return make


def days(make, **changes):
    manifest = index_dataset(make.root, make.config(**changes))
    known = {row.scan: (row.day, row.day_source) for row in manifest.rows}
    return known, list(manifest.problems)


def sessions(make, person, *lines, columns="session_id acq_time"):
    make.table(f"{person}/{person}_sessions.tsv", columns, *lines)


def test_times_of_sessions_count_from_the_first_in_whole_days(visits):
    for person in ("sub-01", "sub-02"):
        sessions(
            visits, person, "ses-01 2026-03-09T18:00:00", "ses-02 2026-03-16T08:00:00", "ses-03 2026-04-06T09:00:00"
        )
    known, problems = days(visits)
    assert [known[f"sub-01_ses-0{n}"] for n in (1, 2, 3)] == [(d, "sessions.tsv (acq_time)") for d in (0, 7, 28)]
    assert not problems


def test_a_day_column_comes_before_times(visits):
    lines = ["ses-01 2026-03-09T18:00:00 3", "ses-02 2026-03-16T08:00:00 14", "ses-03 2026-04-06T09:00:00 84"]
    for person in ("sub-01", "sub-02"):
        sessions(visits, person, *lines, columns="session_id acq_time day")
    known, _ = days(visits)
    assert known["sub-02_ses-03"] == (84, "sessions.tsv (day)")


def test_scans_tables_stand_in_with_the_earliest_scan_of_a_session(visits):
    for person in ("sub-01", "sub-02"):
        for n, day in ((1, "09"), (2, "12"), (3, "20")):
            scan = f"{person}_ses-0{n}"
            late, early = (
                f"anat/{scan}_T2w.nii.gz 2026-03-25T09:00:00",
                f"anat/{scan}_T1w.nii.gz 2026-03-{day}T09:00:00",
            )
            visits.table(f"{person}/ses-0{n}/{scan}_scans.tsv", "filename acq_time", late, early)
    known, _ = days(visits)
    assert known["sub-01_ses-03"] == (11, "scans.tsv (acq_time)")


def test_the_configuration_stands_in_last(visits):
    known, problems = days(visits, input={"days": {"01": 0, "02": 14, "ses-03": 28}})
    assert known["sub-01_ses-03"] == (28, "config (input.days)")
    assert not problems


def test_sources_never_mix_within_a_person(visits):
    sessions(visits, "sub-01", "ses-01 0", "ses-02 7", columns="session_id day")
    known, problems = days(visits, input={"days": {"01": 100, "02": 114, "03": 128}})
    assert known["sub-01_ses-01"] == (100, "config (input.days)")
    assert not problems


def test_unknown_days_are_an_error_for_the_model_and_a_notice_without_it(visits):
    known, problems = days(visits)
    assert known["sub-01_ses-01"] == (None, None)
    assert {problem.severity for problem in problems} == {"error"}
    assert {problem.file for problem in problems} == {"sub-01", "sub-02"}
    _, problems = days(visits, stages=["anat"])
    assert {problem.severity for problem in problems} == {"notice"}


def test_one_session_is_day_0_whoever_says_nothing(make):
    make.t1w("sub-01")
    make.t1w("sub-02")
    known, problems = days(make)
    assert known == {"sub-01": (0, "one session"), "sub-02": (0, "one session")}
    assert not problems


def test_a_person_whose_baseline_is_not_known_is_told(visits):
    for person in ("sub-01", "sub-02"):
        sessions(visits, person, "ses-01 2026-03-09", "ses-02 2026-03-16", "ses-03 2026-04-06")
    for file in (visits.root / "sub-02" / "ses-01" / "anat").iterdir():
        file.unlink()
    known, problems = days(visits)
    assert known["sub-02_ses-02"][0] == 7, "the table knows the first visit, though its data are missing"
    assert [(problem.what, problem.severity) for problem in problems] == [("no data for sub-02 ses-01", "notice")]
    sessions(visits, "sub-02", "ses-02 2026-03-16", "ses-03 2026-04-06")
    known, problems = days(visits)
    assert known["sub-02_ses-02"][0] == 0
    assert [problem.file for problem in problems] == ["sub-02"]


def test_unreadable_times_and_equal_days_are_problems(visits):
    sessions(visits, "sub-01", "ses-01 09.03.2026", "ses-02 2026-03-16", "ses-03 2026-04-06")
    sessions(visits, "sub-02", "ses-01 2026-03-09", "ses-02 2026-03-09", "ses-03 2026-04-06")
    _, problems = days(visits)
    told = {(problem.what.split(":")[0], problem.severity) for problem in problems}
    assert told == {
        ("acq_time '09.03.2026' cannot be read", "error"),
        ("days since baseline are unknown", "error"),
        ("two sessions on the same day", "notice"),
    }


def test_days_against_the_numbers_of_sessions_are_told(visits):
    for person in ("sub-01", "sub-02"):
        sessions(visits, person, "ses-01 84", "ses-02 28", "ses-03 0", columns="session_id day")
    _, problems = days(visits)
    assert {problem.file for problem in problems} == {"sub-01", "sub-02"}
    assert problems[0].what == "days run against the sessions: ses-01 84, ses-02 28, ses-03 0"


def test_who_came_once_is_told(visits):
    for person in ("sub-01", "sub-02"):
        sessions(visits, person, "ses-01 0", "ses-02 28", "ses-03 84", columns="session_id day")
    assert not days(visits)[1]
    for session in ("02", "03"):
        for file in (visits.root / "sub-02" / f"ses-{session}" / "anat").iterdir():
            file.unlink()
    found = {problem.what: problem.severity for problem in days(visits)[1]}
    assert found == {"no data for sub-02 ses-02, sub-02 ses-03": "notice", "one session only: sub-02": "notice"}
