"""The command ``plastimap power``: how many people an effect needs, from the maps of a finished study."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plastimap.arguments import count, finite, positive, seed, whole
from plastimap.paths import ANALYSED_TISSUES, Paths
from plastimap.problems import EXIT_PROBLEMS

SMALLEST_GROUP = 2
"""People of a group, of whom a variance can be told."""

if TYPE_CHECKING:
    import pandas as pd

    from plastimap.bids.plan import Study
    from plastimap.images import Volume


def add_commands(commands: Any) -> None:
    """Add ``power`` to the command line."""
    power = commands.add_parser("power", help="how many people an effect needs, from the maps of a finished study")
    power.add_argument("output_dir", type=Path, help="output folder of the pilot study, group level done")
    power.add_argument("--map", required=True, help="such as R1, MTsat, FA, vbm")
    power.add_argument("--tissue", required=True, choices=ANALYSED_TISSUES)
    power.add_argument("--test", required=True, help='contrast; its left groups get the effect: "SCI > CON"')
    power.add_argument("--term", default="linear", help="linear (default), quadratic, piece1 …, level")
    power.add_argument("--percent", type=finite, required=True, help="change over the study in percent of the mean")
    power.add_argument("--centre", type=finite, nargs=3, required=True, metavar="MM", help="of the region, in mm")
    power.add_argument("--radius", type=positive, default=8.0, help="of the region, in mm (default: 8)")
    power.add_argument(
        "--sizes", type=whole(SMALLEST_GROUP), nargs="+", default=[8, 12, 16, 24, 32], help="people per group"
    )
    power.add_argument("--rounds", type=count, default=50, help="simulated studies per size (default: 50)")
    power.add_argument("--seed", type=seed, default=1)
    power.set_defaults(command=_power)


def _power(options: argparse.Namespace) -> int:
    from plastimap.bids.plan import open_study
    from plastimap.report.rates import power_figure
    from plastimap.report.style import to_png, to_svg
    from plastimap.stats.problems import StatsProblem
    from plastimap.writing import replacing, write_table

    place = options.output_dir.resolve()
    try:
        if not (place / Paths.effective_config).exists():
            raise StatsProblem(f"{place} is no output folder of a study (no {Paths.effective_config})")
        study = open_study(files=[place / Paths.effective_config], settings={}, refresh=False)
        table = _power_table(study, place, options)
    except StatsProblem as problem:
        print(f"plastimap power: {problem}", file=sys.stderr)
        return EXIT_PROBLEMS
    print(file=sys.stderr)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    file = place / "group" / f"{_question(options)}.tsv"
    write_table(file, table)
    title = f"{options.map} in {options.tissue}, {options.term}: {options.percent:g} % ({options.test})"
    figure = power_figure(table, title=title)
    for ending, content in ((".svg", to_svg(figure)), (".png", to_png(figure))):
        with replacing(file.with_name(file.stem + ending)) as beside:
            beside.write_bytes(content)
    print(f"table: {file}, figure beside it")
    return 0


def _question(options: argparse.Namespace) -> str:
    """Name of the results, by everything that was asked: another question replaces no answer."""
    where = "_".join(f"{value:g}" for value in options.centre)
    effect = f"{options.term}_{options.percent:g}pct_at_{where}_r{options.radius:g}_seed{options.seed}"
    test = re.sub(r"[^A-Za-z0-9]+", "-", options.test.replace("<", " below ").replace(">", " above ")).strip("-")
    return f"power_{options.map}_{options.tissue}_{test}_{effect}"


def _power_table(study: Study, place: Path, options: argparse.Namespace) -> pd.DataFrame:
    from plastimap.groupfiles import read_tables
    from plastimap.images import read_volume
    from plastimap.stats.asymmetry import sides_of
    from plastimap.stats.power import Effect, read_pilot, sample_sizes
    from plastimap.stats.problems import StatsProblem
    from plastimap.stats.settings import analysis_settings

    pair = (options.map, options.tissue)
    needed = [place / name.format(tissue=options.tissue) for name in
              (Paths.scans, Paths.cohort, Paths.masks, Paths.search_volumes)]  # fmt: skip
    if pair not in study.analysed or not all(file.exists() for file in needed):
        known = ", ".join(f"{name} {tissue}" for name, tissue in study.analysed) or "none"
        raise StatsProblem(f"no group analysis of {options.map} in {options.tissue} in {place}; there are: {known}")
    model, inference = study.config["model"], study.config["inference"]
    if not model["group"]:
        raise StatsProblem("the study has one group (model.group is null): there is nothing to compare")
    labels = [scan.label for scan in study.analysed[pair]]
    scans, participants = read_tables(needed[0], needed[1], labels=labels, model={**model, "weighting": "equal"},
                                      map_name=options.map)  # fmt: skip
    mask, search = read_volume(needed[2]), read_volume(needed[3])
    images = [read_volume(place / study.smoothed_file(scan, *pair)) for scan in study.analysed[pair]]
    sides = sides_of(images, mask, search, errors=(), difference=model["asymmetry"])
    settings = analysis_settings(
        {**model, "weighting": "equal"}, inference, minimum_subjects=study.config["masks"]["minimum_subjects"]
    )
    pilot = read_pilot(sides.maps, scans, participants, group=model["group"], term=options.term, time=settings["time"])
    analysis = settings | sides.arguments | {"map_name": options.map, "tissue": options.tissue, "affine": mask.affine}
    region = _ball(mask, options.centre, options.radius)[sides.mask]
    print(f"region: {region.sum()} voxels of the analysis mask; clusters count from {inference['minimum_extent']}")
    effect = Effect(options.test, options.term, options.percent, region)
    return sample_sizes(
        pilot, effect, options.sizes, rounds=options.rounds, analysis=analysis, level=inference["cluster_p"],
        seed=options.seed, progress=_show,
    )  # fmt: skip


def _ball(grid: Volume, centre: list[float], radius: float) -> Any:
    """Voxels of a grid within a radius of a place, both in mm."""
    from plastimap.transforms import grid_of, world_points

    away = world_points(grid_of(grid)) - np.array(centre).reshape(3, 1, 1, 1)
    return (away**2).sum(axis=0) <= radius**2


def _show(size: int, number: int, power: float) -> None:
    print(f"\r{size} people per group: study {number}, power so far {power:.2f}   ", end="", file=sys.stderr)
