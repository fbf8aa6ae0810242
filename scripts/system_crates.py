"""Prints the crates whose build needs something of the system: a compiler, headers, a program.

Found from `cargo metadata`: what links a library, and what has a build script that comes, at whatever
distance, with a crate that compiles or looks for such things. One line each, NAME@VERSION, for
`cargo build --package`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

TOOLS = {
    "autotools",
    "bindgen",
    "cc",
    "cmake",
    "nasm-rs",
    "pkg-config",
    "prost-build",
    "protobuf-codegen",
    "protobuf-parse",
    "system-deps",
    "tonic-build",
    "vcpkg",
}
# A build script that starts a program by its name, other than the compiler that runs it.
STARTS_PROGRAM = re.compile(r'Command::new\(\s*"(?!rustc)')


def build_script(package: dict) -> str | None:
    """Return the path of a package's build script."""
    paths = [target["src_path"] for target in package["targets"] if "custom-build" in target["kind"]]
    return paths[0] if paths else None


def needed_at_build(node: dict, nodes: dict[str, dict]) -> set[str]:
    """Return the ids of all that a package's build script is made of."""

    def dependencies(of: dict, kind: str | None) -> list[str]:
        return [one["pkg"] for one in of["deps"] if any(how["kind"] == kind for how in one["dep_kinds"])]

    found: set[str] = set()
    waiting = dependencies(node, "build")
    while waiting:
        identity = waiting.pop()
        if identity not in found:
            found.add(identity)
            waiting += dependencies(nodes[identity], None)
    return found


def system_crates(metadata: dict) -> list[str]:
    """Return NAME@VERSION of every crate that needs something of the system, sorted."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found = []
    for identity, node in nodes.items():
        package = packages[identity]
        script = build_script(package)
        if script is None:
            continue
        with_tool = {packages[other]["name"] for other in needed_at_build(node, nodes)} & TOOLS
        if package["links"] or with_tool or STARTS_PROGRAM.search(Path(script).read_text(encoding="utf-8")):
            found.append(f"{package['name']}@{package['version']}")
    return sorted(found)


def host() -> str:
    """Return the platform that this machine's compiler builds for."""
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line.removeprefix("host: ") for line in told.splitlines() if line.startswith("host: "))


def main() -> None:
    """Print the list; arguments go to `cargo metadata`, for example --offline."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host()]
    told = subprocess.run([*command, *sys.argv[1:]], stdout=subprocess.PIPE, text=True, check=True).stdout
    print("\n".join(system_crates(json.loads(told))))


if __name__ == "__main__":
    main()
