"""Becomes the one executable that is all tasks; it is the task whose name it is called by."""

import os
import sys
from pathlib import Path

EXECUTABLE = Path(__file__).with_name("all_tasks")


def main() -> None:
    """Replace this process, so that signals, exit code and output are the task's own."""
    os.execv(EXECUTABLE, [Path(sys.argv[0]).name, *sys.argv[1:]])
