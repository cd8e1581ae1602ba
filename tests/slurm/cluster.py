"""A SLURM of one machine, on loopback: Debian's packages, started by process id and shut down by process id."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
CONFIG = Path("/etc/slurm/slurm.conf")
"""Where slurmd and the commands look; no option changes it for all of them."""

UP_S = 60


def why_not() -> str:
    """Why there can be no SLURM here; empty when there can."""
    if os.geteuid() != 0:
        return "slurmctld and slurmd need root"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    if CONFIG.exists():
        return f"{CONFIG} is there already: this machine has a SLURM of its own"
    return ""


def configuration(state: Path, cores: int, memory_mb: int) -> str:
    host = os.uname().nodename
    return f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/d
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobCompType=jobcomp/filetxt
JobCompLoc={state}/jobs.log
MpiDefault=none
ReturnToService=2
MinJobAge=300
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(state: Path, *, cores: int = 2, memory_mb: int = 16000) -> Generator[Path]:
    """A running SLURM; gives the file where it accounts for finished jobs."""
    for name in ("ctld", "d"):
        (state / name).mkdir(parents=True)
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    CONFIG.write_text(configuration(state, cores, memory_mb))
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_munge(state))
        started += [_start([name, "-D"], state / f"{name}.out") for name in ("slurmctld", "slurmd")]
        _wait_until_up(state)
        yield state / "jobs.log"
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        CONFIG.unlink()


def _munge(state: Path) -> subprocess.Popen[bytes]:
    if not Path("/etc/munge/munge.key").exists():
        subprocess.run(["mungekey", "--create"], check=True)
    for folder in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, "munge", "munge")
    shutil.chown("/etc/munge/munge.key", "munge", "munge")
    return _start(["runuser", "-u", "munge", "--", "munged", "--foreground"], state / "munge.out")


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)


def _wait_until_up(state: Path) -> None:
    end = time.monotonic() + UP_S
    while time.monotonic() < end:
        asked = subprocess.run(["sinfo", "--noheader", "--format", "%T"], capture_output=True, text=True, check=False)
        if asked.stdout.strip() in ("idle", "mixed", "allocated"):
            return
        time.sleep(0.5)
    said = "\n".join((state / name).read_text() for name in ("slurmctld.out", "slurmd.out"))
    raise TimeoutError(f"SLURM does not come up:\n{said[-3000:]}")


def queue() -> dict[str, str]:
    """Jobs in the queue: number → name."""
    asked = subprocess.run(["squeue", "--noheader", "--format", "%i %j"], capture_output=True, text=True, check=True)
    return dict(line.split(maxsplit=1) for line in asked.stdout.splitlines())
