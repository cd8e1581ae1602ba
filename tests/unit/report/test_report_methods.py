from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml

from plastimap.paths import Paths
from plastimap.report.anatomy_methods import anatomy_counts
from plastimap.report.methods import listed, methods_text
from plastimap.report.references import REFERENCES
from plastimap.shipped import workflow_file
from plastimap.writing import write_json

ALL = ("mpm", "dwi", "anat", "space", "smooth", "behaviour", "glm", "brainage", "report")


@pytest.fixture
def config() -> dict:
    return yaml.safe_load(workflow_file("config/config.yaml").read_text(encoding="utf-8"))


def test_only_what_ran_is_described(config: dict) -> None:
    text = methods_text(config, ("dwi",)).markdown
    assert "diffusion tensor" in text
    assert "R2*" not in text
    assert "Holm" not in text


def test_text_follows_the_configuration(config: dict) -> None:
    one = methods_text(config, ALL, contrast="MTsat").markdown
    other = copy.deepcopy(config)
    other["dwi"]["denoise"] = False
    other["mpm"]["b1_correction"] = "none"
    other["inference"].update(cluster_forming_p=0.005, family_correction="bonferroni")
    other["smoothing"]["mpm"] = {"GM": 8, "WM": 7}
    other["model"].update(coding="raw", covariates=[], group=None)
    two = methods_text(other, ALL, contrast="T1w").markdown
    assert "MP-PCA" in one
    assert "MP-PCA" not in two
    assert "C = 0.4" in one
    assert "not corrected for the transmit field" in two
    assert "p < 0.001 (uncorrected)" in one
    assert "p < 0.005 (uncorrected)" in two
    assert "Holm's method" in one
    assert "Bonferroni's method" in two
    assert "5 mm in grey and 3 mm in white matter (multi-parameter maps)" in one
    assert "8 mm in grey and 7 mm in white matter (multi-parameter maps)" in two
    assert "covariates age and TIV" in one
    assert "with one group." in two
    assert "N4" not in one
    assert "N4" in two


def test_citations_and_references_agree(config: dict) -> None:
    methods = methods_text(config, ALL)
    assert set(methods.keys) <= set(REFERENCES)
    assert len(methods.references) == len(methods.keys) == len(set(methods.keys))
    body, _, entries = methods.markdown.partition("**References**")
    cited = {int(n) for group in re.findall(r"\[([\d, ]+)\]", body) for n in group.split(",")}
    assert cited == set(range(1, len(methods.keys) + 1))
    assert len(re.findall(r"^\d+\. ", entries, flags=re.MULTILINE)) == len(methods.keys)
    assert set(re.findall(r'href="#ref-([^"]+)"', methods.html)) == set(methods.keys)
    assert "[@" not in methods.markdown + methods.html


def test_every_reference_can_be_cited(config: dict) -> None:
    joint = {**config["mpm"], "model": "joint", "spoiling": {**config["mpm"]["spoiling"], "correct": True}}
    more = {**config, "mpm": joint, "dwi": {**config["dwi"], "unring": True, "fit": "robust", "free_water": True}}
    more["report"] = {**config["report"], "posthoc": {"first": ["A"], "second": ["B"]}}
    ways = [
        more | {"model": config["model"] | model, "inference": config["inference"] | inference}
        for model, inference in (
            ({"method": "pooled", "weighting": "motion"}, {"method": "local_random_field", "family_correction": "fdr"}),
            ({"method": "sandwich", "weighting": "visits"}, {"method": "wild_bootstrap", "family_correction": "none"}),
            ({"method": "mixed", "coding": "piecewise", "knots": [28]}, {"method": "permutation"}),
            ({"method": "robust"}, {"method": "permutation", "family_correction": "min_p"}),
        )
    ]
    by_eddy = {**config, "dwi": {**config["dwi"], "motion": "eddy", "susceptibility": "auto"}}
    other_ages = {"method": "gcn", "harmonise": "combat", "controls": "controls.tsv"}
    by_ants = {**config, "space": {**config["space"], "registration": "ants", "study_template": True}}
    combat = {**config, "brainage": {**config["brainage"], **other_ages}}
    texts = [methods_text(each, ALL, contrast="T1w") for each in (config, by_eddy, by_ants, combat, *ways)]
    texts.append(methods_text(config, ALL, anatomy={"lesion": 1}))
    assert {key for text in texts for key in text.keys} == set(REFERENCES)


def test_brain_age_follows_the_configuration(config: dict) -> None:
    def said(**section: object) -> str:
        return methods_text({**config, "brainage": {**config["brainage"], **section}}, ("brainage",)).markdown

    assert "Gaussian processes" in said()
    assert "whole sites left out" in said()
    assert "people left out" in said()
    assert "edges across regions" in said(method="gcn", whole_graph=True)
    assert "trained elsewhere" in said(model="model.safetensors")
    assert "controls" not in said()
    assert "healthy controls of their own" in said(controls="controls.tsv")


