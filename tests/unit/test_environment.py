"""pyproject.toml, environment.yml and the lock file name the same packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"snakemake": "snakemake-minimal", "isal": "python-isal", "matplotlib": "matplotlib-base"}
"""Packages that conda calls otherwise than PyPI."""


def declared() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pairs = (re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", text) for text in project["dependencies"])
    return {pair[1].lower(): pair[2] for pair in pairs if pair}


def test_environment_yml_has_the_same_ranges() -> None:
    content = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [item for item in content if isinstance(item, str)]
    pip = next(item["pip"] for item in content if isinstance(item, dict))
    wanted = {CONDA_NAMES.get(name, name) + limits for name, limits in declared().items()}
    assert wanted == {text for text in (*conda, *pip) if text not in ("pip", "--editable .", "python>=3.11")}


def test_every_dependency_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    inside = [line for line in lines if re.match(r'    "[A-Za-z]', line) and (">=" in line)]
    assert len(inside) > 20
    assert all("#" in line for line in inside)


def test_the_lock_file_holds_every_dependency() -> None:
    pins = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert {name.replace("_", "-") for name in declared()} <= pins
