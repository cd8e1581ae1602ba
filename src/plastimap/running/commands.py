"""``plastimap status`` and ``plastimap clean``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from plastimap.problems import EXIT_PROBLEMS
from plastimap.running.cleaning import clean
from plastimap.running.lock import Busy, hold
from plastimap.running.status import format_status, read_status


def add_commands(commands: Any) -> None:
    """Add the commands to the parser's subparsers."""
    status = commands.add_parser("status", help="how far a study is: done, failed with log, running, left")
    status.add_argument("output_dir", type=Path)
    status.add_argument("--verify", action="store_true", help="compare the checksum of every file (reads them all)")
    status.set_defaults(command=_status)

    tidy = commands.add_parser("clean", help="remove what can be made again: intermediates, strays of killed jobs")
    tidy.add_argument("output_dir", type=Path)
    tidy.set_defaults(command=_clean)


def _status(options: argparse.Namespace) -> int:
    if not options.output_dir.is_dir():
        print(f"{options.output_dir}: no such folder", file=sys.stderr)
        return EXIT_PROBLEMS
    status = read_status(options.output_dir, verify=options.verify)
    print(format_status(status, options.output_dir))
    return 1 if status.is_bad else 0


def _clean(options: argparse.Namespace) -> int:
    # A folder that holds no study of ours is none of our business.
    if not (options.output_dir / "plastimap.yaml").is_file():
        print(f"{options.output_dir}: no output folder of plastimap (it has no plastimap.yaml)", file=sys.stderr)
        return EXIT_PROBLEMS
    try:
        lock = hold(options.output_dir)
    except Busy as busy:
        print(busy, file=sys.stderr)
        return EXIT_PROBLEMS
    freed = clean(options.output_dir)
    lock.restore()
    print(f"{freed / 1e6:.1f} MB freed in {options.output_dir}")
    return 0
