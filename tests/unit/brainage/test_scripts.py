"""The scripts of the way from maps with a lesion to ages, one after the other as the rules run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plastimap.brainage.model import Settings, train
from plastimap.brainage.parcels import Parcels, as_parcels
from plastimap.brainage.storage import save_model
from plastimap.brainage.tables import ParcelTable, as_parcel_table, read_text_table
from plastimap.cli import main
from plastimap.images import Volume, write_volume
from plastimap.transforms import Warp
from plastimap.warpfiles import write_warp
from plastimap.writing import write_table

ROOT = Path(__file__).parents[3]
SHAPE = (12, 12, 12)
LESIONED = 3
"""Voxels, along the first axis, that a lesion takes of a label of six."""

NOISE = 0.05

DRIVER = """
import json, runpy, sys
from types import SimpleNamespace
for script, job in json.load(open(sys.argv[1])):
    parts = {key: SimpleNamespace(**value) if isinstance(value, dict) else value for key, value in job.items()}
    runpy.run_path(script, {"snakemake": SimpleNamespace(**parts)})
"""


def run_scripts(folder: Path, jobs: list[tuple[str, dict[str, Any]]]) -> None:
    log = folder / "log.txt"
    content = [(str(ROOT / "scripts" / f"{name}.py"), {"log": [str(log)], **job}) for name, job in jobs]
    (folder / "jobs.json").write_text(json.dumps(content, default=str))
    command = [sys.executable, "-c", DRIVER, str(folder / "jobs.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + log.read_text()


def write_scan(folder: Path, years: float, rng: np.random.Generator) -> dict[str, Path]:
    """Grey matter of one scan, which gets less with age, in the target space and as it was measured."""
    files = {name: folder / f"{name}.nii.gz" for name in ("vbm", "gm", "session", "person")}
    folder.mkdir()
    grey = 0.9 - 0.004 * years + rng.normal(0, NOISE, SHAPE)
    write_volume(files["vbm"], Volume(grey.astype(np.float32), np.eye(4)))
    write_volume(files["gm"], Volume(np.ones(SHAPE, dtype=np.float32), np.eye(4)))
    still = Warp(np.zeros((*SHAPE, 3), dtype=np.float32), np.eye(4))
    for name in ("session", "person"):
        write_warp(files[name], still)
    return files


@pytest.fixture
def study(tmp_path: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Labels and jobs that make the tables of three people; the last of them has a lesion in the first label."""
    mask = tmp_path / "lesion.nii.gz"
    place = np.indices(SHAPE) // 6
    marks = 1 + 4 * place[0] + 2 * place[1] + place[2]
    write_volume(tmp_path / "labels.nii.gz", Volume(marks.astype(np.int16), np.eye(4)))
    table = {"index": range(1, 9), "name": [f"cube{i}" for i in range(1, 9)], "hemisphere": list("LLLLRRRR"),
             "network": ["Vis", "Vis", "Cont", "Cont"] * 2}  # fmt: skip
    write_table(tmp_path / "labels.tsv", pd.DataFrame(table))
    labels = {"labels": tmp_path / "labels.nii.gz", "table": tmp_path / "labels.tsv"}
    lesion = (marks == 1) & (np.indices(SHAPE)[0] < LESIONED)
    write_volume(mask, Volume(lesion.astype(np.uint8), np.eye(4)))
    ages = {"01": 30.0, "02": 50.0, "03": 70.0}
    parcels = {name: tmp_path / f"{name}.tsv" for name in ("parcels", "edges")}
    jobs = [("brainage_parcels", {"input": labels, "output": parcels, "params": {"maps": ["vbm"]}})]
    outputs: list[dict[str, Path]] = []
    for person, years in ages.items():
        files = write_scan(tmp_path / person, years, rng)
        outputs.append({name: tmp_path / person / f"{name}.tsv" for name in ("means", "lesions")})
        given = {**labels, "maps": [files["vbm"]], "grey_matter": files["gm"], "session": files["session"],
                 "person": files["person"], "lesions": [mask] if person == "03" else []}  # fmt: skip
        jobs.append(("brainage_means", {"input": given, "output": outputs[-1],
                                        "params": {"maps": ["vbm"], "subject": person, "session": None}}))  # fmt: skip
    participants = pd.DataFrame({"participant_id": list(ages), "age": list(ages.values())})
    write_table(tmp_path / "participants.tsv", participants.assign(sex="F", site="one"))
    made = {name: tmp_path / f"all_{name}.tsv" for name in ("table", "lesions")}
    given = {name: [one[name] for one in outputs] for name in ("means", "lesions")}
    jobs.append(("brainage_table", {"input": {**given, "people": [tmp_path / "participants.tsv"]}, "output": made,
                                    "params": {"days": {"sub-01": 0.0, "sub-02": None, "sub-03": 7.0}}}))  # fmt: skip
    return {"jobs": jobs, "parcels": parcels, **made}


