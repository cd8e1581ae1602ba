"""The command line, as people use and misuse it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plastimap.cli import main
from plastimap.config import load_config
from plastimap.running.engine import snakemake_command
from tests.workflow.conftest import Builder

SESSIONS = ["ses-01", "ses-02"]


def test_check_tells_what_will_be_done_and_writes_the_manifest(builder: Builder, tmp_path: Path, capsys) -> None:
    builder.study(4, SESSIONS, "mpm", "b1")
    assert main(["check", str(builder.root), str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "people: 4, scans: 8, structural image: MTsat" in said.out
    assert "dwi        left out: no diffusion series" in said.out
    rows = (tmp_path / "out" / "manifest.tsv").read_text().splitlines()
    assert len(rows) == 1 + 8 * (9 + 1)


def test_check_lists_everything_that_is_wrong_at_once(builder: Builder, tmp_path: Path, capsys) -> None:
    builder.study(4, SESSIONS, "mpm", "b1", "dwi")
    root = builder.root
    (root / "sub-01/ses-01/dwi/sub-01_ses-01_dwi.bvec").unlink()
    sidecar = root / "sub-02/ses-01/anat/sub-02_ses-01_acq-x_echo-1_flip-1_mt-off_MPM.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "RepetitionTimeExcitation": 24.5}))
    builder.image("sub-03/ses-01/anat/sub-03_ses-01_acq-x_echo-2_flip-1_mt-off_MPM.nii.gz", shape=(4, 5, 4))
    (root / "sub-04/ses-02/anat/sub-04_ses-02_acq-x_echo-3_flip-2_mt-off_MPM.nii.gz").write_bytes(b"")
    table = root / "participants.tsv"
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    config = tmp_path / "study.yaml"
    config.write_text("smoothing:\n  fwmh: 5\n")
    assert main(["check", str(root), str(tmp_path / "out"), "--config", str(config)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    for word in ("bvec", "milliseconds", "shape", "sub-01", "empty", "fwmh"):
        assert word in said
    assert said.count(" do ") >= 6
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/at/all"], "does not exist"),
        (["--participant-label", "99"], "no sub-99"),
        (["--images", "/nowhere.tsv"], "nowhere.tsv"),
    ],
)
def test_wrong_arguments_are_told(builder: Builder, tmp_path: Path, capsys, arguments: list[str], words: str) -> None:
    builder.study(1, SESSIONS, "mpm")
    given = arguments if not arguments[0].startswith("--") else [str(builder.root), str(tmp_path / "out"), *arguments]
    assert main(["check", *given]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_init_writes_a_study_file_that_checks_and_never_overwrites(tmp_path: Path, capsys) -> None:
    file = tmp_path / "study.yaml"
    assert main(["init", str(file)]) == 0
    config, problems = load_config(file)
    assert config["space"]["resolution"] == 1.5
    assert {problem.file for problem in problems} == {str(file)}  # bids_dir is still to be told
    file.write_text("mine")
    assert main(["init", str(file)]) == 2
    assert file.read_text() == "mine"


def test_a_profile_is_found_by_its_name(tmp_path: Path) -> None:
    config = {"output_dir": str(tmp_path)}
    command = snakemake_command(config, target="all", cores="4", profile="slurm", dry_run=False)
    place = Path(command[command.index("--profile") + 1])
    assert (place / "config.yaml").read_text().startswith("# plastimap run")
    assert command[command.index("--cores") + 1] == "4"
    own = snakemake_command(config, target="all", cores="4", profile="/my/profile", dry_run=True)
    assert own[own.index("--profile") + 1] == "/my/profile"
    assert "--dry-run" in own
