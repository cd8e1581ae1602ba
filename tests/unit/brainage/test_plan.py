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
from plastimap.brainage.headers import header_problems
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
        ({"calibrate_for": "known_sites"}, "unknown key"),
    ],
)
def test_what_does_not_go_together_is_told_before_the_first_job(tmp_path: Path, section: dict, words: str) -> None:
    (tmp_path / "there").write_text("")
    settings = {"bids_dir": str(tmp_path), "output_dir": str(tmp_path / "out"), "brainage": section}
    _, problems = load_config([settings], folder=tmp_path)
    assert any(words in f"{problem.what} {problem.remedy}" for problem in errors(problems)), problems


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("table", {"lh_Vis_1": None}, "brainage.table: 1 of 24 parcels have no column: lh_Vis_1"),
        ("controls", {"lh_Vis_1": "lh_vis_1_thickness"}, None),
        ("controls", {"lh_Vis_1": None}, "brainage.controls: 1 of 24 parcels"),
        ("controls", {"age": None}, "brainage.controls: no column age"),
        ("table", {"age": None}, None),
        ("training", {"participant_id": None, "sex": None}, "brainage.training: no column participant_id"),
        ("training", {"sex": "lh-vis-0"}, "lh-vis-0 and lh_Vis_0"),
        ("lesions", {"age": "nowhere"}, "brainage.lesions: 1 columns are no parcels: nowhere"),
    ],
)
@pytest.mark.parametrize("source", ["parcels", "model"])
def test_headers_that_do_not_fit_are_told_before_the_first_job(
    tmp_path: Path, name: str, change: dict, words: str | None, source: str
) -> None:
    write_table(tmp_path / "parcels.tsv", nodes())
    card = {"parcels": {"names": list(nodes()["name"]), "measures": ["thickness"] * 24}}
    write_json(tmp_path / "model.json", card)
    (tmp_path / "model.safetensors").write_bytes(b"")
    wide = people(2, seed=1)
    for one in ("table", "training", "controls", "lesions"):
        frame = wide.drop(columns=[column for column, other in change.items() if one == name and other is None])
        frame = frame.rename(columns={a: b for a, b in change.items() if one == name and b})
        about = ["sex", "site", "age"] if one == "lesions" else []
        write_table(tmp_path / f"{one}.tsv", frame.drop(columns=about, errors="ignore"))
    section = {one: str(tmp_path / f"{one}.tsv") for one in ("table", "parcels", "training", "controls", "lesions")}
    section |= {"training_data": "x", "training_licence": "y", "covariates": ["sex"]}
    if source == "model":
        section["model"] = str(tmp_path / "model.safetensors")
    found = [what for _, what, _, _ in header_problems(section)]
    assert len(found) == bool(words)
    assert not words or words in found[0]


def test_a_study_whose_tables_do_not_fit_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "parcels.tsv", nodes())
    write_table(tmp_path / "table.tsv", people(2, seed=1).drop(columns="rh_Cont_3"))
    section = {"table": str(tmp_path / "table.tsv"), "parcels": str(tmp_path / "parcels.tsv")}
    _, problems = load_config([{"output_dir": str(tmp_path / "out"), "brainage": section}])
    assert any("no column: rh_Cont_3" in problem.what for problem in errors(problems))


def test_headers_of_a_run_from_maps_are_those_of_its_labels(tmp_path: Path) -> None:
    labels = pd.DataFrame({"index": [1, 2], "name": ["a", "b"], "hemisphere": ["L", "L"], "network": ["Vis", "Vis"]})
    write_table(tmp_path / "labels.tsv", labels)
    write_table(tmp_path / "training.tsv", pd.DataFrame(columns=["participant_id", "age", "vbm_a", "vbm_b", "R1_a"]))
    section = {"table": None, "labels": "x", "label_table": str(tmp_path / "labels.tsv"), "maps": ["vbm", "R1"],
               "training": str(tmp_path / "training.tsv")}  # fmt: skip
    assert [what for _, what, _, _ in header_problems(section)] == [
        "brainage.training: 1 of 4 parcels have no column: R1_b"
    ]


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
    told = read_text_table(files / "scores.tsv").groupby("controls")["n"].agg(list)
    # The same people, whatever the number of controls.
    assert set(told.index) == {0, 10}
    assert told[0] == told[10]
    assert "say nothing of accuracy" in capsys.readouterr().err
    card = yaml.safe_load((files / "model.json").read_text())
    assert card["metrics"]["sites left out"]["controls 0, ages all"]["mean of regions"]["mae_corrected"] > 0
    assert command(files, "apply", "model.safetensors", "parcels.tsv", "--output", "no.tsv") == 2
    assert "24 of 24 parcels have no column" in capsys.readouterr().err


def test_what_cannot_be_written_is_told_before_anything_is_done(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was trained")

    monkeypatch.setattr("plastimap.brainage.training.train_and_save", never)
    given = ("healthy.tsv", "--parcels", "parcels.tsv", "--method", "ridge", "--data", "x", "--licence", "y")
    (tmp_path / "model").mkdir()
    (tmp_path / "a file").write_text("")
    for output, words in (
        (tmp_path / "m.json", "ends in .safetensors"),
        (tmp_path / "model", "it is a folder"),
        (tmp_path / "a file" / "m.safetensors", "is a file, no folder"),
    ):
        assert main(["brainage", "train", *(str(files / one) if one.endswith(".tsv") else one for one in given),
                     "--output", str(output)]) == 2  # fmt: skip
        assert words in capsys.readouterr().err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a file", "model"]
    assert not list((tmp_path / "model").iterdir())


def test_covariates_that_are_words_are_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("healthy.tsv", "--parcels", "parcels.tsv", "--method", "ridge", "--covariates", "site")
    assert command(files, "evaluate", *given, "--output", "scores.tsv") == 2
    assert "covariates that are no numbers: site" in capsys.readouterr().err


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
