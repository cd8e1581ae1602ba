from __future__ import annotations

from plastimap.bids.problems import Problem, errors, format_problems, unique_problems

ERROR = Problem("sub-01/anat/x.nii.gz", "no EchoTime", "R2* is fitted over it", "add EchoTime")
NOTICE = Problem("sub-01", "no B1 map", "R1 is not corrected", "add one", "notice")


def test_errors_come_first_and_each_problem_once():
    assert unique_problems([NOTICE, ERROR], [ERROR]) == [ERROR, NOTICE]
    assert errors([NOTICE, ERROR]) == [ERROR]


def test_everything_is_printed_with_file_reason_and_remedy():
    text = format_problems([NOTICE, ERROR])
    assert text.index("1 error") < text.index("1 notice")
    for problem in (ERROR, NOTICE):
        for part in (problem.file, problem.what, problem.why, problem.remedy):
            assert part in text


def test_one_finding_in_many_files_is_one_entry():
    many = [Problem(f"file-{n}", "no EchoTime", "why", "do") for n in range(30)]
    text = format_problems([*many, ERROR])
    assert text.startswith("2 errors")
    assert "file-11" in text
    assert "file-12" not in text
    assert "18 more files" in text
    assert "file-29" in format_problems(many, files_shown=None)


def test_lines_stay_within_100_columns():
    long = Problem("sub-01", "a word " * 40, "why " * 60, "do " * 60)
    assert max(map(len, format_problems([long]).splitlines())) <= 100


def test_no_problems_is_said():
    assert format_problems([]) == "No problems found."
