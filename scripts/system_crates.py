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


def dependencies(of: dict, *kinds: str | None) -> list[str]:
    """Return the ids that a node of the graph depends on, in these ways (None is the ordinary one)."""
    return [one["pkg"] for one in of["deps"] if any(how["kind"] in kinds for how in one["dep_kinds"])]


def shipped(metadata: dict, nodes: dict[str, dict], packages: dict[str, dict]) -> set[str]:
    """Return the ids of what is compiled for more than compiling: only these can Cargo build by name."""
    found: set[str] = set()
    waiting = list(metadata["workspace_members"])
    while waiting:
        identity = waiting.pop()
        macros = any("proc-macro" in target["kind"] for target in packages[identity]["targets"])
        if identity not in found and not macros:
            found.add(identity)
            waiting += dependencies(nodes[identity], None, "dev")
    return found


def needed_at_build(node: dict, nodes: dict[str, dict]) -> set[str]:
    """Return the ids of all that a package's build script is made of."""
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
    found = set()
    for identity, node in nodes.items():
        package = packages[identity]
        script = build_script(package)
        if script is None:
            continue
        with_tool = {packages[other]["name"] for other in needed_at_build(node, nodes)} & TOOLS
        if package["links"] or with_tool or STARTS_PROGRAM.search(Path(script).read_text(encoding="utf-8")):
            found.add(identity)
    by_name = shipped(metadata, nodes, packages)
    # What is compiled only for build scripts is compiled with a crate that has such a script.
    for identity in by_name:
        if needed_at_build(nodes[identity], nodes) & (found - by_name):
            found.add(identity)
    return sorted(f"{packages[one]['name']}@{packages[one]['version']}" for one in found & by_name)


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
