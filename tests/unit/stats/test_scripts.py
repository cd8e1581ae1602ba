"""The scripts of the glm and families rules, run as jobs run them, on a small study."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from plastimap.images import Volume, read_volume, write_volume
from plastimap.writing import write_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

DRIVER = """
import json, runpy, sys
from types import SimpleNamespace
class Names(SimpleNamespace):
    def get(self, name, default=None): return getattr(self, name, default)
script, job = sys.argv[1], json.load(open(sys.argv[2]))
parts = {key: Names(**value) if isinstance(value, dict) else value for key, value in job.items()}
runpy.run_path(script, {"snakemake": SimpleNamespace(**parts)})
"""


def run_script(name: str, folder: Path, **job: Any) -> None:
    file = folder / "job.json"
    file.write_text(json.dumps({"log": [str(folder / f"{name}.log")], **job}))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(ROOT / "scripts" / f"{name}.py"), str(file)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + (folder / f"{name}.log").read_text()


@pytest.fixture
def analysed(toy: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, Path]]:
    study = toy()
    mask, affine = study.arguments["mask"], study.arguments["affine"]
    search = np.zeros(mask.shape, dtype=np.float32)
    for label, side in enumerate(("L", "R"), start=1):
        search[study.arguments["search_volumes"][side]] = label
    write_volume(tmp_path / "mask.nii.gz", Volume(mask.astype(np.float32), affine))
    write_volume(tmp_path / "search.nii.gz", Volume(search, affine))
    labels = [f"{row.participant_id}_{row.session}" for row in study.scans.itertuples()]
    for label, values in zip(labels, study.maps, strict=True):
        volume = np.full(mask.shape, np.nan, dtype=np.float32)
        volume[mask] = values
        write_volume(tmp_path / f"{label}.nii", Volume(volume, affine))
    write_table(tmp_path / "scans.tsv", study.scans.assign(scan=labels))
    write_table(tmp_path / "cohort.tsv", study.participants.assign(tiv=1500.0))
    motion = study.scans[["participant_id", "session"]].assign(motion_index=1.0 + np.arange(len(labels)) % 5)
    write_table(tmp_path / "mpm_qa.tsv", motion)

    def run(name: str, *, model: dict[str, Any], inference: dict[str, Any], **extra: str) -> dict[str, Path]:
        shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        out = tmp_path / name
        out.mkdir()
        files = {kind: out / file for kind, file in (("clusters", "clusters.tsv"), ("families", "families.tsv"),
                 ("model", "model.json"), ("trajectories", "trajectories.tsv"), ("maps", "maps"))}  # fmt: skip
        given = {kind: str(tmp_path / file) for kind, file in (("scans", "scans.tsv"), ("participants", "cohort.tsv"),
                 ("mask", "mask.nii.gz"), ("search", "search.nii.gz"))}  # fmt: skip
        run_script(
            "glm",
            tmp_path,
            input=given | {"images": [str(tmp_path / f"{label}.nii") for label in labels]} | extra,
            output={kind: str(file) for kind, file in files.items()},
            wildcards={"map": name, "tissue": "GM"},
            params={"labels": labels, "model": shipped["model"] | model, "inference": shipped["inference"] | inference,
                    "minimum_subjects": 1.0},
        )  # fmt: skip
        return files

    return run


def test_permutation_and_correction_over_maps(analysed: Callable[..., dict[str, Path]], tmp_path: Path) -> None:
    inference = {"method": "permutation", "resamples": 100, "bayes_scale": 0.707}
    results = [analysed(name, model={"covariates": ["age"]}, inference=inference) for name in ("R1", "MTsat")]
    names = {file.name for file in results[0]["maps"].iterdir()}
    stem = next(name.split("_stat-")[0] for name in names if "linear_stat-t" in name) + "_stat"
    assert {f"{stem}-{kind}_statmap.nii.gz" for kind in ("t", "effect", "se", "logbf10")} < names
    t, effect, error, bayes = (
        read_volume(results[0]["maps"] / f"{stem}-{kind}_statmap.nii.gz").data
        for kind in ("t", "effect", "se", "logbf10")
    )
    np.testing.assert_allclose(np.nan_to_num(effect / error), np.nan_to_num(t), rtol=1e-4, atol=1e-5)
    assert np.nanmax(bayes) > 3
    assert len(pd.read_csv(results[0]["maps"] / "maxima.tsv", sep="\t")) >= 1
    run_script(
        "families",
        tmp_path,
        input={kind: [str(result[kind]) for result in results] for kind in ("clusters", "families", "maps")},
        output={kind: str(tmp_path / f"{kind}.tsv") for kind in ("clusters", "families")},
        params={"method": "min_p"},
    )
    found = pd.read_csv(tmp_path / "clusters.tsv", sep="\t")
    # Two maps that are the same count once: 8 families at most, not 16.
    best = found[found["cluster_p_fwe"] < 0.05]
    assert set(best["map"]) == {"R1", "MTsat"}
    assert (found["n_families"] == 16).all()
    assert best["cluster_p_corrected"].max() < 8.5 * best["cluster_p_fwe"].max()
    assert "16 families were tested" in (tmp_path / "families.log").read_text()


def test_a_joint_test_weighted_by_motion(analysed: Callable[..., dict[str, Path]], tmp_path: Path) -> None:
    contrasts = [{"name": "groups differ", "test": "SCI-UL != CON"}]
    model = {
        "covariates": ["age"],
        "method": "pooled",
        "weighting": "motion",
        "terms": ["change"],
        "contrasts": contrasts,
    }
    result = analysed("R1", model=model, inference={}, motion=str(tmp_path / "mpm_qa.tsv"))
    assert (result["maps"] / "groups-differ_change_stat-F_statmap.nii.gz").exists()
    summary = json.loads(result["model"].read_text())
    assert (summary["method"], summary["tests"][0]["statistic"]) == ("pooled", "F")
    assert any("motion^1" in note for note in summary["notes"])