def test_brain_age_of_a_given_model_follows_its_card_and_the_notes(config: dict, tmp_path: Path) -> None:
    settings = {"method": "ridge", "covariates": ["eTIV"], "harmonise": "combat", "whole_graph": False, "coverage": 0.8}
    card = {"settings": settings, "training_data": "1,000 adults", "calibrations": {"whole_sites": False}}
    write_json(tmp_path / "model.json", card)
    section = {**config["brainage"], "model": str(tmp_path / "model.safetensors"), "controls": "controls.tsv"}

    def said(note: str) -> str:
        write_json(tmp_path / Paths.brainage_notes, {"notes": [note]})
        given = {**config, "brainage": section, "output_dir": str(tmp_path)}
        return methods_text(given, ("brainage",)).markdown

    text = said("Bias and intervals are those of new sites (whole sites left out) for 9 of the people.")
    assert "of that region and eTIV." in text
    assert "sex" not in text
    assert "trained on 1,000 adults: ridge regression" in text
    assert "its scale was not applied" in text
    assert "intervals of 80 %" in text
    assert "too few sites to leave out whole ones" in text
    assert "no site had enough to be used" in text
    assert "for 9 of the people." in text
    assert "were shifted by those" in said(
        "Bias and intervals are those of the site's own controls for 9 of the people."
    )


def test_tissues_and_space_follow_what_was_done(config: dict) -> None:
    def said(anatomy: dict[str, int] | None = None, brain_mask: str = "auto", **space: object) -> str:
        own = {**config, "space": {**config["space"], **space}, "anat": {**config["anat"], "brain_mask": brain_mask}}
        return methods_text(own, ("anat", "space"), contrast="MTsat", anatomy=anatomy).markdown

    plain = said()
    assert "midpoint template of all sessions" in plain
    assert "registered to those of MNI152NLin2009aSym (the ICBM152 average" in plain
    assert not any(word in plain for word in ("template of the study", "It was kept", "lesion"))
    other = said(study_template=True, freeze_template=True, target="MNI152NLin6Asym", template={"GM": "a", "WM": "b"})
    assert "by way of a template of the study" in other
    assert "sessions measured later were registered to it" in other
    assert "all sessions" not in other
    # The tissues' priors are ICBM152's still; the target is not.
    assert "registered to those of MNI152NLin6Asym (the tissue probabilities given for it)" in other
    # How brains were found is known from the scans; what the settings allow is said only where it is not.
    found = said({"head": 3, "given": 1, "lesion": 2})
    assert "deformable surface" in found
    assert "(3 scans)" in found
    assert "(one scan)" in found
    assert "deepbet" not in found
    assert "Masked lesions (2 scans)" in found
    assert "cost function masking" in found
    assert "deepbet" in said(brain_mask="deepbet")
    assert "deformable surface" not in said(brain_mask="deepbet")
    assert "deepbet" not in said(brain_mask="classical")


def test_scans_are_counted_by_how_their_brain_was_found() -> None:
    quality = [
        {"mask_method": "head", "lesion_ml": 0.0},
        {"mask_method": "head", "lesion_ml": 3.2},
        {},
        {"tiv_ml": 1.0},
    ]
    assert anatomy_counts([*quality, {"mask_method": "given"}]) == {"head": 2, "given": 1, "lesion": 1}


def test_names_from_the_configuration_are_escaped(config: dict) -> None:
    config["rois"] = [{"name": "<b>hand</b>"}]
    methods = methods_text(config, ("glm",))
    assert "<b>" not in methods.html
    assert "&lt;b&gt;hand" in methods.html


def test_latex_cites_what_the_bibliography_has(config: dict) -> None:
    methods = methods_text(config, ALL, contrast="T1w")
    files = {name: content.decode() for name, content in methods.files().items()}
    assert set(files) == {"methods.md", "methods.html", "methods.tex", "references.bib"}
    cited = {key for found in re.findall(r"\\cite\{([^}]+)\}", files["methods.tex"]) for key in found.split(",")}
    entries = set(re.findall(r"@article\{([^,]+),", files["references.bib"]))
    assert cited == entries == set(methods.keys)
    assert all(ord(letter) < 128 for letter in files["methods.tex"])
    assert "[@" not in files["methods.tex"]
    for entry in files["references.bib"].split("\n\n"):
        assert {"author", "year", "title", "journal"} <= set(re.findall(r"^  (\w+) = ", entry, flags=re.MULTILINE))


def test_dois_look_like_dois() -> None:
    without = [key for key, reference in REFERENCES.items() if not reference.doi]
    assert without == ["holm1979"]
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", reference.doi) for reference in REFERENCES.values() if reference.doi)


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")]
)
def test_listed(names: list[str], text: str) -> None:
    assert listed(names) == text
