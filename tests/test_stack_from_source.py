"""The task image from source, as users build it: its first stage, and the crates that need the system.

TASK_IMAGE=whole (scripts/fresh.sh image) compiles all of it instead, as long as a user waits for it.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import BUILD_ENVIRONMENT, Engine, docker
from support.services import REPOSITORY, tools_folder

WHOLE = os.environ.get("TASK_IMAGE") == "whole"
KEPT = tools_folder() / "fresh"
CHEF = "invoice-platform/tasks-chef:tested"
CONTEXT = "invoice-platform/tasks-context:tested"
SECONDS = 7200


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine with the images that the Dockerfile starts from."""
    with Engine() as engine:
        subprocess.run(
            [REPOSITORY / "tests" / "images" / "build.sh", "--builder"], check=True, timeout=SECONDS
        )
        yield engine


def compose_build(image: str, **build: object) -> None:
    """Build an image from the repository, with its .dockerignore, by Compose's own BuildKit client."""
    services = {"services": {"image": {"image": image, "build": {"context": str(REPOSITORY), **build}}}}
    docker(
        *("compose", "--project-name", "from-source", "--file", "-", "build", "--quiet"),
        input=json.dumps(services),
        env=os.environ | BUILD_ENVIRONMENT,
        timeout=SECONDS,
    )


def in_image(image: str, command: str, *options: str) -> str:
    """Run a shell command in an image."""
    return docker("run", "--rm", "--network", "host", *options, image, "bash", "-c", command, timeout=SECONDS)


def sources_of_the_executable() -> set[str]:
    """Return what the compiler has read of this repository, also by `include_str!`."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools_folder() / "target") / "release"
    read = (target / "all_tasks.d").read_text(encoding="utf-8").partition(": ")[2].split()
    return {os.path.relpath(path, REPOSITORY) for path in read if path.startswith(f"{REPOSITORY}/")}


def compile_system_crates() -> None:
    """Compile, in the first stage and from the user's context, what needs something of the system."""
    compose_build(CHEF, dockerfile="docker/tasks/Dockerfile", target="chef", network="host")
    compose_build(CONTEXT, dockerfile_inline=f"FROM {CHEF}\nCOPY . .\n")
    there = set(in_image(CONTEXT, "find -type f -printf '%P\\n'").splitlines())
    sources = sources_of_the_executable()
    assert len(sources) > 100, "the executable was not built from this clone: run make test"
    assert sources - there == set(), "these are compiled and not in .dockerignore's context"
    listed = [sys.executable, REPOSITORY / "scripts" / "system_crates.py"]
    crates = subprocess.run(
        listed, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY
    ).stdout.split()
    assert len(crates) > 5
    # What Cargo can't see is the key: one package more or less, and all is compiled anew.
    seen = in_image(CONTEXT, "dpkg-query -W && rustc -vV").encode()
    target = KEPT / f"image-target-{hashlib.sha256(seen).hexdigest()[:16]}"
    for older in set(KEPT.glob("image-target-*")) - {target}:
        subprocess.run(["rm", "-rf", "--one-file-system", older], check=True)
    mounts = ["--volume", f"{target}:/target", "--volume", f"{KEPT}/image-registry:/usr/local/cargo/registry"]
    for crate in crates:
        build = f"cargo build --quiet --release --locked --package {crate}"
        # Nothing of it runs, so nothing is optimised.
        in_image(CONTEXT, f"CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR=/target {build}", *mounts)


def test_the_image_compiles_from_source(engine: Engine):
    """Whatever a build from source needs is in the Dockerfile and its context."""
    if not WHOLE:
        compile_system_crates()
        return
    began = time.monotonic()
    image = "invoice-platform/tasks:from-source"
    compose_build(image, dockerfile="docker/tasks/Dockerfile", network="host")
    print(f"\nthe whole image: {time.monotonic() - began:.0f} s")
    assert "query_source" in docker("run", "--rm", image, "query_source", "--version")
