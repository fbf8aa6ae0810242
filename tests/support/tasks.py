"""Runs the project's task binaries as an operator would: flags, environment, exit code."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from support.process import signal_group, tied, wait_with_usage
from support.services import tools_folder

# Nothing else is inherited, so a developer's AWS_* or PG* variables can't decide a test.
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "LLVM_PROFILE_FILE")
DEFAULT_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Result:
    """What one run of a task left behind."""

    exit_code: int
    # The one line of JSON on stdout; empty when there was none.
    result: dict[str, Any]
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    peak_rss_mib: float


class Task(subprocess.Popen):
    """A task that is running; its output goes to files, so that no full pipe can stall it."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start the task in a process group of its own."""
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - read after the task's end
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self.started = monotonic()
        self.name = Path(command[0]).name
        super().__init__(
            tied(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,
        )

    def stderr_so_far(self) -> str:
        """Return what the task has logged until now."""
        size = os.fstat(self._err.fileno()).st_size
        return os.pread(self._err.fileno(), size, 0).decode(errors="replace")

    def finish(self, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> Result:
        """Wait for the task's end and collect what it said; kill it when it takes too long."""
        try:
            ended = wait_with_usage(self, timeout)
        except subprocess.TimeoutExpired:
            self.kill_now()
            raise AssertionError(f"{self.name} still ran after {timeout} s\n{self.stderr_so_far()}") from None
        seconds = monotonic() - self.started
        size = os.fstat(self._out.fileno()).st_size
        stdout = os.pread(self._out.fileno(), size, 0).decode(errors="replace")
        return Result(
            exit_code=ended.exit_code,
            result=parse_result(stdout),
            stdout=stdout,
            stderr=self.stderr_so_far(),
            seconds=seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_rss_mib=ended.peak_rss_mib,
        )

    def kill_now(self) -> None:
        """Do what `kill -9` does, to the task and its children."""
        signal_group(self, signal.SIGKILL)
        self.wait()


def parse_result(stdout: str) -> dict[str, Any]:
    """Return the JSON object that is the only line of stdout, or an empty one."""
    lines = stdout.splitlines()
    if len(lines) != 1 or not lines[0].startswith("{"):
        return {}
    return json.loads(lines[0])


def binary(task: str, *, failpoints: bool = False) -> Path:
    """Find a task's binary; tests never build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools_folder() / "target")
    path = target / ("failpoints" if failpoints else "release") / task
    if not path.exists():
        raise AssertionError(f"the binary {task} isn't built: run make test")
    return path


def start(
    task: str, *args: object, env: Mapping[str, str] | None = None, failpoints: str | None = None
) -> Task:
    """Start a task without waiting; `failpoints` is like `name=panic;other=sleep(100)`."""
    environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ} | dict(
        env or {}
    )
    if failpoints is not None:
        environment["FAILPOINTS"] = failpoints
    path = binary(task, failpoints=failpoints is not None)
    return Task([str(path), *map(str, args)], environment)


def run(
    task: str,
    *args: object,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    failpoints: str | None = None,
) -> Result:
    """Run a task to its end; `check` insists on exit 0 and exactly one line of JSON on stdout."""
    done = start(task, *args, env=env, failpoints=failpoints).finish(timeout)
    if check:
        said = f"stdout:\n{done.stdout}\nstderr:\n{done.stderr}"
        assert done.exit_code == 0, f"{task} ended with exit code {done.exit_code}\n{said}"
        assert done.result, f"{task} must print exactly one line of JSON\n{said}"
    return done
