"""The study configuration: read, merged over the shipped defaults, and checked whole.

Everything wrong is found at once, and a misspelt key never passes.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from plastimap.bids.files import read_text
from plastimap.bids.problems import Problem, unique_problems
from plastimap.bids.words import closest
from plastimap.shipped import workflow_file

DEFAULTS = "config/config.yaml"
SCHEMA = "workflow/schemas/config.schema.json"

MAX_BYTES = 1_000_000
"""A configuration larger than this is something else."""

BRAINAGE_FILES = (
    "table", "people", "parcels", "edges", "labels", "label_table", "model", "training", "controls", "lesions",
    "surface_left", "surface_right",
)  # fmt: skip
"""Keys of the section ``brainage`` that hold a path."""

PATH_KEYS = (
    *((key,) for key in ("bids_dir", "output_dir", "truth", "images", "exclude")),
    *(("behaviour", key) for key in ("table", "training")),
    *(("space", "template", tissue) for tissue in ("GM", "WM")),
    *(("brainage", key) for key in BRAINAGE_FILES),
)
"""Keys that hold one path; ``derivatives`` and the regions' images hold more."""

Config = dict[str, Any]
Source = str | os.PathLike[str] | Mapping[str, Any]


class ConfigError(ValueError):
    """A configuration file that is no YAML mapping."""


@dataclass(frozen=True)
class _Layer:
    """One source of settings and how problems name it."""

    name: str
    content: Config


def load_config(
    source: Source | Sequence[Source] | None = None, *, folder: str | os.PathLike[str] | None = None
) -> tuple[Config, list[Problem]]:
    """Read a study's configuration over the shipped defaults.

    Parameters
    ----------
    source : path, mapping, or sequence of these, optional
        Later ones win. Relative paths inside a file count from the file's folder. Mappings merge key by key; lists
        replace.
    folder : path-like, optional
        Where relative paths of a mapping count from; the current folder by default.

    Returns
    -------
    config : dict
        Complete, paths absolute, labels as text without ``sub-``/``ses-``. Use it only when there are no errors.
    problems : list of Problem
        Errors and notices, :func:`check_config` included.
    """
    config, layers, problems = _merged(source, folder)
    found = [_named_by_layer(problem, path, layers) for problem, path in _located_problems(config)]
    return config, unique_problems(problems, found)


def read_config(source: Source | Sequence[Source]) -> Config:
    """Read a configuration that has been checked a moment ago: as :func:`load_config`, without its checks."""
    return _merged(source, None)[0]


def _merged(
    source: Source | Sequence[Source] | None, folder: str | os.PathLike[str] | None
) -> tuple[Config, list[_Layer], list[Problem]]:
    """The sources over the defaults, the layers one by one, and what could not be read."""
    sources = [] if source is None else [source] if isinstance(source, (str, os.PathLike, Mapping)) else list(source)
    start = Path(folder).absolute() if folder is not None else Path.cwd()
    problems: list[Problem] = []
    layers = [_Layer("defaults", _tidy(read_yaml(workflow_file(DEFAULTS))[0], start, "defaults")[0])]
    for one in sources:
        try:
            layer, found = _layer(one, start)
        except ConfigError as error:
            problems.append(Problem(os.fspath(one), "the configuration cannot be read", str(error), "correct the file"))  # type: ignore[arg-type]
            continue
        layers.append(layer)
        problems += found
    config: Config = {}
    for layer in layers:
        config = merge(config, layer.content)
    outcomes = config.get("behaviour", {}).get("outcomes")
    if isinstance(outcomes, dict):
        config["behaviour"]["outcomes"] = {key: value for key, value in outcomes.items() if value is not None}
    return config, layers, problems


