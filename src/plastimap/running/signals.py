"""A program that is run to its end: what ends this process by a signal is passed on to it, and waited for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from plastimap.process import end_with_parent

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which people and queues end a run."""


def exit_code(status: int) -> int:
    """The exit code that a shell gives to a process, whose status is negative where a signal ended it."""
    return status if status >= 0 else 128 - status


def was_stopped(code: int) -> bool:
    """Whether an exit code is that of something that was ended from outside, by whichever signal."""
    return code > 128


def run_to_the_end(command: Sequence[str], *, environment: Mapping[str, str], keep: Sequence[int] = ()) -> int:
    """Run a program; the exit code, or that of the signal which ended it or this process.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
    keep : sequence of int
        Descriptors that it gets: a lock on them lasts as long as the program.

    Notes
    -----
    The program has a group of processes of its own, so that a signal from the terminal reaches it once, by us. It is
    killed when this process is (Linux).
    """
    children: list[subprocess.Popen[bytes]] = []
    with _passing_on(children) as heard:
        child = subprocess.Popen(
            command, env=environment, pass_fds=keep, process_group=0, preexec_fn=end_with_parent
        )  # fmt: skip
        children.append(child)
        for number in tuple(heard):
            _send(child, number)
        status = child.wait()
    return exit_code(-heard[0]) if heard else exit_code(status)


@contextmanager
def _passing_on(children: Sequence[subprocess.Popen[bytes]]) -> Generator[list[int]]:
    """Pass signals on to the children that there will be, and collect those that end a run."""
    heard: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        heard.append(number)
        for child in children:
            _send(child, number)

    def pause(number: int, _: FrameType | None) -> None:
        for child in children:
            _send(child, signal.SIGSTOP if number == signal.SIGTSTP else number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    handlers = {**dict.fromkeys(ENDING, end), signal.SIGTSTP: pause, signal.SIGCONT: pause}
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        # What nohup, or a shell for its background, has this process ignore it goes on to ignore.
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    if child.poll() is not None:
        return
    with suppress(ProcessLookupError):
        # On SIGTERM Snakemake lets its jobs finish; whoever wants them to end as well sends SIGINT.
        (os.kill if number == signal.SIGTERM else os.killpg)(child.pid, number)
