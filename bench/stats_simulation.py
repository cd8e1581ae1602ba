"""Null and planted longitudinal studies on a small grid, for the benches: made from a seed and nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from plastimap.report.rates import Rate, rates_figure
from plastimap.report.style import to_png, to_svg

DAYS = (0.0, 7.0, 14.0, 28.0, 84.0)

PAPER_GROUPS = {"SCI-UL": 9, "SCI-LL": 8, "CON-UL": 9, "CON-LL": 9, "NON": 14}

SHAPE = (26, 26, 26)
"""Voxels; 3 at each side are cut off."""

FWHM = 4.0
"""Of the noise, in voxels."""


@dataclass(frozen=True)
class Simulated:
    """Maps in the mask's voxels with their tables; `arguments` is what ``analyse`` needs beside."""

    maps: NDArray[np.float32]
    scans: pd.DataFrame
    participants: pd.DataFrame
    arguments: dict[str, Any]
    blob: NDArray[np.bool_]


def smooth_fields(count: int, rng: np.random.Generator, *, stationary: bool, fwhm: float = FWHM) -> NDArray[np.float32]:
    """Unit-variance noise, shape (count, X, Y, Z); not stationary: half as smooth on one side as on the other."""

    def smooth(width: float) -> NDArray[np.float32]:
        sigma = width / np.sqrt(8 * np.log(2))
        white = rng.standard_normal((count, *SHAPE), dtype=np.float32)
        field = ndimage.gaussian_filter(white, (0, sigma, sigma, sigma), mode="wrap", truncate=3)
        return field / field.std()

    if stationary:
        return smooth(fwhm)
    share = np.linspace(0, 1, SHAPE[0], dtype=np.float32)[:, None, None]
    rough, even = smooth(0.6 * fwhm), smooth(1.4 * fwhm)
    return (np.sqrt(1 - share) * rough + np.sqrt(share) * even).astype(np.float32)


def simulate(
    rng: np.random.Generator,
    *,
    groups: Mapping[str, int],
    stationary: bool = True,
    linear: float = 0.0,
    quadratic: float = 0.0,
    missing: float = 0.0,
) -> Simulated:
    """People with own levels and own slopes, visits that depend on one another, noise that is smooth in space.

    `linear` (per day) and `quadratic` (per day², of the orthogonal term) are planted in a ball, in the first group.
    Every person keeps day 0 and two other visits at least.
    """
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:-3, 3:-3, 3:-3] = True
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    blob = ((grid - np.array(SHAPE) // 2) ** 2).sum(axis=-1) <= 9
    labels = [group for group, count in groups.items() for _ in range(count)]
    names = [f"{i:03d}" for i in range(len(labels))]
    days = np.array(DAYS)
    square = days**2 - np.polyval(np.polyfit(days, days**2, 1), days)
    levels, slopes = (smooth_fields(len(names), rng, stationary=stationary)[:, mask] for _ in range(2))
    rows: list[tuple[str, str, float]] = []
    maps: list[NDArray[np.float32]] = []
    inside = blob[mask]
    for i, (name, group) in enumerate(zip(names, labels, strict=True)):
        noise = smooth_fields(days.size, rng, stationary=stationary)[:, mask]
        there = _visits(rng, days.size, missing)
        for k in there:
            change = (linear * days[k] + quadratic * square[k]) * inside if group == labels[0] else 0.0
            maps.append((100 + 3 * levels[i] + 0.02 * days[k] * slopes[i] + noise[k] + change).astype(np.float32))
            rows.append((name, f"{k:02d}", float(days[k])))
    return Simulated(
        maps=np.stack(maps),
        scans=pd.DataFrame(rows, columns=["participant_id", "session", "day"]),
        participants=pd.DataFrame({"participant_id": names, "group": labels, "age": rng.normal(45, 12, len(names))}),
        arguments={
            "map_name": "simulated",
            "tissue": "all",
            "mask": mask,
            "search_volumes": {"all": mask},
            "affine": np.diag([1.5, 1.5, 1.5, 1.0]),
            "group": "group",
            "covariates": ["age"],
        },
        blob=blob,
    )


def _visits(rng: np.random.Generator, count: int, missing: float) -> list[int]:
    while True:
        there = [0, *(k for k in range(1, count) if rng.random() >= missing)]
        if len(there) >= 3:
            return there


def parser(doc: str | None) -> argparse.ArgumentParser:
    """What all benches of statistics understand."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path, help="write the numbers there")
    options.add_argument("--check", action="store_true", help="exit 1 and name what was missed")
    options.add_argument("--figure", type=Path, help="draw the rates there (SVG, PNG beside), where there are any")
    return options


def draw(options: argparse.Namespace, rates: Sequence[Rate], *, nominal: float | None, label: str) -> None:
    """Draw rates as SVG and PNG, where a figure was asked for."""
    if options.figure:
        figure = rates_figure(rates, nominal=nominal, label=label)
        options.figure.with_suffix(".svg").write_bytes(to_svg(figure))
        options.figure.with_suffix(".png").write_bytes(to_png(figure, dpi=150))


def finish(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]], missed: Sequence[str]) -> int:
    """Write the numbers, name what was missed, and return the exit status."""
    if options.json:
        options.json.write_text(json.dumps({"rows": list(rows), "missed": list(missed)}, indent=2) + "\n")
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return int(bool(options.check and missed))
