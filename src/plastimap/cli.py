"""The command line: thin. It checks, says what it found, and hands over to Snakemake."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from plastimap import __version__
from plastimap.arguments import count, seed
from plastimap.bids.plan import Study
from plastimap.bids.problems import FILES_SHOWN, Problem, errors, format_problems, unique_problems
from plastimap.brainage.commands import add_commands as add_brainage
from plastimap.check import check_study
from plastimap.config import load_config, usable_config
from plastimap.paths import Paths
from plastimap.planning.available import STAGES
from plastimap.power import add_commands as add_power
from plastimap.problems import EXIT_PROBLEMS
from plastimap.running.chunks import CHUNK_SCANS
from plastimap.running.commands import add_commands as add_running
from plastimap.running.launch import Execution, launch
from plastimap.running.planned import keep_aside
from plastimap.running.resume import place_problems
from plastimap.running.room import room_line
from plastimap.shipped import workflow_file
from plastimap.writing import write_text

DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO, errno.EISDIR,
    errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
"""What a disk says that is full, read-only, not ours, broken, or has a folder where a file is to be written: a matter
of the place, not of this program."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f"{error.filename or 'the disk'}: {error.strerror}; make room or give another folder", file=sys.stderr)
        return EXIT_PROBLEMS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plastimap", description="Where a brain changed over time, from quantitative MRI, in one command."
    )
    parser.add_argument("--version", action="version", version=f"plastimap {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="write a commented study configuration to edit")
    init.add_argument("file", nargs="?", type=Path, default=Path("study.yaml"))
    init.set_defaults(command=_init)

    check = commands.add_parser("check", help="index a dataset and list every problem at once")
    check.add_argument("bids_dir", type=Path, nargs="?")
    check.add_argument("output_dir", type=Path, nargs="?")
    _add_selection(check)
    check.set_defaults(command=_check)

    run = commands.add_parser("run", help="process a study (BIDS App)")
    run.add_argument("bids_dir", type=Path)
    run.add_argument("output_dir", type=Path)
    run.add_argument("level", choices=("participant", "group"), help="group includes what it needs of participant")
    _add_selection(run)
    _add_execution(run)
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="simulate a study with known truth, run it, compare planted with found")
    demo.add_argument("output_dir", type=Path, nargs="?", default=Path("demo"))
    demo.add_argument("--seed", type=seed, default=1)
    _add_execution(demo)
    demo.set_defaults(command=_demo)

    simulate = commands.add_parser("simulate", help="write a simulated BIDS study with known truth")
    simulate.add_argument("output_dir", type=Path)
    simulate.add_argument("--config", type=Path, help="simulation settings (YAML); the demo's when not given")
    simulate.add_argument("--seed", type=seed)
    simulate.set_defaults(command=_simulate)

    add_power(commands)
    add_running(commands)
    add_brainage(commands)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    layers = "study configuration (YAML) over the defaults; give it again for a further one over that"
    parser.add_argument("--config", type=Path, action="append", default=[], help=layers)
    parser.add_argument("--participant-label", nargs="+", metavar="LABEL", help="people, without sub-")
    parser.add_argument("--session-label", nargs="+", metavar="LABEL", help="sessions, without ses-")
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="only these stages, and what they need")
    parser.add_argument("--derivatives", nargs="+", type=Path, metavar="DIR", help="folders with maps made elsewhere")
    parser.add_argument("--images", type=Path, metavar="TSV", help="table of images made elsewhere")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cores", type=_cores, default="all", help="processors to use here (default: all)")
    parser.add_argument("--profile", type=_profile, help="default, slurm, or a Snakemake profile's folder")
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would be done, and why")
    parser.add_argument("--scratch", type=_folder, metavar="DIR", help="fast local folder for temporary files of jobs")
    help_text = "larger studies run in chunks of people of about so many scans (default: %(default)s)"
    parser.add_argument("--chunk-scans", type=count, default=CHUNK_SCANS, metavar="N", help=help_text)


# --- what options may be: Snakemake would tell it late, in words of its own, or not at all ---------------------------
def _cores(text: str) -> str:
    return text if text == "all" else str(count(text))


