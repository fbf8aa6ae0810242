"""Runs a contestant's commands and measures them."""

import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from statistics import median

from contestants import Contestant, Place, base_environment
from support.process import signal_group

GNU_TIME = "/usr/bin/time"


@dataclass(frozen=True)
class Sample:
    """One run: wall clock, CPU and memory of the client's side, not of the database."""

    seconds: float
    cpu_seconds: float
    # The largest process of all; commands run one after the other.
    peak_rss_mib: float


def run_command(command: list[str], env: dict[str, str]) -> Sample:
    """Run one command under GNU time, whose figures cover the children that it waited for.

    Asking the kernel from here would do for the CPU, but not for the memory: a process
    starts with the peak of the one that forked it, and Python's is larger than a task's.
    """
    with tempfile.NamedTemporaryFile("r") as usage, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [GNU_TIME, "--quiet", "--format=%U %S %M", f"--output={usage.name}", *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            exit_code = process.wait()
        finally:
            signal_group(process, signal.SIGKILL)
        seconds = time.perf_counter() - started
        if exit_code != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-3000:]
            raise SystemExit(f"{' '.join(command)}\nended with exit code {exit_code}\n{said}")
        user_seconds, system_seconds, peak_kib = map(float, usage.read().split())
    return Sample(seconds, user_seconds + system_seconds, peak_kib / 1024)


def run_once(contestant: Contestant, place: Place) -> Sample:
    """Run all commands of a contestant, one after the other."""
    env = base_environment() | dict(contestant.env)
    parts = [run_command(command, env) for command in contestant.commands(place)]
    return Sample(
        seconds=sum(part.seconds for part in parts),
        cpu_seconds=sum(part.cpu_seconds for part in parts),
        peak_rss_mib=max(part.peak_rss_mib for part in parts),
    )


def medians(samples: list[Sample]) -> Sample:
    """Return the median of each measure."""
    return Sample(
        seconds=median(sample.seconds for sample in samples),
        cpu_seconds=median(sample.cpu_seconds for sample in samples),
        peak_rss_mib=median(sample.peak_rss_mib for sample in samples),
    )
