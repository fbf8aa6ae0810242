"""Checks that what `make demo` compiles is what `make test` wants, so that no crate is compiled twice.

Cargo unites the features of what is built together. The demo builds less than the workspace, so a crate that
both have could get fewer features there, also one that only runs while compiling; crates/all_tasks/Cargo.toml
asks for those that are missing. Compared are Cargo's own units of work (crate, features, profile, and those
of all crates below it), which a stable compiler prints when told to.
"""

import json
import os
import subprocess
import sys

DEMO = ("--package", "all_tasks", "--no-default-features")
ALONE = ("--package", "all_tasks")
WORKSPACE = ("--workspace", "--all-targets")

Unit = tuple[str, ...]
Units = dict[int, tuple[Unit, frozenset[int]]]


def units(selection: tuple[str, ...]) -> Units:
    """Return what a build compiles: what each unit is and which it needs, by a hash over both."""
    printed = subprocess.run(
        ("cargo", "build", "--release", "--locked", "--unit-graph", "-Z", "unstable-options", *selection),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
    ).stdout
    graph = json.loads(printed)["units"]
    hashes: dict[int, int] = {}
    found: Units = {}

    def visit(index: int) -> int:
        if index not in hashes:
            unit = graph[index]
            below = frozenset(visit(dependency["index"]) for dependency in unit["dependencies"])
            what = (
                unit["pkg_id"],
                ",".join(unit["target"]["kind"]),
                unit["mode"],
                f"opt-level {unit['profile']['opt_level']}",
                ",".join(sorted(unit["features"])),
            )
            hashes[index] = hash((what, below))
            found[hashes[index]] = (what, below)
        return hashes[index]

    for index in range(len(graph)):
        visit(index)
    return found


def compiled_twice(less: Units, more: Units) -> list[Unit]:
    """Return the units of others that only `less` has and that differ themselves, not by those below."""
    only = {unit for unit, (what, _) in less.items() if unit not in more and not what[0].startswith("path+")}
    return sorted(less[unit][0] for unit in only if not only & less[unit][1])


def main() -> int:
    """Print what would be compiled twice."""
    sys.setrecursionlimit(100_000)
    workspace = units(WORKSPACE)
    twice = compiled_twice(units(DEMO), workspace) + compiled_twice(units(ALONE), workspace)
    for unit in twice:
        print(f"all_tasks alone compiles {' '.join(unit)}; the workspace has:")
        for other in sorted({what for what, _ in workspace.values() if what[:3] == unit[:3]}):
            print(f"  {' '.join(other[3:])}")
    if twice:
        print("name the missing features in crates/all_tasks/Cargo.toml")
    return min(len(twice), 1)


sys.exit(main())
