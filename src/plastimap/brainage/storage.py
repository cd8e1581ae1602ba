"""A model on disk: numbers in ``model.safetensors``, everything else in the card ``model.json`` beside it.

Nothing is unpickled. The card says what a user has to know before trusting the model: on whom it was trained, how far
off it was on people and sites left out, with and without the correction of age bias, and under which licence the
training data came. Either file holds a hash of the other: a card that was changed by hand is refused like a file that
was cut short. A Gaussian process predicts from the people it was trained on, so its file holds their parcels, sex
and age, and the card says so: it is personal data and shared as such. Of ridge and the graph network weights are kept
and nobody's data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plastimap.brainage.calibration import Bias, Calibration, Calibrations, Errors
from plastimap.brainage.controls import Scatter, SiteErrors
from plastimap.brainage.engines import Engine
from plastimap.brainage.evaluate import CORRECTED
from plastimap.brainage.gaussian_process import GaussianProcess
from plastimap.brainage.gcn import GraphNetwork, Layout
from plastimap.brainage.harmonise import Harmoniser, Shift
from plastimap.brainage.lesions import Normal
from plastimap.brainage.model import BrainAgeModel, Settings
from plastimap.brainage.parcels import Parcels
from plastimap.brainage.problems import BrainageProblem
from plastimap.brainage.regionwise import Member, RegionModel, Regionwise
from plastimap.brainage.ridge import Ridge
from plastimap.provenance import software
from plastimap.writing import PathLike, replacing, write_json

FORMAT = "plastimap brain age 6"

SUFFIX = ".safetensors"

PERSONAL = (
    "holds the parcels, covariates and ages of every person it was trained on, standardised and without names: "
    "personal data, to be kept and shared under the same terms as the training data themselves"
)
IMPERSONAL = "holds weights, means and covariances over people, and no single person's data"

CALIBRATED = {"bias": Bias, "bias_with_controls": Bias, "errors": Errors, "scatter": Scatter}
"""Parts of a calibration, by the names of its fields."""

KINDS = {
    "known_sites": {
        "holds_for": "people of sites trained on",
        "learnt_from": "people left out",
        "errors": "random folds",
    },
    "new_sites": {
        "holds_for": "everybody else",
        "learnt_from": "whole sites left out",
        "errors": "sites left out",
    },
}
"""What the card says of either calibration: whom it is for, and which of its rows of errors tell how good it is."""

Tensors = dict[str, NDArray[Any]]


def card_beside(file: PathLike) -> Path:
    """The card of a model file."""
    return Path(file).with_suffix(".json")


def save_model(
    file: PathLike,
    model: BrainAgeModel,
    *,
    data: str,
    licence: str,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write a model and its card, each whole or not at all.

    Parameters
    ----------
    file : path-like
        Ends in ``.safetensors``.
    model : BrainAgeModel
        Identifiers of its local controls are not written.
    data, licence : str
        What it was trained on, and the terms of those data.
    metrics : mapping, optional
        Errors on people left out.
    """
    from safetensors.numpy import save

    refuse_other_suffix(file)
    card = {"format": FORMAT, **_card(model), "training_data": data, "licence_of_training_data": licence}
    card |= {"metrics": metrics or {}, "software": software()}
    card |= {"corrected_errors": CORRECTED} if metrics else {}
    tensors = {name: np.ascontiguousarray(one) for name, one in _tensors(model).items()}
    content = save(tensors, metadata={"card": _hash_of(card)})
    write_json(card_beside(file), {**card, "sha256": hashlib.sha256(content).hexdigest()})
    with replacing(file) as beside:
        beside.write_bytes(content)


def refuse_other_suffix(file: PathLike) -> None:
    """Raise unless a file's name leaves another one for its card."""
    if Path(file).suffix != SUFFIX:
        raise BrainageProblem(f"{file}: the name of a model ends in {SUFFIX}; its card is the file .json beside it")