def _folder(text: str) -> Path:
    if not (Path(text).is_dir() and os.access(text, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{text!r} is no folder that can be written to")
    return Path(text)


def _profile(text: str) -> str:
    if not any((folder / "config.yaml").is_file() for folder in (workflow_file("profiles") / text, Path(text))):
        raise argparse.ArgumentTypeError(f"{text!r} is no shipped profile, and no folder with a config.yaml")
    return text


# --- commands -------------------------------------------------------------------------------------------------------
def _init(options: argparse.Namespace) -> int:
    if options.file.exists():
        print(f"{options.file} is there already; nothing written", file=sys.stderr)
        return EXIT_PROBLEMS
    write_text(options.file, workflow_file("config/config.yaml").read_text(encoding="utf-8"))
    print(f"wrote {options.file}: edit it, then  plastimap check --config {options.file}")
    return 0


def _check(options: argparse.Namespace) -> int:
    checked = _checked(options, full=True)
    if checked is None:
        return EXIT_PROBLEMS
    study, problems = checked
    _tell(study, keep_aside(study, problems))
    return 0


def _run(options: argparse.Namespace) -> int:
    checked = _checked(options, full=False)
    if checked is None:
        return EXIT_PROBLEMS
    return launch(*checked, _execution(options, "all" if options.level == "group" else "participant"))


def _execution(options: argparse.Namespace, target: str) -> Execution:
    return Execution(target, options.cores, options.profile, options.dry_run, options.scratch, options.chunk_scans)


def _simulate(options: argparse.Namespace) -> int:
    problem = _simulated(options.output_dir, _simulation_spec(options.config, options.seed))
    if not problem:
        print(f"simulated study in {options.output_dir}, its truth in {options.output_dir / 'truth'}")
    return problem


def _demo(options: argparse.Namespace) -> int:
    raw, derivatives = options.output_dir / "bids", options.output_dir / "derivatives"
    problem = _simulated(raw, _simulation_spec(None, options.seed))
    if problem:
        return problem
    study = {
        "bids_dir": str(raw.resolve()),
        "output_dir": str(derivatives.resolve()),
        "truth": str((raw / "truth").resolve()),
    }
    prepared = _prepared([workflow_file("config/examples/demo.yaml"), study], full=False)
    if prepared is None:
        return EXIT_PROBLEMS
    status = launch(*prepared, _execution(options, "all"), stay=True)
    if status == 0 and not options.dry_run:
        print((derivatives / Paths.found_text).read_text(encoding="utf-8"))
        print(f"report: {derivatives / Paths.report}")
    return status


# --- what the commands share ----------------------------------------------------------------------------------------
def _checked(options: argparse.Namespace, *, full: bool) -> tuple[Study, list[Problem]] | None:
    """The study that the options name, and what was noticed; None when something stands in the way."""
    layers = [*options.config, _overrides(options)]
    if options.bids_dir:
        # Where nothing names an output folder, BIDS has a place for it.
        layers.insert(0, {"output_dir": _place(options.bids_dir / "derivatives" / "plastimap")})
    return _prepared(layers, full=full)


def _prepared(layers: Sequence[Path | Mapping[str, Any]], *, full: bool) -> tuple[Study, list[Problem]] | None:
    """Check configuration, dataset and place together, and print everything that is wrong. Nothing is written yet."""
    config, problems = load_config(layers)
    manifest, problems = check_study(usable_config(config), config_problems=problems)
    if not errors(problems):
        problems = unique_problems(problems, place_problems(config["output_dir"]))
    print(format_problems(problems, files_shown=None if full else FILES_SHOWN), file=sys.stderr)
    return None if errors(problems) else (Study(config, manifest), problems)


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says over the configuration; paths count from here, not from the config's folder."""
    found: dict[str, Any] = {}
    if options.bids_dir:
        found["bids_dir"] = _place(options.bids_dir)
    if options.output_dir:
        found["output_dir"] = _place(options.output_dir)
    if options.participant_label:
        found["participants"] = [label.removeprefix("sub-") for label in options.participant_label]
    if options.session_label:
        found["sessions"] = [label.removeprefix("ses-") for label in options.session_label]
    if options.stages:
        found["stages"] = options.stages
    if options.derivatives:
        found["derivatives"] = [_place(folder) for folder in options.derivatives]
    if options.images:
        found["images"] = _place(options.images)
    return found


def _place(path: Path) -> str:
    """A path without links. Unlike `Path.resolve` this takes a link to itself as it is: whoever opens it tells."""
    return os.path.realpath(path)


def _tell(study: Study, folder: str) -> None:
    print(f"people: {len(study.subjects)}, scans: {len(study.scans)}, structural image: {study.contrast}")
    for stage in STAGES:
        print(f"  {stage:<10} {'left out: ' + study.left_out[stage] if stage in study.left_out else 'yes'}")
    print(room_line(study))
    print(f"manifest: {Path(study.config['output_dir'], folder, Paths.manifest)}")


def _simulation_spec(file: Path | None, seed: int | None) -> dict[str, Any]:
    text = (file or workflow_file("config/examples/demo-simulation.yaml")).read_text(encoding="utf-8")
    return {**yaml.safe_load(text), **({"seed": seed} if seed is not None else {})}


def _simulated(folder: Path, settings: Mapping[str, Any]) -> int:
    """Simulate a study into `folder` unless it is there; the exit code."""
    from plastimap.simulate.spec import SimulationSpec, SpecProblem
    from plastimap.simulate.study import StudyProblem, simulate_study

    try:
        simulate_study(folder, SimulationSpec.from_dict(settings), workers=os.cpu_count() or 1)
    except (SpecProblem, StudyProblem) as problem:
        print(problem, file=sys.stderr)
        return EXIT_PROBLEMS
    return 0


if __name__ == "__main__":
    sys.exit(main())
