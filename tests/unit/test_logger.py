"""Progress lines that people read."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_logger_plugin_plastimap import job_failure, job_name, progress_line, resume_hint


@pytest.mark.parametrize(
    ("rule", "wildcards", "text"),
    [
        ("mpm_all", {"folder": "sub-01/ses-02", "scan": "sub-01_ses-02"}, "mpm sub-01 ses-02"),
        ("segment", {"folder": "sub-01", "scan": "sub-01"}, "segment sub-01"),
        ("person_template", {"subject": "01"}, "person_template sub-01"),
        ("glm", {"map": "R1", "tissue": "GM"}, "glm R1 GM"),
        ("cohort", {}, "cohort"),
    ],
)
def test_jobs_are_named_by_person_and_session(rule: str, wildcards: dict[str, str], text: str) -> None:
    assert job_name(rule, wildcards) == text


def test_progress_says_how_many_what_and_how_long() -> None:
    assert progress_line(5, 200, "segment sub-01", 10.0) == "[  5/200] segment sub-01 · about 6 min left"
    assert progress_line(200, 200, "report", 60.0) == "[200/200] report · done in 60 s"


def test_a_failure_tells_the_last_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "segment.log"
    log.write_text("Traceback\nImageProblem: x.nii.gz: the file is empty\n\n")
    text = job_failure("segment sub-01", {"log": [log.name]}, tmp_path)
    assert "FAILED segment sub-01: ImageProblem: x.nii.gz: the file is empty" in text
    assert log.name in text


def test_a_failure_without_log_is_still_told(tmp_path: Path) -> None:
    assert "no log" in job_failure("segment sub-01", {}, tmp_path)
    log = tmp_path / "segment.log"
    # A job that could not say why it ended: its log holds its start alone, or the next try has removed it.
    log.write_text('# plastimap started {"time": 1}\n')
    for file in (log.name, "gone.log"):
        assert "ended from outside" in job_failure("segment sub-01", {"log": [file]}, tmp_path)


def test_what_to_do_next_names_the_output_folder(tmp_path: Path) -> None:
    assert f"plastimap status {tmp_path})" in resume_hint(2, tmp_path)