def load_model(file: PathLike) -> BrainAgeModel:
    """Read a model.

    Raises
    ------
    BrainageProblem
        If the file or its card is missing, broken, or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    card = read_card(file)
    try:
        content = Path(file).read_bytes()
        tensors = load(content)
    except FileNotFoundError as error:
        raise BrainageProblem(f"{file}: no such model; train one first (plastimap brainage train)") from error
    except SafetensorError as error:
        raise BrainageProblem(f"{file}: no safetensors file ({error}); copy it again") from error
    if hashlib.sha256(content).hexdigest() != card.get("sha256"):
        raise BrainageProblem(f"{file}: it is not the file that its card was written for; copy both again")
    if _hash_of(card) != _hash_kept(content):
        raise BrainageProblem(f"{card_beside(file)}: the card was changed after it was written; copy both again")
    try:
        return _model(card, tensors)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BrainageProblem(f"{file}: it and its card do not belong together ({error}); copy both again") from error


def read_card(file: PathLike) -> dict[str, Any]:
    """Read the card of a model file."""
    place = card_beside(file)
    try:
        card = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BrainageProblem(f"{place}: the model's card is missing; it belongs beside the model") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BrainageProblem(f"{place}: the model's card is no JSON ({error})") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else None
        raise BrainageProblem(f"{place}: format {found!r}, wanted {FORMAT!r}; train the model with this version")
    return card


def _hash_of(card: Mapping[str, Any]) -> str:
    """Hash of everything on a card but the hash of its model."""
    told = {name: one for name, one in card.items() if name != "sha256"}
    # As it is read again: numbers that are none are null there.
    read = json.loads(json.dumps(told, default=lambda one: one.tolist()), parse_constant=lambda _: None)
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def _hash_kept(content: bytes) -> str | None:
    """Hash of the card that a model's file was written with."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get("__metadata__", {}).get("card")


# --- out ------------------------------------------------------------------------------------------------------------
def _card(model: BrainAgeModel) -> dict[str, Any]:
    names = ("names", "hemispheres", "networks", "measures")
    return {
        "settings": asdict(model.settings),
        "regions": [list(region) for region in model.regions],
        "parcels": {name: list(getattr(model.parcels, name)) for name in names},
        "fingerprint": model.parcels.fingerprint,
        "age_range_years": list(model.age_range),
        "people_per_site": dict(model.sites),
        "harmonised_sites": list(model.harmoniser.sites),
        "sites_with_controls": {kind: list(getattr(model.calibration, kind).sites) for kind in KINDS},
        "calibrations": _calibrations_told(model),
        "members": [[one.scale for one in region.members] for region in model.engine.models]
        if isinstance(model.engine, Regionwise)
        else [],
        "personal_data": PERSONAL if model.settings.method == "gaussian_process" else IMPERSONAL,
        "notes": list(model.notes),
    }


def _calibrations_told(model: BrainAgeModel) -> dict[str, Any]:
    told = {kind: dict(one) for kind, one in KINDS.items()}
    if not model.calibration.whole_sites:
        told["new_sites"] |= {"learnt_from": "people left out: there were too few sites", "errors": "none"}
    return {**told, "whole_sites": model.calibration.whole_sites, "trained_on": sorted(model.calibration.trained)}


def _tensors(model: BrainAgeModel) -> Tensors:
    harmoniser = model.harmoniser
    out: Tensors = {
        "parcels/edges": model.parcels.edges,
        "usual": model.usual,
        "normal/mean": model.normal.mean,
        "normal/covariance": model.normal.covariance,
    }
    out |= {f"harmoniser/{name}": getattr(harmoniser, name) for name in ("age", "slopes", "sd", "between")}
    for number, shift in enumerate(harmoniser.sites.values()):
        out[f"harmoniser/{number}/location"] = shift.location
    for kind in KINDS:
        calibration: Calibration = getattr(model.calibration, kind)
        parts = {name: getattr(calibration, name) for name in CALIBRATED}
        parts |= {f"site/{number}": one for number, one in enumerate(calibration.sites.values())}
        for place, part in parts.items():
            out |= {f"{kind}/{place}/{name}": np.asarray(one) for name, one in asdict(part).items()}
    return out | _engine_tensors(model.engine)


def _engine_tensors(engine: Engine) -> Tensors:
    if isinstance(engine, GraphNetwork):
        out: Tensors = {f"gcn/{name}": one for name, one in engine.weights.items()}
        out |= {f"gcn_layout/{name}": one for name, one in asdict(engine.layout).items()}
        scalars = np.array([engine.level, engine.spread])
        return out | {"gcn_frame/centre": engine.centre, "gcn_frame/scale": engine.scale, "gcn_frame/target": scalars}
    assert isinstance(engine, Regionwise)
    out = {f"region/{r}/columns": columns for r, columns in enumerate(engine.columns)}
    for r, region in enumerate(engine.models):
        for m, member in enumerate(region.members):
            place = f"region/{r}/{m}/"
            out |= {place + "centre": member.centre, place + "rotation": member.rotation}
            out |= {place + name: one for name, one in _fields(member.regressor).items()}
    return out


