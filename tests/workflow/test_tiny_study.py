"""A whole study of coarse voxels, from raw data to the report; then again, changed a little each time."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pandas as pd
import pytest
import yaml

from plastimap.simulate.spec import SimulationSpec
from plastimap.simulate.study import simulate_study
from tests.workflow.conftest import jobs

pytestmark = pytest.mark.slow

SPEC = {
    "name": "tiny", "seed": 3, "include": ["mpm", "b1", "dwi"], "voxel_mm": 6, "groups": {"A": 3, "B": 3},
    "trainees": ["A"], "days": [0, 28], "snr": 30, "echoes": {"PDw": 3, "T1w": 3, "MTw": 3}, "n_b0": 2,
    "shells": {1000: 7}, "behaviour_days": [0, 7, 14, 28], "effects": [],
}  # fmt: skip
CONFIG = {
    "space": {"resolution": 6},
    "model": {"terms": ["linear"], "covariates": ["age"]},
    "inference": {"minimum_extent": 1},
}


class Run:
    """A study in a folder, run through the command line."""

    def __init__(self, root: Path) -> None:
        self.raw, self.out, self.file = root / "bids", root / "out", root / "study.yaml"
        simulate_study(self.raw, SimulationSpec.from_dict(SPEC), workers=2, progress=None)

    def __call__(self, *options: str, out: Path | None = None, **config: object) -> tuple[int, str]:
        self.file.write_text(yaml.safe_dump({**CONFIG, **config}))
        command = [sys.executable, "-m", "plastimap.cli", "run", str(self.raw), str(out or self.out), "group"]
        command += ["--config", str(self.file), "--cores", "2", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def results(out: Path) -> dict[str, bytes]:
    """Content of all images, of people and of the group level, without their compression, and of all tables."""
    files = [file for pattern in ("*.nii.gz", "*.tsv") for file in out.rglob(pattern)]
    kept = [file for file in files if not {".plastimap", ".snakemake", "benchmarks"} & set(file.parts)]
    read = {".gz": lambda file: gzip.decompress(file.read_bytes()), ".tsv": Path.read_bytes}
    return {str(file.relative_to(out)): read[file.suffix](file) for file in kept}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    study = Run(tmp_path_factory.mktemp("tiny"))
    code, said = study()
    assert code == 0, said[-3000:]
    return study


def test_the_report_and_its_tables_are_there(run: Run) -> None:
    assert (run.out / "report" / "index.html").stat().st_size > 10_000
    assert len(list((run.out / "report").glob("sub-*.html"))) == 6
    families = pd.read_csv(run.out / "group" / "families.tsv", sep="\t")
    assert set(families["map"]) == {"R1", "R2s", "MTsat", "FA", "MD", "AD", "RD", "vbm"}
    assert families["min_p_corrected"].between(0, 1).all()


def test_nothing_half_written_stays(run: Run) -> None:
    assert not [file for file in run.out.rglob("*") if ".tmp" in file.name]


def test_the_output_is_bids(run: Run) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([str(validator), str(run.out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_a_second_run_does_nothing_but_say_so(run: Run) -> None:
    code, said = run()
    assert code == 0
    assert "Nothing to be done" in said


def test_another_kernel_reruns_smoothing_and_what_follows_only(run: Run) -> None:
    smoothing = {"mpm": {"GM": 6, "WM": 3}, "dwi": {"GM": 5, "WM": 5}, "vbm": {"GM": 6, "WM": 4}}
    code, said = run("--dry-run", smoothing=smoothing)
    assert code == 0
    assert set(jobs(said)) <= {"smooth", "glm", "families", "study_report", "all"}
    assert jobs(said)["smooth"] == 12
    run("--dry-run")  # leaves the configuration as it was


def test_a_file_replaced_by_an_older_one_counts_as_new(run: Run) -> None:
    """As ``cp -p``, ``rsync -a`` and archives leave it: no time tells."""
    echo = next(run.raw.glob("sub-01/ses-01/anat/*echo-1*MPM.nii.gz"))
    table = run.raw / "participants.tsv"
    before = {file: (file.read_bytes(), file.stat()) for file in (echo, table)}
    image = nib.Nifti1Image.from_bytes(gzip.decompress(before[echo][0]))
    echo.write_bytes(gzip.compress(nib.Nifti1Image(image.get_fdata() * 2, image.affine).to_bytes()))
    try:
        os.utime(echo, (1.5e9, 1.5e9))
        code, said = run("--dry-run")
        assert (code, jobs(said)["mpm"]) == (0, 1)
        people = pd.read_csv(table, sep="\t")
        people.assign(age=people["age"] + 1).to_csv(table, sep="\t", index=False)
        os.utime(table, (1.5e9, 1.5e9))
        code, said = run("--dry-run")
        assert (code, jobs(said)["cohort"], jobs(said)["person_report"]) == (0, 1, 6)
    finally:
        for file, (content, about) in before.items():
            file.write_bytes(content)
            os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    code, said = run("--dry-run")
    assert "Nothing to be done" in said


def test_a_session_that_joins_reruns_that_person_and_the_group_only(run: Run) -> None:
    code, said = run("--dry-run", "--participant-label", "01", "02", "03", "04", "05", "06", "--session-label", "01")
    assert code == 0
    planned = jobs(said)
    # The midpoint of one session is another than that of two; nobody's own maps are made again.
    assert not {"mpm", "dwi", "segment"} & set(planned)
    run("--dry-run")


def test_a_run_in_chunks_gives_the_same_to_the_last_bit(run: Run, tmp_path: Path) -> None:
    code, said = run("--chunk-scans", "4", out=tmp_path)
    assert code == 0, said[-3000:]
    assert [line for line in said.splitlines() if line.startswith(("people, chunk", "group level"))] == [
        "people, chunk 1/3", "people, chunk 2/3", "people, chunk 3/3", "group level",
    ]  # fmt: skip
    whole, chunked = results(run.out), results(tmp_path)
    assert len(whole) > 700
    assert whole.keys() == chunked.keys()
    assert [name for name in whole if whole[name] != chunked[name]] == []
    assert (tmp_path / "report" / "index.html").exists()
    code, said = run("--chunk-scans", "4", out=tmp_path)
    assert code == 0
    assert said.count("Nothing to be done") == 4