def check_config(config: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with a configuration: unknown keys, wrong values, paths that lead nowhere.

    Parameters
    ----------
    config : mapping
        As :func:`load_config` gives it, or as Snakemake read it; relative paths count from the current folder.

    Returns
    -------
    list of Problem
    """
    return unique_problems(problem for problem, _ in _located_problems(config))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """`over` on top of `base`: mappings merge key by key, everything else is replaced. Neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def usable_config(config: Mapping[str, Any]) -> Config:
    """`config` with what is missing or broken taken from the defaults, so that the data can be checked all the same."""
    plain = _text_keys(config)
    defaults = _text_keys(read_yaml(workflow_file(DEFAULTS))[0])
    broken = _broken_sections(plain)
    return merge(defaults, {key: value for key, value in plain.items() if key not in broken})


class _Loader(yaml.SafeLoader):
    """YAML without aliases, without silent duplicates, and with 01 kept as the text it is."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # A few lines of aliases of aliases unfold to gigabytes; a configuration needs none.
            raise ConfigError("it uses a YAML alias (*name), which configurations may not; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {key.start_mark.line + 1}: a key is a list or mapping, where a word is wanted")
            if key.value in seen:
                self.duplicates.append(f"{key.value} (line {key.start_mark.line + 1})")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _whole_number(self, node: yaml.ScalarNode) -> int | str:
        # YAML 1.1 reads 010 as 8 and 1_0 as 10; labels of people must not change like that.
        canonical = re.fullmatch(r"[+-]?(0|[1-9][0-9]*)", node.value)
        return self.construct_yaml_int(node) if canonical else node.value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader._whole_number)  # pyright: ignore


def read_yaml(path: str | os.PathLike[str]) -> tuple[Config, list[str]]:
    """Read a YAML mapping.

    Returns
    -------
    dict, list of str
        The content, and keys that are written twice (the last one counts in YAML).

    Raises
    ------
    ConfigError
        When the file is missing, too large, no YAML, no mapping, or uses aliases.
    """
    try:
        loader = _Loader(read_text(path, most=MAX_BYTES))
        content = loader.get_single_data()
    except OSError as error:
        raise ConfigError(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("it is not UTF-8 text") from error
    except RecursionError as error:
        raise ConfigError("it is nested too deeply") from error
    except ValueError as error:
        # A date that no calendar has, a number of thousands of digits.
        raise ConfigError(f"a value cannot be read: {error}") from error
    except yaml.YAMLError as error:
        tab = "; indent by spaces, not by tabs" if "\\t" in str(error) else ""
        raise ConfigError(f"it is no YAML: {' '.join(str(error).split())}{tab}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"it holds a {type(content).__name__}, where keys and values are wanted")
    return content, loader.duplicates


def _layer(source: Source, folder: Path) -> tuple[_Layer, list[Problem]]:
    if isinstance(source, Mapping):
        content, problems = _tidy(source, folder, "config")
        return _Layer("config", content), problems
    file = Path(source)
    content, duplicates = read_yaml(file)
    tidied, problems = _tidy(content, file.absolute().parent, str(file))
    for key in duplicates:
        why = "YAML takes the last one in silence"
        problems.append(Problem(str(file), f"the key {key} is written twice", why, "keep one of them"))
    return _Layer(str(file), tidied), problems


def _tidy(content: Mapping[Any, Any], folder: Path, name: str) -> tuple[Config, list[Problem]]:
    """Keys as text, labels as text, relative paths resolved against `folder`."""
    config = _text_keys(content)
    problems: list[Problem] = []
    for key, prefix in (("participants", "sub-"), ("sessions", "ses-")):
        labels = config.get(key)
        if isinstance(labels, list):
            numbers = [label for label in labels if _is_whole(label)]
            if numbers:
                what = f"{key}: {', '.join(map(str, numbers))} written without quotes"
                why = f"read as the label {', '.join(repr(str(one)) for one in numbers)}; YAML drops leading zeros"
                remedy = f'write {key}: ["01", …]'
                problems.append(Problem(name, what, why, remedy, "notice"))
            config[key] = [_label(label, prefix) for label in labels]
    days = config.get("input", {}).get("days") if isinstance(config.get("input"), dict) else None
    if isinstance(days, dict):
        config["input"]["days"] = {_label(key, "ses-"): value for key, value in days.items()}
    return _absolute_paths(config, folder), problems


def _text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _label(value: Any, prefix: str) -> Any:
    if _is_whole(value):
        return str(value)
    return value.removeprefix(prefix) if isinstance(value, str) else value


def _absolute_paths(config: Config, folder: Path) -> Config:
    for *parents, last in PATH_KEYS:
        place: Any = config
        for key in parents:
            place = place.get(key)
            if not isinstance(place, dict):
                break
        if isinstance(place, dict) and isinstance(place.get(last), str) and place[last] != "auto":
            place[last] = _absolute(place[last], folder)
    if isinstance(config.get("derivatives"), list):
        config["derivatives"] = [_absolute(one, folder) for one in config["derivatives"]]
    if isinstance(config.get("rois"), list):
        for region in config["rois"]:
            if isinstance(region, dict):
                region.update({key: _absolute(region[key], folder) for key in ("image", "transform") if key in region})
    return config


def _absolute(path: Any, folder: Path) -> Any:
    if not isinstance(path, str):
        return path
    # Unlike Path.expanduser this leaves an unknown "~name" alone.
    return os.path.normpath(folder / os.path.expanduser(path))  # noqa: PTH111


Place = tuple[str | int, ...]


def _located_problems(config: Mapping[str, Any]) -> Iterator[tuple[Problem, Place]]:
    """Problems with the place of each in the configuration."""
    from plastimap.config_rules import semantic_problems

    plain = _text_keys(config)
    for error in _schema_errors(plain):
        for place, what, why, remedy in _explained(error):
            yield Problem("config", what, why, remedy), place
    for place, text in _not_finite(plain):
        yield Problem("config", f"{dotted(place)} is {text}", "a finite number is wanted", "write a number"), place
    # A rule about values makes sense only where their types are right.
    sound = {key: value for key, value in plain.items() if key not in _broken_sections(plain)}
    for place, what, why, remedy, severity in semantic_problems(sound):
        yield Problem("config", what, why, remedy, severity), place


def _broken_sections(config: Mapping[str, Any]) -> set[str]:
    """Top-level keys whose values cannot be relied on; an unknown key beside good ones harms nobody."""
    errors = [error for error in _schema_errors(config) if error.validator != "additionalProperties"]
    places = [tuple(error.absolute_path) for error in errors] + [place for place, _ in _not_finite(config)]
    return {str(place[0]) for place in places if place}


def _schema_errors(config: Mapping[str, Any]) -> list[Any]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(_schema())
    return sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])


def _explained(error: Any) -> Iterator[tuple[Place, str, str, str]]:
    """Say what a schema error means, as (place, what, why, remedy)."""
    place: Place = tuple(error.absolute_path)
    name = dotted(place)
    if error.validator == "anyOf":
        fitting = [one for one in error.context if len(one.absolute_schema_path) > 0 and _inside_list(one, error)]
        if isinstance(error.instance, list) and fitting:
            for one in fitting:
                yield from _explained(one)
            return
    if error.validator == "additionalProperties" and "properties" in error.schema:
        for key in error.instance:
            if key not in error.schema["properties"]:
                yield (*place, key), *_unknown_key(key, place, list(error.schema["properties"]))
        return
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        yield place, f"{name} has no {missing}", f"wanted: {error.schema.get('description')}", f"add {missing}: …"
        return
    wanted = _wanted(error)
    if error.validator == "enum":
        known = [str(one) for one in error.validator_value]
        close = closest(str(error.instance), known)
        remedy = f"did you mean {close!r}?" if close else f"write {wanted}"
        yield place, f"{name} is {_shown(error.instance)}", f"known: {', '.join(known)}", remedy
        return
    if error.validator == "uniqueItems":
        yield place, f"{name} names something twice", f"it is {_shown(error.instance)}", "name each once"
        return
    yield place, f"{name} is {_shown(error.instance)}", f"wanted: {wanted}", _remedy(error, wanted)


def _wanted(error: Any) -> str:
    """What a value should be, and up to where."""
    text = error.schema.get("description", error.message)
    return f"{text}; at most {error.validator_value:g}" if error.validator == "maximum" else text


def _inside_list(one: Any, error: Any) -> bool:
    """Whether a branch's error is about the list's items, not about being a list at all."""
    return one.validator not in ("const", "type") or len(one.absolute_path) > len(error.absolute_path)


def _remedy(error: Any, wanted: str) -> str:
    value = error.instance
    if isinstance(value, str):
        try:
            return f"write {float(value):g} (YAML reads {value} as text)"
        except ValueError:
            pass
    if isinstance(value, bool) and error.schema.get("type") == "string":
        return "put it in quotes: YAML reads yes, no, on and off as true and false"
    return f"write {wanted}"


def _unknown_key(key: str, place: Place, known: list[str]) -> tuple[str, str, str]:
    where = f" at {dotted(place)}" if place else ""
    close = closest(key, known)
    elsewhere = [parent for parent, keys in _sections().items() if key in keys and parent != dotted(place)]
    if close:
        remedy = f"did you mean {close!r}?"
    elif elsewhere:
        remedy = f"did you mean {elsewhere[0]}.{key}? (indent it under {elsewhere[0]})"
    else:
        remedy = "remove it, or see config/config.yaml for every key"
    return f"unknown key {key!r}{where}", f"known here: {', '.join(known)}", remedy


@cache
def _schema() -> dict[str, Any]:
    return json.loads(workflow_file(SCHEMA).read_text(encoding="utf-8"))


def _sections() -> dict[str, list[str]]:
    return {key: list(part["properties"]) for key, part in _schema()["properties"].items() if "properties" in part}


def _not_finite(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _not_finite(item, (*place, key))
    if isinstance(value, float) and not math.isfinite(value):
        yield place, str(value)


def dotted(place: Place) -> str:
    """``("rois", 0, "sphere")`` → ``rois[0].sphere``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "the configuration"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"{value!r} (text)" if len(value) < 60 else f"{value[:57]!r}… (text)"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) < 60 else text[:57] + "…"


def _named_by_layer(problem: Problem, place: Place, layers: Sequence[_Layer]) -> Problem:
    """Name the file that the offending value came from."""
    for layer in reversed(layers[1:]):
        if _reaches(layer.content, place):
            return Problem(layer.name, problem.what, problem.why, problem.remedy, problem.severity)
    return problem


def _reaches(content: Any, place: Place) -> bool:
    for key in place:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(place)
