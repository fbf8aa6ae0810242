"""Helm and kubeconform, from scripts/kubernetes."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from support.services import REPOSITORY, tools_folder

CHART = REPOSITORY / "deploy" / "helm" / "invoice-platform"
SCRIPTS = REPOSITORY / "scripts" / "kubernetes"


def version() -> str:
    """Return the version of Kubernetes that build.sh names."""
    return re.search(r"^KUBERNETES_VERSION=(.+)$", (SCRIPTS / "build.sh").read_text(), re.MULTILINE)[1]


def kubernetes_folder() -> Path:
    """Return the folder of the built programs and schemas."""
    return tools_folder() / f"kubernetes-{version()}"


def program(name: str) -> str:
    """Find a program that build.sh has built."""
    path = kubernetes_folder() / "bin" / name
    if not path.exists():
        raise RuntimeError(f"{name} isn't built: run scripts/kubernetes/build.sh")
    return str(path)


def run(name: str, *arguments: object, stdin: str | None = None, **environment: str) -> str:
    """Run one of the programs and return what it printed; raise with its words when it fails."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": "/root", **environment},
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{name} {' '.join(map(str, arguments[:4]))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def template(*flags: object) -> list[dict[str, Any]]:
    """Render the chart, and return its objects."""
    text = run("helm", "template", "invoices", CHART, "--kube-version", version(), *flags)
    return [thing for thing in yaml.safe_load_all(text) if thing]


def kubeconform(objects: list[dict[str, Any]], *skip: str) -> None:
    """Check objects against the API's own schemas; kinds of other projects are skipped by name."""
    location = f"{kubernetes_folder()}/schemas/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    run(
        "kubeconform",
        "-schema-location",
        location,
        "-skip",
        ",".join(skip),
        "-",
        stdin=yaml.safe_dump_all(objects),
    )
