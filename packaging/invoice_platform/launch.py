"""Becomes the one executable that is all tasks; it is the task whose name it is called by."""

import os
import ssl
import sys
from pathlib import Path

EXECUTABLE = Path(__file__).with_name("all_tasks")


def main() -> None:
    """Replace this process, so that signals, exit code and output are the task's own."""
    trust_what_this_system_trusts()
    os.execv(EXECUTABLE, [Path(sys.argv[0]).name, *sys.argv[1:]])


def trust_what_this_system_trusts() -> None:
    """Name the certificate authorities; the OpenSSL in the wheel knows Debian's places alone."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        os.environ.setdefault(paths.openssl_cafile_env, paths.cafile)
    if paths.capath:
        os.environ.setdefault(paths.openssl_capath_env, paths.capath)
