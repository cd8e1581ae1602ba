"""What a run plans, what the configuration refuses, the commands, and the section of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.unit.brainage.conftest import edges, nodes, people

from plastimap.bids.problems import errors
from plastimap.brainage.demo import write_cohort
from plastimap.brainage.plan import BrainagePlan
from plastimap.brainage.surface import vertex_values
from plastimap.brainage.tables import ParcelTable, read_text_table
from plastimap.cli import main
from plastimap.config import load_config
from plastimap.paths import Paths
from plastimap.report.brainage import build_brainage, read_brainage
from plastimap.report.inputs import StudyInputs
from plastimap.report.study import build_study
from plastimap.writing import write_json, write_table

PATHS = Paths("MNI152NLin2009aSym", 1.5, "MTsat")
SCANS = ["sub-01_ses-01", "sub-02"]


def plan(**section: Any) -> BrainagePlan:
    config, _ = load_config([{"brainage": section}])
    maps = {"sub-01_ses-01": ["R1", "MTsat"], "sub-02": ["R1"]}
    return BrainagePlan(config, PATHS, SCANS, lambda label: maps[label])


def test_nothing_is_planned_unless_asked_for() -> None:
    assert not plan().active
    assert plan().targets == plan().report_files == []


def test_a_table_and_people_to_train_on_give_ages() -> None:
    made = plan(table="/t.tsv", parcels="/p.tsv", training="/h.tsv")
    assert made.judged
    assert PATHS.brainage_ages in made.targets
    assert (made.model, made.card) == (PATHS.brainage_model, PATHS.brainage_card)
    given = plan(table="/t.tsv", parcels="/p.tsv", model="/m/model.safetensors")
    assert (given.model, given.card) == ("/m/model.safetensors", "/m/model.json")


def test_labels_give_a_table_of_the_scans_that_have_every_map() -> None:
    made = plan(labels="/l.nii.gz", label_table="/l.tsv")
    # With its parcels the table can be trained on elsewhere.
    assert made.targets == [PATHS.brainage_table, PATHS.brainage_parcels, PATHS.brainage_edges]
    assert made.lesions == [PATHS.brainage_lesions]
    assert plan(labels="/l.nii.gz", label_table="/l.tsv", lesions="/own.tsv").lesions == ["/own.tsv"]
    assert made.scans == ["sub-01_ses-01"]
    assert made.means == ["sub-01/ses-01/anat/sub-01_ses-01_parcels.tsv"]
    assert made.warped[0] == PATHS.modulated("GM")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"table": "there"}, "without brainage.parcels"),
        ({"labels": "there"}, "without brainage.label_table"),
        ({"table": "absent.tsv", "parcels": "there"}, "no such file"),
        ({"training": "there", "training_data": "x"}, "without brainage.training_licence"),
        ({"training": "there", "training_data": "x", "training_licence": "y", "model": "there"}, "both model and"),
        ({"methd": "ridge"}, "did you mean"),
    ],
)
def test_what_does_not_go_together_is_told_before_the_first_job(tmp_path: Path, section: dict, words: str) -> None:
    (tmp_path / "there").write_text("")
    settings = {"bids_dir": str(tmp_path), "output_dir": str(tmp_path / "out"), "brainage": section}
    _, problems = load_config([settings], folder=tmp_path)
    assert any(words in f"{problem.what} {problem.remedy}" for problem in errors(problems)), problems


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brainage")
    people(120, seed=5).to_csv(folder / "healthy.tsv", sep="\t", index=False)
    write_table(folder / "parcels.tsv", nodes())
    write_table(folder / "edges.tsv", edges())
    return folder


def command(files: Path, *words: str) -> int:
    return main(["brainage", *(str(files / word) if "." in word else word for word in words)])


def test_train_apply_evaluate(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("healthy.tsv", "--parcels", "parcels.tsv", "--method", "ridge")
    said = ("--data", "simulated", "--licence", "none")
    assert command(files, "train", *given, *said, "--output", "model.safetensors") == 0
    assert command(files, "apply", "model.safetensors", "healthy.tsv", "--output", "ages.tsv") == 0
    assert len(read_text_table(files / "ages.tsv")) == 120 * 7
    assert command(files, "evaluate", *given, "--controls", "0", "10", "--output", "scores.tsv") == 0
    assert {0, 10} == set(read_text_table(files / "scores.tsv")["controls"])
    card = yaml.safe_load((files / "model.json").read_text())
    assert card["metrics"]["sites left out"]["controls 0, ages all"]["mean of regions"]["mae_corrected"] > 0
    assert command(files, "apply", "model.safetensors", "parcels.tsv", "--output", "no.tsv") == 2
    assert "24 of 24 parcels have no column" in capsys.readouterr().err


def test_a_simulated_cohort_can_be_run(tmp_path: Path, healthy: ParcelTable) -> None:
    write_cohort(tmp_path, healthy, data="simulated", licence="none")
    config, problems = load_config([tmp_path / "study.yaml"])
    assert not errors(problems)
    assert config["brainage"]["table"] == str(tmp_path / "cohort.tsv")
    groups = [set(read_text_table(tmp_path / f"{name}.tsv")["participant_id"]) for name in
              ("training", "cohort", "controls")]  # fmt: skip
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert set(read_text_table(tmp_path / "truth.tsv")["participant_id"]) == groups[1]


def test_the_report_shows_gaps_errors_and_notes(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [
        {"participant_id": f"sub-{i:02d}", "network": network, "hemisphere": side, "side": None, "age": 40.0 + i,
         "predicted_age": 42.0 + i, "lower": 30.0, "upper": 60.0 + i, "pad": 2.0, "pad_corrected": rng.normal(),
         "lesioned_fraction": 0.0, "imputed": 0.0}
        for i in range(20) for network, side in (("visual", "L"), ("visual", "R"), ("whole brain", "B"))
    ]  # fmt: skip
    write_table(tmp_path / Paths.brainage_ages, pd.DataFrame(rows))
    groups = pd.DataFrame({"network": ["visual", "visual"], "place": ["L", "R"], "pad_corrected": [1.0, -1.0],
                           "error": [0.2, 0.3], "n": [20, 20]})  # fmt: skip
    write_table(tmp_path / Paths.brainage_statistics / "groups.tsv", groups)
    write_json(tmp_path / Paths.brainage_notes, {"notes": ["A note."]})
    card = {"people_per_site": {"a": 100}, "settings": {"method": "ridge", "whole_graph": True}, "parcels": {},
            "age_range_years": [20, 80], "training_data": "simulated", "regions": [["visual", "L"]],
            "metrics": {"random folds": {"all": {"whole brain": {"mae": 7.5}}}}}  # fmt: skip
    write_json(tmp_path / Paths.brainage_card, card)
    assert read_brainage(tmp_path / "elsewhere", {}) is None
    found = read_brainage(tmp_path, {"brainage": {}})
    assert found is not None
    section = build_brainage(found)
    assert "A note." in section.paragraphs
    assert any("across regions" in text for text in section.paragraphs)
    assert [one.name for one in section.drawn] == ["brainage_gaps", "brainage_age"]
    assert all(len(one.on_page) > 1000 for one in section.drawn)
    assert any("left out" in table.caption for table in section.tables)
    page = build_study(StudyInputs(brainage=found)).page.html
    assert '<p class="headline">Regional brain age of 20 people.</p>' in page
    assert "No group statistics were made." in page


def test_vertices_take_the_value_of_their_region() -> None:
    marks = {"L": np.array([0, -1, 1])}
    found = vertex_values({("visual", "L"): 2.5}, marks, [("visual", "L"), ("limbic", "L")])
    np.testing.assert_array_equal(found["L"], [2.5, np.nan, np.nan])