def healthy(parcels: Parcels, rng: np.random.Generator) -> ParcelTable:
    """Sixty people whose labels are what such scans make of them."""
    age = rng.uniform(20, 80, 60)
    means = 0.9 - 0.004 * age[:, None] + rng.normal(0, NOISE / np.sqrt(216), (60, len(parcels.names)))
    people = {"participant_id": [f"h{number}" for number in range(60)], "age": age, "sex": "F", "site": "one"}
    return as_parcel_table(pd.DataFrame(means, columns=list(parcels.names)).assign(**people), parcels)


def test_from_maps_with_a_lesion_to_ages(study: dict[str, Any], tmp_path: Path, rng: np.random.Generator) -> None:
    run_scripts(tmp_path, study["jobs"])
    assert read_text_table(study["table"])["day"].dropna().tolist() == [0, 7]
    shares = read_text_table(study["lesions"])
    assert shares.iloc[-1]["lesion_volume_ml"] == LESIONED * 36 / 1000
    assert shares.iloc[-1]["vbm_cube1"] == LESIONED / 6
    assert shares[[f"vbm_cube{i}" for i in range(1, 9)]].to_numpy().sum() == LESIONED / 6
    assert shares["lesion_volume_ml"].isna().tolist() == [True, True, False]

    parcels = as_parcels(*(read_text_table(study["parcels"][name]) for name in ("parcels", "edges")))
    model = train(healthy(parcels, rng), Settings(method="ridge"))
    save_model(tmp_path / "model.safetensors", model, data="simulated", licence="none")
    given = {"model": tmp_path / "model.safetensors", "card": tmp_path / "model.json", "table": study["table"],
             "people": [], "controls": [], "lesions": [study["lesions"]]}  # fmt: skip
    made = {"ages": tmp_path / "ages.tsv", "people": tmp_path / "people.tsv", "notes": tmp_path / "notes.json"}
    run_scripts(tmp_path, [("brainage_apply", {"input": given, "output": made, "params": {}})])
    ages = pd.read_csv(made["ages"], sep="\t", na_values="n/a")
    ill = ages[ages["participant_id"] == "sub-03"].set_index(["network", "hemisphere"])
    # Half of a label is lesioned: one of the two parcels of its region, which then has no age, and of eight of all.
    assert set(ill.index[ill["predicted_age"].isna()]) == {("visual", "L")}
    assert ill.loc[("visual", "L"), "lesioned_fraction"] == LESIONED / 6 / 2
    assert ill.loc[("visual", "R"), "side"] == "contralesional"
    assert ages.loc[ages["participant_id"] != "sub-03", "side"].isna().all()
    # The noise over two labels of 216 voxels is 0.6 years of volume.
    assert (ages["predicted_age"] - ages["age"]).abs().max() < 3


def test_a_result_never_replaces_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "parcels.tsv"
    table.write_text("participant_id\nsub-01\n")
    assert main(["brainage", "apply", str(tmp_path / "m.safetensors"), str(table), "--output", str(table)]) == 2
    assert "would be replaced" in capsys.readouterr().err
    assert table.read_text() == "participant_id\nsub-01\n"
