from __future__ import annotations

import json

import pytest
import yaml

from plastimap.bids.problems import errors
from plastimap.config import check_config, load_config, merge, usable_config
from plastimap.shipped import workflow_file


@pytest.fixture
def bids(tmp_path):
    (tmp_path / "bids").mkdir()
    return tmp_path / "bids"


def problems_of(bids, **changes):
    return load_config({"bids_dir": str(bids), **changes})[1]


def write(tmp_path, text, name="study.yaml"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("there", [False, True])
def test_packages_of_a_choice_have_to_be_installed(there, tmp_path, monkeypatch):
    monkeypatch.setattr("plastimap.config_rules.find_spec", lambda name: object() if there else None)
    (tmp_path / "train.tsv").write_text("x")
    chosen = {
        "anat": {"brain_mask": "deepbet"},
        "space": {"registration": "ants"},
        "brainage": {"method": "gcn", "training": str(tmp_path / "train.tsv")},
    }
    what = {problem.what for problem in load_config({"bids_dir": str(tmp_path), **chosen})[1]}
    missing = {one for one in what if "is not installed" in one}
    names = ("anat.brain_mask is deepbet", "space.registration is ants", "brainage.method is gcn")
    assert missing == (set() if there else {f"{name}, which is not installed" for name in names})
    applied = {"bids_dir": str(tmp_path), "brainage": {"method": "gcn", "model": str(tmp_path)}}
    assert not [problem for problem in load_config(applied)[1] if "installed" in problem.what]


def test_the_defaults_are_right_but_for_the_missing_data():
    config, problems = load_config()
    assert [problem.what for problem in problems] == ["there is nothing to read"]
    assert config["smoothing"]["mpm"] == {"GM": 5, "WM": 3}


def test_schema_and_commented_defaults_know_the_same_keys():
    schema = json.loads(workflow_file("workflow/schemas/config.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load(workflow_file("config/config.yaml").read_text(encoding="utf-8"))
    assert list(schema["properties"]) == list(defaults)
    for key, part in schema["properties"].items():
        if "properties" in part:
            assert list(part["properties"]) == list(defaults[key]), key


def test_every_mapping_in_the_schema_refuses_unknown_keys():
    def visit(part):
        if isinstance(part, dict):
            if "properties" in part and "type" in part:
                assert part["additionalProperties"] is False, part
            for value in part.values():
                visit(value)
        elif isinstance(part, list):
            for value in part:
                visit(value)

    visit(json.loads(workflow_file("workflow/schemas/config.schema.json").read_text(encoding="utf-8")))


def test_mappings_merge_and_lists_replace():
    base = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert merge(base, {"a": {"c": 3}, "d": [4]}) == {"a": {"b": 1, "c": 3}, "d": [4]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1, 2]}


def test_paths_count_from_the_files_folder(bids, tmp_path):
    folder = tmp_path / "settings"
    folder.mkdir()
    file = write(folder, "bids_dir: ../bids\noutput_dir: out\nderivatives: [../bids]\nbehaviour: {table: b.tsv}\n")
    config, _ = load_config(file)
    assert config["bids_dir"] == str(bids)
    assert config["output_dir"] == str(folder / "out")
    assert config["derivatives"] == [str(bids)]
    assert config["behaviour"]["table"] == str(folder / "b.tsv")
    assert load_config({"bids_dir": "bids"}, folder=tmp_path)[0]["bids_dir"] == str(bids)


def test_later_sources_win(bids, tmp_path):
    file = write(tmp_path, "bids_dir: nowhere\nspace: {resolution: 2}\n")
    config, problems = load_config([file, {"bids_dir": str(bids)}])
    assert config["bids_dir"] == str(bids)
    assert config["space"]["resolution"] == 2
    assert not problems


def test_loading_a_loaded_configuration_changes_nothing(bids, tmp_path):
    config, _ = load_config(write(tmp_path, f"bids_dir: {bids}\nparticipants: [01]\ninput: {{days: {{ses-01: 0}}}}\n"))
    again, problems = load_config(config)
    assert again == config
    assert not problems


def test_labels_keep_their_zeros(tmp_path, bids):
    file = write(tmp_path, f"bids_dir: {bids}\nparticipants: [01, 010, 1_0, sub-03, x]\nsessions: [ses-1]\n")
    config, problems = load_config(file)
    assert config["participants"][:2] == ["01", "010"]
    assert config["participants"][3:] == ["03", "x"]
    assert config["sessions"] == ["1"]
    assert ["participants[2]" in problem.what for problem in problems] == [True]


def test_numbers_as_labels_are_read_as_text_and_told(bids):
    config, problems = load_config({"bids_dir": str(bids), "participants": [1], "sessions": [2]})
    assert (config["participants"], config["sessions"]) == (["1"], ["2"])
    assert [problem.severity for problem in problems] == ["notice", "notice"]
    assert "'1'" in problems[0].why


def test_all_problems_are_listed_at_once_with_the_file_that_has_them(bids, tmp_path):
    file = write(
        tmp_path,
        f"""
bids_dir: {bids}
smothing: {{mpm: {{GM: 4}}}}
smoothing: {{mpm: {{GM: five}}, dwi: {{gm: 4}}}}
stages: [mpm, dwii]
max_bval: 1000
participants: [no]
inference: {{cluster_forming_p: 1e-3}}
space: {{resolution: .nan}}
model: {{maps: FA, contrasts: [{{name: x}}]}}
rois: [{{name: hand}}]
""",
    )
    _, problems = load_config(file)
    remedies = {problem.what: problem.remedy for problem in problems}
    assert remedies.keys() == {
        "unknown key 'smothing'", "smoothing.mpm.GM is 'five' (text)", "unknown key 'gm' at smoothing.dwi",
        "stages[1] is 'dwii' (text)", "unknown key 'max_bval'", "participants[0] is false", "space.resolution is nan",
        "inference.cluster_forming_p is '1e-3' (text)", "model.maps is 'FA' (text)", "model.contrasts[0] has no test",
        "rois[0] (hand) has no shape",
    }  # fmt: skip
    assert "'smoothing'" in remedies["unknown key 'smothing'"]
    assert "'GM'" in remedies["unknown key 'gm' at smoothing.dwi"]
    assert "'dwi'" in remedies["stages[1] is 'dwii' (text)"]
    assert "dwi.max_bval" in remedies["unknown key 'max_bval'"]
    assert "0.001" in remedies["inference.cluster_forming_p is '1e-3' (text)"]
    assert "quotes" in remedies["participants[0] is false"]
    assert {problem.file for problem in problems} == {str(file)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x\n", "alias"),
        ("- 1\n- 2\n", "list"),
        ("a: [1\n", "no YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "no YAML"),
        ("{a: b}: c\n", "word is wanted"),
        ("[" * 1000, "deep"),
        ("#" * 1_000_001, "bytes"),
    ],
)
def test_files_that_are_no_configuration_are_refused(tmp_path, text, reason):
    _, problems = load_config(write(tmp_path, text))
    assert reason in problems[0].why
    assert problems[0].severity == "error"


def test_a_missing_file_is_an_error(tmp_path):
    assert load_config(tmp_path / "none.yaml")[1][0].what == "the configuration cannot be read"


def test_an_empty_file_is_the_defaults(tmp_path, bids):
    assert load_config([write(tmp_path, ""), {"bids_dir": str(bids)}])[1] == []


def test_a_key_written_twice_is_an_error(tmp_path, bids):
    _, problems = load_config(write(tmp_path, f"bids_dir: {bids}\nmpm: {{r2s_fit: ols}}\nmpm: {{r2s_fit: wls2}}\n"))
    assert [problem.what for problem in problems] == ["the key mpm (line 3) is written twice"]


def test_an_outcome_can_be_left_out(bids):
    config, problems = load_config({"bids_dir": str(bids), "behaviour": {"outcomes": {"rt_ms": None}}})
    assert list(config["behaviour"]["outcomes"]) == ["csr_percent"]
    assert not problems


@pytest.mark.parametrize(("output", "wrong"), [("", True), ("out", True), ("derivatives/x", False), ("../out", False)])
def test_results_do_not_lie_among_raw_data(bids, output, wrong):
    found = errors(problems_of(bids, output_dir=str(bids / output)))
    assert [problem.what for problem in found] == (["output_dir lies in the raw data"] if wrong else [])


def test_a_link_into_the_raw_data_is_no_way_round(bids, tmp_path):
    (tmp_path / "link").symlink_to(bids)
    assert errors(problems_of(bids, output_dir=str(tmp_path / "link" / "out")))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"output_dir": __file__}, "output_dir is a file"),
        ({"truth": "/nowhere"}, "truth: no such folder"),
        ({"derivatives": ["/nowhere"]}, "derivatives.0: no such folder"),
        ({"images": "/nowhere.tsv"}, "images: no such file"),
        ({"behaviour": {"table": "/nowhere.tsv"}}, "behaviour.table: no such file"),
        ({"dwi": {"b0_threshold": 100, "max_bval": 50}}, "dwi.b0_threshold (100) is not below dwi.max_bval (50)"),
        ({"model": {"covariates": ["group"]}}, "model.covariates has the group column 'group'"),
        (
            {"model": {"contrasts": [{"name": "x", "test": "A > B"}] * 2}},
            "model.contrasts: the name 'x' is there 2 times",
        ),
        (
            {"behaviour": {"outcomes": {"csr_percent": {"minimum": 100}}}},
            "behaviour.outcomes.csr_percent: minimum is not below maximum",
        ),
    ],
)
def test_values_that_do_not_go_together(bids, changes, what):
    assert [problem.what for problem in problems_of(bids, **changes)] == [what]


