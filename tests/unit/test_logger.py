"""Progress lines that people read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from plastimap.jobs import FAILED
from plastimap.running.handover import FOLDER_VARIABLE
from plastimap.running.lock import RUN_VARIABLE, hold, read_run
from snakemake_logger_plugin_plastimap import STOPPED, LogHandler, job_failure, job_name, progress_line, resume_hint


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


# --- what a run says from its first record to its last --------------------------------------------------------------
def said(capsys: pytest.CaptureFixture[str], *records: tuple[LogEvent | None, str, dict[str, Any]]) -> list[str]:
    """Lines that a logger writes for records, closed twice as Snakemake does."""
    handler = LogHandler(None, None)
    for event, text, told in records:
        record = logging.LogRecord("snakemake", told.get("level", logging.INFO), "", 0, text, None, None)
        record.__dict__.update(told, **({"event": event} if event else {}))
        handler.emit(record)
    handler.close()
    handler.close()
    return capsys.readouterr().err.splitlines()


def starts(number: int, name: str = "mpm_all") -> tuple[LogEvent, str, dict[str, Any]]:
    return LogEvent.JOB_INFO, "", {"jobid": number, "rule_name": name, "wildcards": {"scan": f"sub-0{number}"}}


def fails(number: int) -> list[tuple[LogEvent | None, str, dict[str, Any]]]:
    script = "/x/.snakemake/scripts/tmp1.mpm.py' died with <Signals.SIGINT: 2>."
    text = f'RuleException:\nCalledProcessError in file "rules/mpm.smk", line 24:\nCommand \'python {script}'
    log = [f"logs/mpm/sub-0{number}.log"]
    return [
        (LogEvent.ERROR, text, {"level": logging.ERROR}),
        (LogEvent.JOB_ERROR, "", {"jobid": number, "rule_name": "mpm_all", "log": log}),
    ]


def finishes(number: int) -> tuple[LogEvent, str, dict[str, Any]]:
    return LogEvent.JOB_FINISHED, "", {"job_id": number}


def tells(text: str, level: int = logging.INFO) -> tuple[None, str, dict[str, Any]]:
    return None, text, {"level": level}


AGAIN = tells("Trying to restart job 1.")
END = tells("WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv(RUN_VARIABLE, "ab")
    (tmp_path / "logs/mpm").mkdir(parents=True)
    return tmp_path


def failed_log(out: Path, *, for_good: bool) -> None:
    """What a job leaves; its log is gone when Snakemake tries it again."""
    note = out / FAILED / "ab/logs/mpm/sub-01.log"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"reason": "no mask; give one", "for_good": for_good}))


@pytest.mark.parametrize("for_good", [True, False])
def test_a_job_that_is_tried_twice_fails_once_and_is_told_once(out: Path, capsys, for_good: bool) -> None:
    failed_log(out, for_good=for_good)
    lines = said(capsys, starts(1), *fails(1), AGAIN, starts(1), *fails(1), END)
    assert [line for line in lines if "FAILED" in line] == ["FAILED mpm sub-01: no mask; give one"]
    assert sum("one failure; what is done is kept" in line for line in lines) == 1
    assert ("Trying to restart mpm sub-01" in lines) != for_good
    assert not any("CalledProcessError" in line or "At least one job" in line for line in lines)


def test_a_job_that_succeeds_when_it_is_tried_again_is_no_failure(out: Path, capsys) -> None:
    lines = said(capsys, starts(1), *fails(1), AGAIN, starts(1), finishes(1))
    assert "ended from outside" in lines[0]
    assert lines[1:] == ["Trying to restart mpm sub-01"]


@pytest.mark.parametrize(
    "stop", ["Terminating processes on user request, this might take some time.",
             "Will exit after finishing currently running jobs (scheduler)."],
)  # fmt: skip
@pytest.mark.parametrize("first", ["the jobs end", "Snakemake hears"])
def test_a_run_that_was_stopped_has_no_failures(
    out: Path, capsys, monkeypatch: pytest.MonkeyPatch, stop: str, first: str
) -> None:
    lock = hold(out)
    monkeypatch.setenv(RUN_VARIABLE, lock.name)
    jobs = [*fails(1), *fails(2), AGAIN]
    order = [*jobs, tells(stop)] if first == "the jobs end" else [tells(stop), *jobs]
    lines = said(capsys, starts(1), starts(2), *order, END)
    lock.release()
    assert lines == ["stopping: waiting for the jobs that are at work", STOPPED]
    # The next run looks whether what was written last is whole.
    assert not read_run(out).get("ended")


def test_what_failed_before_a_stop_is_told(out: Path, capsys) -> None:
    failed_log(out, for_good=False)
    lines = said(capsys, starts(1), *fails(1), starts(2), tells("Terminating processes on user request"), END)
    assert sum("FAILED" in line for line in lines) == 1
    assert "one failure" in lines[-2]
    assert lines[-1] == STOPPED


def test_what_snakemake_says_otherwise_is_passed_on(out: Path, capsys) -> None:
    assert said(capsys, tells("a warning", logging.WARNING), END) == ["a warning", *END[1].splitlines()]
