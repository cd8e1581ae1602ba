"""Progress of a study on the terminal: how many of how many, what, for whom, how much longer.

Snakemake finds this package by its name; `plastimap run` asks for it with
``--logger plastimap``.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from plastimap.jobs import MARK, read_failure
from plastimap.process import process_from, this_process
from plastimap.running.handover import FOLDER_VARIABLE
from plastimap.running.lock import note, read_run
from plastimap.running.records import read_record

LINE_EVERY_S = 5.0
"""Without a terminal, seconds between lines, so that a log file stays readable."""

WIDTH = 100

KILLED = "it was ended from outside: killed, out of memory, or out of time"
"""Why a job failed that could not say so itself: its log ends with its start, or is empty, or the next try has it."""

RESTART = re.compile(r"Trying to restart job (\d+)")

OF_A_SCRIPT = re.compile(r"CalledProcessError in file .*\n.*\.snakemake/scripts/")
"""What Snakemake says when a script fails; who failed, and why, follows as an event of its own."""

AT_THE_END = ("At least one job did not complete successfully.", "Look above for error messages")
"""What Snakemake says after failures."""

STOPPING = (
    "Terminating processes on user request", "Will exit after finishing currently running jobs",
    "Cancelling snakemake on user request",
)  # fmt: skip
"""What Snakemake says when a signal ends it."""

STOPPED = "stopped before the end; what is done is kept, and the same command goes on where it stopped"


class LogHandler(LogHandlerBase):
    """One moving line on a terminal, a line every few seconds elsewhere; problems in full."""

    @property
    def writes_to_stream(self) -> bool:
        """Progress is for the terminal."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake keeps its own log file."""
        return False

    @property
    def has_filter(self) -> bool:
        """What to show is decided in :meth:`emit`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """So is how to show it."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The graph of rules is not shown."""
        return False

    def __post_init__(self) -> None:
        self._jobs: dict[int, str] = {}
        self._started = time.monotonic()
        self._last_line = 0.0
        self._current = ""
        self._failed: dict[int, str] = {}
        self._for_good: set[int] = set()
        self._held: list[str] = []
        self._stopped = self._closed = False
        # Snakemake goes into the output folder before it plans, and leaves it before it closes its log.
        folder = os.environ.get(FOLDER_VARIABLE)
        self._out = Path(folder) if folder else Path.cwd()
        self._moving = sys.stderr.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a person wants to see of a record."""
        event, told = getattr(record, "event", None), record.__dict__
        text = record.getMessage()
        if text.startswith(STOPPING):
            self._stop()
        elif event == LogEvent.JOB_ERROR:
            self._job_error(told)
        elif event == LogEvent.ERROR or (event is None and _worth_saying(record)):
            self._message(text)
        else:
            self._release()
            self._event(event, told)

    def _event(self, event: LogEvent | None, told: dict[str, Any]) -> None:
        """What goes well."""
        if event == LogEvent.JOB_INFO:
            self._jobs[told["jobid"]] = job_name(told["rule_name"], told["wildcards"])
        elif event == LogEvent.JOB_FINISHED:
            self._current = self._jobs.pop(told["job_id"], self._current)
            self._failed.pop(told["job_id"], None)
        elif event == LogEvent.PROGRESS:
            self._progress(told["done"], told["total"])
        elif event == LogEvent.RUN_INFO:
            if FOLDER_VARIABLE not in os.environ:
                self._out = Path.cwd()
            note(self._out, jobs=dict(told["stats"]), planned=time.time())
            self._say(f"{told['stats'].get('total', 0)} jobs to do")

    def _job_error(self, told: dict[str, Any]) -> None:
        """A job counts once, however often it is tried; who stops a run does not want to hear of its jobs."""
        number, name = told["jobid"], self._jobs.get(told["jobid"]) or str(told["rule_name"])
        text = job_failure(name, told, self._out)
        if self._stopped or self._failed.get(number) == text:
            return
        self._failed[number] = text
        failures = [read_failure(self._out, str(log)) for log in told.get("log", [])]
        if any(failure and failure.for_good for failure in failures):
            self._for_good.add(number)
        if KILLED in text:
            # Maybe the run was stopped, and its jobs with it: the next record says so.
            self._held.append(text)
        else:
            self._say(text)

    def _message(self, text: str) -> None:
        """What Snakemake says in words of its own."""
        again = RESTART.match(text)
        if again and not self._stopped and int(again[1]) not in self._for_good:
            self._held.append(f"Trying to restart {self._jobs.get(int(again[1]), f'job {again[1]}')}")
        elif not (again or OF_A_SCRIPT.search(text) or (text.endswith(AT_THE_END) and (self._failed or self._stopped))):
            self._release()
            self._say(text)

    def _release(self) -> None:
        """Say what was held back: the run goes on."""
        held, self._held = self._held, []
        for text in held:
            self._say(text)

    def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._failed = {number: text for number, text in self._failed.items() if text not in self._held}
            self._held.clear()
            self._say("stopping: waiting for the jobs that are at work")

    def close(self) -> None:
        """Say how to go on after failures, and that the run ended in order. Snakemake closes its log twice."""
        if self._closed:
            return
        self._closed = True
        self._release()
        if self._failed:
            self._say(resume_hint(len(self._failed), self._out))
        if self._stopped:
            self._say(STOPPED)
        # Where one run is several calls, whoever started them knows when it ends.
        elif process_from(read_run(self._out)) == this_process():
            note(self._out, ended=time.time())
        super().close()

    def _progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        text = progress_line(done, total, self._current, now - self._started)
        if self._moving:
            sys.stderr.write("\r" + text.ljust(WIDTH)[:WIDTH] + ("\n" if done == total else ""))
            sys.stderr.flush()
        elif now - self._last_line > LINE_EVERY_S or done == total:
            self._last_line = now
            self._say(text)

    def _say(self, text: str) -> None:
        if not text or text == "None":
            return
        sys.stderr.write(("\r" + " " * WIDTH + "\r" if self._moving else "") + text + "\n")
        sys.stderr.flush()


def job_name(rule: str, wildcards: dict[str, Any]) -> str:
    """``to_target_all`` with its wildcards → ``to_target sub-01 ses-02``."""
    step = rule.removesuffix("_all")
    about = wildcards.get("scan") or wildcards.get("subject") or " ".join(map(str, wildcards.values()))
    prefix = "sub-" if "scan" not in wildcards and "subject" in wildcards else ""
    return f"{step} {prefix}{str(about).replace('_ses-', ' ses-')}".strip()


def progress_line(done: int, total: int, current: str, elapsed_s: float) -> str:
    """How many of how many, what was done last, and a guess of the time left."""
    left = elapsed_s / done * (total - done) if done else 0.0
    rest = f"about {_duration(left)} left" if done < total else f"done in {_duration(elapsed_s)}"
    return f"[{done:>{len(str(total))}}/{total}] {current} · {rest}"


def job_failure(name: str, record: dict[str, Any], out: Path) -> str:
    """Which job failed, why (the last line of its log), and where the log is, in the output folder `out`."""
    logs = [str(log) for log in record.get("log", [])]
    # Snakemake removes the log of a job that it tries again, maybe before this is said.
    untold = KILLED if logs else "it has no log"
    told = (failure.reason if (failure := read_failure(out, log)) else _last_line(out / log) for log in logs)
    reason = next(filter(None, told), untold)
    there = [log for log in logs if (out / log).exists()]
    return f"FAILED {name}: {reason}" + (f"\n       log: {', '.join(there)}" if there else "")


def resume_hint(failures: int, out: Path) -> str:
    """What to do after failures."""
    count = "one failure" if failures == 1 else f"{failures} failures"
    return (
        f"{count}; what is done is kept. Read the logs above (or: plastimap status {out}), "
        "remove the cause, and give the same command again: it goes on where it stopped"
    )


def _last_line(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    record = read_record(log, log.name)
    if record and record.reason:
        return record.reason
    told = [line for line in lines if not line.startswith(MARK)]
    stopped = lines and lines[-1].startswith(f"{MARK}started")
    return KILLED if stopped or told[-1:] == ["KeyboardInterrupt"] else "".join(told[-1:])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _worth_saying(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.getMessage().startswith(
        ("Nothing to be done", "Trying to restart")
    )
