"""``plastimap brainage …``: tables in, tables and models out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plastimap.arguments import seed, whole
from plastimap.brainage.problems import BrainageProblem
from plastimap.problems import EXIT_PROBLEMS

if TYPE_CHECKING:
    from plastimap.brainage.model import Settings
    from plastimap.brainage.parcels import Parcels
    from plastimap.brainage.tables import ParcelTable


def add_commands(commands: Any) -> None:
    """Add ``brainage`` with its subcommands to the parser of the program."""
    parser = commands.add_parser("brainage", help="regional brain age from a table of parcels")
    inner = parser.add_subparsers(required=True, metavar="STEP")
    _add_tables(inner)
    _add_models(inner)


def _add_tables(inner: Any) -> None:
    """Steps that make tables."""
    table = inner.add_parser("table", help="FreeSurfer or FastSurfer statistics → one table of parcels")
    table.add_argument("subjects", nargs="+", type=Path,
                       help="SUBJECTS_DIR, or tables of aparcstats2table and asegstats2table")  # fmt: skip
    table.add_argument("--surface", default="aparc.a2009s", help="parcellation, e.g. aparc.DKTatlas.mapped")
    table.add_argument("--volumes", default="aseg", help="segmentation (aseg, aseg+DKT), or none")
    _finish(table, _table)

    parcels = inner.add_parser("parcels", help="labels on fsaverage5 → tables of parcels and of their edges")
    parcels.add_argument("--labels", nargs=2, type=Path, required=True, metavar=("LEFT", "RIGHT"))
    parcels.add_argument("--networks", nargs=2, type=Path, required=True, metavar=("LEFT", "RIGHT"))
    _finish(parcels, _parcels)

    lesions = inner.add_parser("lesions", help="lesion masks and parcels of people's own images → lesioned shares")
    lesions.add_argument("images", type=Path, help="table: participant_id (, session), mask, labels (files, NIfTI)")
    lesions.add_argument("--label-table", type=Path, required=True, help="table: index, name of the parcels")
    _finish(lesions, _lesions)


def _add_models(inner: Any) -> None:
    """Steps that train a model, apply it, or say how far off it is."""
    train = inner.add_parser("train", help="train a model on healthy adults")
    _add_training(train)
    train.add_argument("--data", required=True, help="what it is trained on, for the model's card")
    train.add_argument("--licence", required=True, help="terms of those data, for the card")
    train.add_argument("--skip-evaluation", action="store_true", help="no errors of people left out on the card")
    _finish(train, _train)

    apply = inner.add_parser("apply", help="ages of people by a trained model")
    apply.add_argument("model", type=Path, help="model.safetensors, its card model.json beside it")
    apply.add_argument("table", type=Path, help="table of parcels (TSV, CSV)")
    apply.add_argument("--people", type=Path, help="participants.tsv with age, sex, site")
    apply.add_argument("--controls", type=Path, help="table of healthy controls of the same sites (10 each, or more)")
    apply.add_argument("--lesions", type=Path, help="table of the lesioned share of each parcel")
    _finish(apply, _apply)

    evaluate = inner.add_parser("evaluate", help="errors on people and on sites left out")
    _add_training(evaluate)
    evaluate.add_argument("--scheme", choices=("random", "sites"), default="sites")
    evaluate.add_argument("--controls", nargs="+", type=whole(0), default=[0], help="local controls of a site left out")
    _finish(evaluate, _evaluate)

    simulate = inner.add_parser("simulate", help="a stroke cohort with known truth, made of a table of healthy adults")
    simulate.add_argument("table", type=Path, help="table of parcels of healthy adults (TSV, CSV)")
    simulate.add_argument("--parcels", type=Path, required=True, help="table: name, hemisphere, network")
    simulate.add_argument("--edges", type=Path, required=True, help="table: one, other")
    simulate.add_argument("--data", required=True, help="what the table is, for the model's card")
    simulate.add_argument("--licence", required=True, help="terms of the table, for the card")
    simulate.add_argument("--surface", nargs=2, type=Path, default=(), metavar=("LEFT", "RIGHT"),
                          help="labels of the parcels on fsaverage5, for pictures")  # fmt: skip
    simulate.add_argument("--seed", type=seed, default=1)
    _finish(simulate, _simulate, folder=True)


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, help="table of parcels of healthy adults (TSV, CSV)")
    parser.add_argument("--parcels", type=Path, required=True, help="table: name, hemisphere, network (, measure)")
    parser.add_argument("--edges", type=Path, help="table: one, other (graph network only)")
    parser.add_argument("--people", type=Path, help="participants.tsv with age, sex, site")
    parser.add_argument("--method", choices=("gaussian_process", "ridge", "gcn"), default="gaussian_process")
    parser.add_argument("--covariates", nargs="*", default=["sex"])
    parser.add_argument("--harmonise", choices=("none", "location", "combat"), default="none")
    parser.add_argument("--whole-graph", action="store_true", help="graph network: lets regions leak into one another")
    parser.add_argument("--seed", type=seed, default=1)


def _finish(
    parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace], None], *, folder: bool = False
) -> None:
    parser.add_argument("--output", type=Path, required=True)
    parser.set_defaults(command=_told(body, folder=folder))


def _told(body: Callable[[argparse.Namespace], None], *, folder: bool) -> Callable[[argparse.Namespace], int]:
    """Say what is wrong without a traceback; where nothing can be written, before any work."""

    def command(options: argparse.Namespace) -> int:
        try:
            _refuse_place(options.output, folder=folder)
            _refuse_inputs(options)
            body(options)
        except BrainageProblem as problem:
            print("\n".join(f"✗ {one}" for one in problem.problems), file=sys.stderr)
            return EXIT_PROBLEMS
        except OSError as error:
            print(f"✗ {error}", file=sys.stderr)
            return EXIT_PROBLEMS
        print(f"wrote {options.output}")
        return 0

    return command


def _refuse_place(output: Path, *, folder: bool) -> None:
    """Raise unless a file (or folder) can be written there."""
    if output.exists() and output.is_dir() != folder:
        raise BrainageProblem(f"{output}: it is a {'file' if folder else 'folder'}; name another --output")
    place = next(one for one in (output.absolute(), *output.absolute().parents) if one.exists())
    parent = place if place.is_dir() else place.parent
    if place.is_file() and place != output.absolute():
        raise BrainageProblem(f"{output}: {place} is a file, no folder; name another --output")
    if not os.access(parent, os.W_OK):
        raise BrainageProblem(f"{output}: nothing can be written in {parent}; name another --output")


def _refuse_inputs(options: argparse.Namespace) -> None:
    """Raise where the result would replace what it is made from."""
    place = options.output.resolve()
    read = [value for key, value in vars(options).items() if key != "output" and isinstance(value, Path)]
    if any(one.resolve() == place for one in read):
        raise BrainageProblem(f"{options.output}: it is an input, and would be replaced; name another --output")


def _table(options: argparse.Namespace) -> None:
    from plastimap.brainage.freesurfer import read_stats_folder, read_stats_tables
    from plastimap.writing import write_table

    given: list[Path] = options.subjects
    if len(given) == 1 and not given[0].is_file():
        volumes = None if options.volumes == "none" else options.volumes
        found = read_stats_folder(given[0], surface=options.surface, volumes=volumes)
    else:
        found = read_stats_tables(given)
    write_table(options.output, found)


def _parcels(options: argparse.Namespace) -> None:
    from plastimap.brainage.surface import parcel_tables
    from plastimap.writing import write_table

    sides = ("L", "R")
    nodes, edges, _ = parcel_tables(
        dict(zip(sides, options.labels, strict=True)), dict(zip(sides, options.networks, strict=True))
    )
    write_table(options.output, nodes)
    write_table(options.output.with_name(f"{options.output.stem}_edges{options.output.suffix}"), edges)


def _lesions(options: argparse.Namespace) -> None:
    import pandas as pd

    from plastimap.brainage.tables import read_text_table
    from plastimap.brainage.volumes import person_lesion
    from plastimap.images import ImageProblem, read_volume
    from plastimap.writing import write_table

    images, labels = read_text_table(options.images), read_text_table(options.label_table)
    missing = [name for name in ("participant_id", "mask", "labels") if name not in images]
    if missing:
        raise BrainageProblem(f"{options.images}: no column {', '.join(missing)}")
    rows, problems = list[dict[str, Any]](), list[str]()
    for row in images.to_dict("records"):
        mask, parcels = (options.images.parent / str(row[name]) for name in ("mask", "labels"))
        scan = {name: row[name] for name in ("participant_id", "session") if name in row}
        try:
            rows.append({**scan, **person_lesion(read_volume(mask), read_volume(parcels, dtype="int32"), labels)})
        except (BrainageProblem, ImageProblem, OSError) as problem:
            problems.append(f"{row['participant_id']}: {problem}")
    if problems:
        raise BrainageProblem(problems)
    write_table(options.output, pd.DataFrame(rows))


def _train(options: argparse.Namespace) -> None:
    from plastimap.brainage.storage import refuse_other_suffix
    from plastimap.brainage.training import train_and_save

    refuse_other_suffix(options.output)
    table, settings = _given(options)
    notes = train_and_save(options.output, table, settings, data=options.data, licence=options.licence,
                           evaluate=not options.skip_evaluation)  # fmt: skip
    print("\n".join(notes))


def _apply(options: argparse.Namespace) -> None:
    from plastimap.brainage.storage import load_model
    from plastimap.brainage.tables import read_parcel_table, read_text_table
    from plastimap.brainage.training import judged
    from plastimap.writing import write_table

    model = load_model(options.model)
    table = read_parcel_table(options.table, model.parcels, people=options.people)
    controls = read_parcel_table(options.controls, model.parcels) if options.controls else None
    lesions = read_text_table(options.lesions) if options.lesions else None
    result = judged(model, table, controls=controls, lesions=lesions)
    for note in result.notes:
        print(note, file=sys.stderr)
    write_table(options.output, result.table)


def _simulate(options: argparse.Namespace) -> None:
    from plastimap.brainage.demo import write_cohort
    from plastimap.brainage.tables import read_parcel_table

    table = read_parcel_table(options.table, read_parcels(options.parcels, options.edges))
    write_cohort(options.output, table, data=options.data, licence=options.licence, seed=options.seed,
                 surface=options.surface)  # fmt: skip


def _evaluate(options: argparse.Namespace) -> None:
    from plastimap.brainage.evaluate import CORRECTED, cross_validate, scores
    from plastimap.writing import write_table

    table, settings = _given(options)
    found = cross_validate(table, settings, options.scheme, controls=options.controls, seed=options.seed)
    if max(options.controls):
        found = found[found["compared"]]
        print(f"{found['participant_id'].nunique()} people who are no control, however many are drawn: all numbers of "
              "controls are told by them", file=sys.stderr)  # fmt: skip
    print(f"Note: {CORRECTED}.", file=sys.stderr)
    write_table(options.output, scores(found))


def _given(options: argparse.Namespace) -> tuple[ParcelTable, Settings]:
    from plastimap.brainage.model import Settings
    from plastimap.brainage.tables import read_parcel_table

    table = read_parcel_table(options.table, read_parcels(options.parcels, options.edges), people=options.people)
    settings = Settings(
        method=options.method, covariates=tuple(options.covariates), harmonise=options.harmonise,
        whole_graph=options.whole_graph, seed=options.seed,
    )  # fmt: skip
    return table, settings


def read_parcels(nodes: Path, edges: Path | None = None) -> Parcels:
    """Read the set of parcels from its tables."""
    from plastimap.brainage.parcels import as_parcels
    from plastimap.brainage.tables import read_text_table

    return as_parcels(read_text_table(nodes), read_text_table(edges) if edges else None)
