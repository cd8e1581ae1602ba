"""What is said to be done is done."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.unit.running.conftest import Job, Make

from plastimap.bids.plan import keep_study
from plastimap.cli import main
from plastimap.running.lock import RUN_VARIABLE, hold, note
from plastimap.running.records import broken_files, read_records
from plastimap.running.resume import look, put_in_order
from plastimap.running.status import format_status, read_status
from plastimap.running.wanted import WANTED, keep_wanted, read_wanted
from plastimap.writing import write_json, write_text

MAP, OTHER = "sub-01/R1.nii.gz", "sub-01/qa.json"
DONE = "everything that was asked for is done"


@pytest.fixture
def out(job: Job) -> Path:
    """A folder where one job was asked for and is done."""
    place = job(MAP, "sub-01/R1.json", OTHER)
    write_text(place / WANTED, f"{OTHER}\n\n{OTHER}\n{MAP}\n")
    return place


def said(out: Path) -> str:
    return format_status(read_status(out), out)


def test_what_is_all_there_is_done(out: Path) -> None:
    assert DONE in said(out)
    assert main(["status", str(out)]) == 0


@pytest.mark.parametrize("file", [MAP, OTHER, "sub-01/R1.json"])
def test_what_was_made_and_deleted_is_missing(out: Path, file: str) -> None:
    (out / file).unlink()
    assert f"MISSING {file}" in said(out)
    assert DONE not in said(out)
    assert "makes again" in said(out)
    assert main(["status", str(out)]) == 1


def test_what_nobody_wants_may_be_deleted(out: Path, job: Job) -> None:
    job("group/old.tsv", log="logs/glm/old.log")
    (out / "group/old.tsv").unlink()
    assert DONE in said(out)


def test_what_no_job_has_made_yet_is_not_done(out: Path) -> None:
    write_text(out / WANTED, f"{OTHER}\nsub-02/qa.json\nreport/sub-02.html\n\n{OTHER}\n{MAP}\nsub-02/R1.nii.gz\n")
    assert "2 files are still to be made" in said(out)
    assert DONE not in said(out)
    assert main(["status", str(out)]) == 1


def test_a_run_at_work_is_still_making_them(out: Path) -> None:
    (out / OTHER).unlink()
    lock = hold(out)
    text = said(out)
    lock.release()
    assert "a run is at work" in text
    assert "MISSING" not in text


def test_a_change_by_hand_is_kept_and_told(out: Path) -> None:
    (out / OTHER).write_text("my own")
    os.utime(out / OTHER, (time.time() + 99, time.time() + 99))
    assert "CHANGED" in said(out)
    assert f"{DONE} (1 files were changed by hand, and are kept)" in said(out)
    assert main(["status", str(out)]) == 0


def test_people_of_another_run_are_named_and_do_not_count(out: Path, job: Job) -> None:
    write_json(out / "plan.json", {"scans": {"sub-01_ses-1": {}}})
    job("sub-02/R1.txt", log="logs/mpm/sub-02/sub-02_ses-1.log", fail="raise ValueError('no')")
    job("report/sub-02.html", log="logs/person_report/sub-02.log")
    (out / "report/sub-02.html").unlink()
    text = said(out)
    assert "not in the last run, their files stay: sub-02 ses-1, sub-02" in text
    assert "FAILED" not in text
    assert DONE in text


def test_a_study_says_what_it_wants(study: Make, tmp_path: Path) -> None:
    made = study()
    keep_study(made, [])
    keep_wanted(made, "participant")
    goals, final = read_wanted(tmp_path / "out")
    assert "report/sub-04.html" in goals
    assert "report/index.html" not in final
    assert "sub-01/anat/sub-01_desc-brain_mask.json" in final
    keep_wanted(made, "all")
    assert "report/index.html" in read_wanted(tmp_path / "out")[1]


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("how", ["cut short", "emptied", "torn", "replaced by a whole one"])
def test_an_image_that_does_not_unpack_is_made_again_whoever_did_it(out: Path, when: str, how: str) -> None:
    import gzip

    content = (out / MAP).read_bytes()
    new = {"cut short": content[:-9], "emptied": b"", "torn": content[:30] + b"x" * 9 + content[36:],
           "replaced by a whole one": gzip.compress(b"by hand")}[how]  # fmt: skip
    (out / MAP).write_bytes(new)
    moment = time.time() + (99 if when == "later" else 0)
    os.utime(out / MAP, (moment, moment))
    (found,) = broken_files(out, read_records(out), content=False)
    assert found.by_hand == (how == "replaced by a whole one" and when == "later")
    lines = put_in_order(out, {}, set())
    assert (out / ".snakemake/incomplete").exists() != found.by_hand
    assert any("made again" in line for line in lines) != found.by_hand


def test_a_look_changes_nothing_and_says_what_will_be_made_again(out: Path) -> None:
    (out / "sub-01/R1.json").unlink()
    before = sorted(out.rglob("*"))
    found = look(out, {}, {MAP, "sub-01/R1.json"})
    assert sorted(out.rglob("*")) == before
    assert set(found.again) == {MAP, OTHER}
    assert found.told() == ["sub-01/R1.json: it is missing; it is made again"]
    assert put_in_order(out, {}, {MAP, "sub-01/R1.json"}) == found.told()


def test_many_findings_are_cut_short(job: Job) -> None:
    files = [f"sub-01/{number}.json" for number in range(30)]
    out = job(*files, MAP)
    for file in files:
        (out / file).unlink()
    lines = look(out, {}, set(files)).told()
    assert len(lines) == 21
    assert lines[-1] == "… and 10 more files"


def test_a_run_that_had_nothing_to_do_ended_in_order(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake then says nothing of its plan, and has left the folder when it closes its log."""
    from plastimap.running.handover import FOLDER_VARIABLE
    from snakemake_logger_plugin_plastimap import LogHandler

    lock = hold(out)
    monkeypatch.setenv(RUN_VARIABLE, lock.name)
    monkeypatch.setenv(FOLDER_VARIABLE, str(out))
    monkeypatch.chdir(out.parent)
    LogHandler(None, None).close()
    lock.release()
    again = hold(out)
    assert again.left == {}
    note(out, ended=None)
    again.release()