def test_a_region_has_exactly_one_shape(bids, tmp_path):
    sphere = {"centre": [38, -26, 56], "radius": 14}
    image = tmp_path / "roi.nii.gz"
    image.touch()
    good = [{"name": "a", "sphere": sphere, "mirror": True}, {"name": "b", "image": str(image), "threshold": 0.5}]
    assert problems_of(bids, rois=good) == []
    for bad in ({"name": "a"}, {"name": "a", "sphere": sphere, "image": str(image)}):
        assert len(problems_of(bids, rois=[bad])) == 1
    assert len(problems_of(bids, rois=[{"name": "a", "image": "/nowhere.nii"}])) == 1
    assert len(problems_of(bids, rois=[good[0], good[0]])) == 2


@pytest.mark.parametrize(("x", "found"), [(79, 0), (81, 1), (-81, 1), (500, 1)])
def test_a_sphere_beside_the_brain_is_an_error(bids, x, found):
    sphere = {"centre": [x, -26, 56], "radius": 6}
    assert len(problems_of(bids, rois=[{"name": "far", "sphere": sphere}])) == found


def test_a_broken_section_gives_way_to_the_defaults(bids):
    usable = usable_config({"bids_dir": str(bids), "stages": 3, "space": {"resolution": 2}, "x": 1})
    assert usable["stages"] == "auto"
    assert usable["space"]["resolution"] == 2
    assert usable["bids_dir"] == str(bids)


def test_snakemakes_own_reading_is_checked_too(bids):
    config = {**load_config({"bids_dir": str(bids)})[0], "input": {"repeated_runs": "last", "days": {1: 0}}, 5: 6}
    assert [problem.what for problem in check_config(config)] == ["unknown key '5'"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("smoothing: {mpm: {GM: 500}}", "at most 50"),
        ("report:\n\ttitle: x", "by spaces, not by tabs"),
    ],
)
def test_messages_say_what_would_do(bids, tmp_path, text, told):
    _, problems = load_config(write(tmp_path, f"bids_dir: {bids}\n{text}\n"))
    assert any(told in problem.why + problem.remedy for problem in problems)