def _fields(regressor: GaussianProcess | Ridge) -> Tensors:
    """Numbers of a regression. Inverses that are cached beside are remade when needed."""
    names = type(regressor).__dataclass_fields__
    kept = {name: np.asarray(getattr(regressor, name), dtype=np.float64) for name in names}
    if isinstance(regressor, Ridge):
        # The people are needed for leaving some of them out, which is done in training.
        kept |= {"inputs": kept["inputs"][:0], "target": kept["target"][:0]}
    return kept


# --- in -------------------------------------------------------------------------------------------------------------
def _model(card: Mapping[str, Any], tensors: Tensors) -> BrainAgeModel:
    columns = (tuple(card["parcels"][name]) for name in ("names", "hemispheres", "networks", "measures"))
    parcels = Parcels(*columns, edges=tensors["parcels/edges"])
    if parcels.fingerprint != card["fingerprint"]:
        raise ValueError("parcels were changed")
    given: dict[str, Any] = {**card["settings"], "covariates": tuple(card["settings"]["covariates"])}
    settings = Settings(**given)
    return BrainAgeModel(
        parcels=parcels,
        settings=settings,
        engine=_engine(card, tensors),
        harmoniser=_harmoniser(card, tensors),
        normal=Normal(tensors["normal/mean"], tensors["normal/covariance"]),
        usual=tensors["usual"],
        calibration=_calibrations(card, tensors),
        age_range=(card["age_range_years"][0], card["age_range_years"][1]),
        sites=dict(card["people_per_site"]),
        notes=tuple(card["notes"]),
    )


def _harmoniser(card: Mapping[str, Any], tensors: Tensors) -> Harmoniser:
    sites = {
        name: Shift(tensors[f"harmoniser/{number}/location"]) for number, name in enumerate(card["harmonised_sites"])
    }
    frame = {name: tensors[f"harmoniser/{name}"] for name in ("age", "slopes", "sd", "between")}
    return Harmoniser(card["settings"]["harmonise"], **frame, sites=sites)


def _calibrations(card: Mapping[str, Any], tensors: Tensors) -> Calibrations:
    def part(kind: type[Any], place: str) -> Any:
        given = {name: tensors[f"{place}/{name}"] for name in kind.__dataclass_fields__}
        return kind(**{name: one.item() if one.ndim == 0 else one for name, one in given.items()})

    def calibration(kind: str) -> Calibration:
        parts = {name: part(of, f"{kind}/{name}") for name, of in CALIBRATED.items()}
        names = card["sites_with_controls"][kind]
        sites = {name: part(SiteErrors, f"{kind}/site/{number}") for number, name in enumerate(names)}
        return Calibration(**parts, coverage=card["settings"]["coverage"], sites=sites)

    told = card["calibrations"]
    both = (calibration(kind) for kind in KINDS)
    return Calibrations(*both, trained=frozenset(told["trained_on"]), whole_sites=told["whole_sites"])


def _engine(card: Mapping[str, Any], tensors: Tensors) -> Engine:
    regions = tuple((network, side) for network, side in card["regions"])
    if card["settings"]["method"] == "gcn":
        weights = {name.removeprefix("gcn/"): one for name, one in tensors.items() if name.startswith("gcn/")}
        layout = Layout(*(tensors[f"gcn_layout/{name}"] for name in ("slots", "adjacency", "pooling")))
        level, spread = map(float, tensors["gcn_frame/target"])
        frame = (tensors["gcn_frame/centre"], tensors["gcn_frame/scale"])
        return GraphNetwork(regions, layout, weights, *frame, level, spread)
    kind = Ridge if card["settings"]["method"] == "ridge" else GaussianProcess
    models: list[RegionModel] = []
    for r, scales in enumerate(card["members"]):
        members = [_member(tensors, f"region/{r}/{m}/", kind, scale) for m, scale in enumerate(scales)]
        models.append(RegionModel(tuple(members)))
    columns = tuple(tensors[f"region/{r}/columns"] for r in range(len(regions)))
    return Regionwise(regions, columns, tuple(models))


def _member(tensors: Tensors, place: str, kind: type[Ridge] | type[GaussianProcess], scale: str) -> Member:
    fields = {name: tensors[place + name] for name in kind.__dataclass_fields__}
    plain = {name: float(one) if one.ndim == 0 else one for name, one in fields.items()}
    return Member(scale, tensors[place + "centre"], tensors[place + "rotation"], kind(**plain))  # type: ignore[arg-type]
