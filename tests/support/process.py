"""Child processes that never outlive the tests, whatever way those end."""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# A Java server on a machine with ten times its work takes minutes.
READY_SECONDS = 180


def tied(command: Sequence[str]) -> list[str]:
    """Have the kernel end a child whose parent was killed and ran no clean-up itself.

    Not by a `preexec_fn`: between fork and exec other threads' locks are held for ever, and the child hangs.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT", "--", *command] if setpriv else list(command)


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def signal_group(process: subprocess.Popen, number: int) -> None:
    """Signal a process and its children; it leads its group by `start_new_session`."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it used."""

    exit_code: int
    cpu_seconds: float
    peak_rss_mib: float


def peak_rss_mib(pid: int) -> float:
    """Read how much memory a process has used at most; 0 when it's gone.

    The kernel's figure at the end of a process (ru_maxrss) won't do: it starts at the
    size of the process that forked it, which is ours.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def wait_with_usage(process: subprocess.Popen, timeout: float) -> Ended:
    """Wait for the end of a process while watching its memory."""
    deadline = time.monotonic() + timeout
    peak_mib = 0.0
    while True:
        peak_mib = max(peak_mib, peak_rss_mib(process.pid))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return Ended(process.returncode, usage.ru_utime + usage.ru_stime, peak_mib)
        if time.monotonic() > deadline:
            raise subprocess.TimeoutExpired(process.args, timeout)
        time.sleep(0.005)


class Server:
    """A server process with its log, ended at exit by its whole process group."""

    def __init__(self, name: str, stop_signal: int) -> None:
        """Make the folder for the server's files; nothing runs yet."""
        self.name = name
        self.stop_signal = stop_signal
        self.folder = Path(tempfile.mkdtemp(prefix=f"invoice-{name}-"))
        self.log_path = self.folder / "server.log"
        self.process: subprocess.Popen | None = None
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the server's main process is alive."""
        return self.process is not None and self.process.poll() is None

    def spawn(self, command: list[str], is_ready: Callable[[], bool], **options: object) -> None:
        """Start the server and return when it answers; raise with its log when it doesn't."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                tied(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready():
            if not self.running:
                raise RuntimeError(f"{self.name} ended while it started\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.end_process(signal.SIGKILL)
                raise RuntimeError(f"{self.name} isn't ready after {READY_SECONDS} s\n{self.log_tail()}")
            time.sleep(0.05)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's log."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def end_process(self, number: int) -> None:
        """Signal the main process and wait; what is left of the group is killed."""
        if self.process is None:
            return
        if self.running:
            self.process.send_signal(number)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            signal_group(self.process, signal.SIGKILL)
            self.process.wait()
        signal_group(self.process, signal.SIGKILL)
        self.process = None

    def close(self) -> None:
        """End the server and remove its files; closing twice is fine."""
        atexit.unregister(self.close)
        self.end_process(self.stop_signal)
        # Written by another user when we are root, so nothing but root's rm may fail here.
        subprocess.run(["rm", "-rf", str(self.folder)], check=False)
