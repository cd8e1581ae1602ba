"""Snakemake as ``plastimap run`` calls it: what a signal has stopped ends with the code that a shell gives it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from snakemake.cli import main as snakemake

from plastimap.running.signals import ENDING, exit_code


def main() -> None:
    """Run Snakemake's command line, and end with its exit code, or with that of the signal which stopped it.

    Snakemake takes the handlers of signals for itself, and ends with 1 whatever the reason. Python tells the numbers
    of signals to a pipe besides.
    """
    heard, told = os.pipe()
    for end in (heard, told):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    code: str | int | None = 1
    try:
        snakemake()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        # While it was busy with something else than its jobs.
        pass
    numbers = b""
    with suppress(BlockingIOError):
        numbers = os.read(heard, 4096)
    ending = [number for number in numbers if number in ENDING]
    raise SystemExit(exit_code(-ending[0]) if ending and code else code)


if __name__ == "__main__":
    main()
