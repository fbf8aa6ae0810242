"""Helm, kubeconform, and a Kubernetes of one node with real pods, from scripts/kubernetes."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.process import Server
from support.services import REPOSITORY, tools_folder, wait_until

CHART = REPOSITORY / "deploy" / "helm" / "invoice-platform"
SCRIPTS = REPOSITORY / "scripts" / "kubernetes"
# The machine's address for pods.
HOST = "10.98.0.1"
BUSYBOX = "node.local/busybox:1"


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


def libraries(path: Path) -> list[Path]:
    """Find what a program loads, as ldd says, with the loader itself."""
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    return [Path(found) for found in sorted(set(re.findall(r"(/\S+) \(0x", said)))]


class Node(Server):
    """A Kubernetes of one node; its programs end with it."""

    def __init__(self) -> None:
        """Start the node and wait until it takes pods."""
        super().__init__("kubernetes", signal.SIGTERM)
        program("kube-router")
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.spawn([str(SCRIPTS / "node.sh"), str(self.folder)], (self.folder / "ready").exists)

    def kubectl(self, *arguments: object, stdin: str | None = None) -> str:
        """Run kubectl as administrator."""
        return run("kubectl", f"--kubeconfig={self.kubeconfig}", *arguments, stdin=stdin)

    def helm(self, *arguments: object) -> str:
        """Run helm as administrator."""
        return run("helm", *arguments, KUBECONFIG=str(self.kubeconfig))

    def get(self, *arguments: object) -> dict[str, Any]:
        """Return an object, or a list of them under `items`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def make_image(
        self, name: str, programs: list[Path], links: Mapping[str, list[str]] | None = None
    ) -> None:
        """Give the node an image of programs, their libraries and no more, as docker/tasks/Dockerfile does.

        Made without a Docker engine; the Dockerfile itself is tried with the compose stack. `links` are
        further names of a program.
        """
        root = self.folder / "root"
        binaries = root / "usr" / "local" / "bin"
        binaries.mkdir(parents=True)
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        for path in programs:
            subprocess.run(["strip", "-o", binaries / path.name, path.resolve()], check=True)
            for library in libraries(path):
                copy = root / library.relative_to("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, copy)
            for link in (links or {}).get(path.name, []):
                (binaries / link).symlink_to(path.name)
        archive = self.folder / "image.tar"
        subprocess.run(["python3", SCRIPTS / "image.py", name, root, archive, "/bin/false"], check=True)
        socket = self.folder / "containerd" / "socket"
        enter = [self.folder / "enter", "ctr", "-a", socket, "-n", "k8s.io"]
        subprocess.run([*enter, "images", "import", archive], check=True, capture_output=True)
        archive.unlink()
        shutil.rmtree(root)

    def namespace(self, name: str, level: str = "restricted") -> str:
        """Create a namespace in which pod security is enforced."""
        labels = {"pod-security.kubernetes.io/enforce": level}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        return name

    def ready_pods(self, namespace: str, component: str) -> list[dict[str, Any]]:
        """Return a component's pods that are ready and stay."""
        pods = self.get("pods", "-n", namespace, "-l", f"app.kubernetes.io/component={component}")["items"]
        return [
            pod
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])
            )
        ]

    def run_pod(
        self, namespace: str, name: str, command: list[str], labels: dict[str, str] | None = None
    ) -> bool:
        """Run a command in a pod of busybox and say whether it ended well."""
        container = {
            "name": "main",
            "image": BUSYBOX,
            "command": command,
            "imagePullPolicy": "Never",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

        def phase() -> str:
            return self.get("pod", name, "-n", namespace)["status"].get("phase", "")

        wait_until(lambda: phase() in ("Succeeded", "Failed"), 60, f"the end of the pod {name}")
        ended_well = phase() == "Succeeded"
        self.kubectl("delete", "pod", name, "-n", namespace, "--wait=false")
        return ended_well
