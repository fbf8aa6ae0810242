"""A Docker engine for the tests: the one that runs, or dockerd started here and ended with the tests."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from support.process import Server
from support.services import REPOSITORY, tools_folder

# Compose's own BuildKit client, which needs no plugin.
BUILD_ENVIRONMENT = {"COMPOSE_BAKE": "false"}


def docker(*arguments: str, check: bool = True, timeout: float = 120, **options: object) -> str:
    """Run a docker command and return what it printed; raise with its words when it fails."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    if check and done.returncode != 0:
        raise RuntimeError(
            f"docker {' '.join(arguments[:6])} failed\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def engine_answers() -> bool:
    """Whether an engine listens where the docker command looks."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


class Engine(Server):
    """The machine's Docker engine, started only where none runs."""

    def __init__(self) -> None:
        """Find or start the engine; fail when it can't be had, because the stack's tests need it."""
        super().__init__("dockerd", signal.SIGTERM)
        if engine_answers():
            return
        dockerd = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/usr/bin")
        if dockerd is None or os.getuid() != 0:
            raise RuntimeError(
                "no Docker engine runs and none can be started: run scripts/setup.sh test as root"
            )
        # A pid file of an engine that was killed would stop this one.
        Path("/var/run/docker.pid").unlink(missing_ok=True)
        self.spawn([dockerd], engine_answers)


def build_images(version: str) -> None:
    """Build what compose names: pulled images or their stand-ins, then ours around the built binaries."""
    subprocess.run([REPOSITORY / "tests" / "images" / "build.sh", version], check=True, timeout=1800)
    prebuilt = REPOSITORY / "docker" / "tasks" / "prebuilt"
    shutil.rmtree(prebuilt, ignore_errors=True)
    prebuilt.mkdir(parents=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools_folder() / "target") / "release"
    built = target / "all_tasks"
    if not built.exists():
        raise RuntimeError("the tasks are not built: run make test")
    # Without the times of this copy, so that the layer is the same when the executable is.
    subprocess.run(["strip", "-o", prebuilt / built.name, built], check=True)
    environment = os.environ | BUILD_ENVIRONMENT | {"PLATFORM_VERSION": version, "BINARIES": "prebuilt"}
    # Compose wants every variable of the file, though a build uses none of the secrets.
    example = ["--env-file", str(REPOSITORY / ".env.example")]
    docker("compose", *example, "build", "--quiet", "tasks", env=environment, cwd=REPOSITORY, timeout=1800)
