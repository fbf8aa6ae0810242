"""Runs a build by Cargo and says where it is: crates done of all, the time so far, what is compiled now.

    python3 scripts/progress.py cargo build --release

On a terminal that is one line, written over and over; in a log, a line now and then. Whatever else Cargo says
is passed on, and its exit code is this program's.
"""

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time

LOG_EVERY_SECONDS = 30
DRAW_EVERY_SECONDS = 1
# Cargo's own progress line; it is shown on a terminal alone unless it is asked for.
PROGRESS = re.compile(r"^\s*Building \[.*\] (?P<done>\d+)/(?P<all>\d+): (?P<now>.*)$")
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SPOKEN_FOR = ("Compiling ", "Fresh ")


class Progress:
    """What Cargo has said of itself, and how it is shown."""

    def __init__(self) -> None:
        """Begin to count the time."""
        self.began = time.monotonic()
        self.shown = -float("inf")
        self.done = self.all = 0
        self.now = ""
        self.on_terminal = sys.stderr.isatty()

    def read(self, piece: str) -> None:
        """Take one line of Cargo's: its progress is kept, the rest is passed on."""
        plain = COLOURS.sub("", piece)
        if found := PROGRESS.match(plain):
            self.done, self.all, self.now = int(found["done"]), int(found["all"]), found["now"]
        elif plain.strip() and not plain.lstrip().startswith(SPOKEN_FOR):
            self.clear()
            print(piece, file=sys.stderr, flush=True)

    def show(self) -> None:
        """Say where the build is, when it is time to."""
        now = time.monotonic()
        every = DRAW_EVERY_SECONDS if self.on_terminal else LOG_EVERY_SECONDS
        if not self.all or now - self.shown < every:
            return
        self.shown = now
        line = f"   Compiled {self.done} of {self.all} crates in {self.time()}, now {self.now}"
        if self.on_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self.on_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def time(self) -> str:
        """Return the time so far as minutes and seconds."""
        minutes, seconds = divmod(round(time.monotonic() - self.began), 60)
        return f"{minutes}:{seconds:02}"


def follow(cargo: subprocess.Popen, progress: Progress) -> None:
    """Read what Cargo says until it ends."""
    selector = selectors.DefaultSelector()
    selector.register(cargo.stderr, selectors.EVENT_READ)
    rest = b""
    while True:
        if selector.select(timeout=DRAW_EVERY_SECONDS):
            said = os.read(cargo.stderr.fileno(), 65536)
            if not said:
                break
            *pieces, rest = re.split(rb"[\r\n]", rest + said)
            for piece in pieces:
                progress.read(piece.decode(errors="replace"))
        progress.show()
    progress.read(rest.decode(errors="replace"))
    progress.clear()


def main() -> int:
    """Run the build."""
    colour = {"CARGO_TERM_COLOR": "always"} if sys.stderr.isatty() else {}
    shown = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "100"}
    progress = Progress()
    cargo = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, env=os.environ | colour | shown)
    signal.signal(signal.SIGTERM, lambda *_: cargo.terminate())
    # Ctrl-C reaches Cargo as well, which ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        follow(cargo, progress)
    code = cargo.wait()
    return code if code >= 0 else 128 - code


sys.exit(main())
