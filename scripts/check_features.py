"""Checks that what `make demo` compiles is what `make test` wants, so that no crate is compiled twice.

Cargo unites the features of what is built together. The demo builds less than the workspace, so a crate
that both have could get fewer features there; crates/all_tasks/Cargo.toml asks for those that are missing.
"""

import subprocess
import sys

ALONE = ("--package", "all_tasks", "--edges", "normal,build")
DEMO = (*ALONE, "--no-default-features")
WORKSPACE = ("--workspace", "--edges", "normal,build,dev")


def crates(selection: tuple[str, ...]) -> set[str]:
    """Return each crate of others that a build compiles, as `name version features`."""
    tree = ("cargo", "tree", "--locked", "--prefix", "none", "--format", "{p} {f}", *selection)
    printed = subprocess.run(tree, capture_output=True, text=True, check=True).stdout
    lines = {line.removesuffix(" (*)") for line in printed.splitlines()}
    return {line for line in lines if "(/" not in line}


def main() -> int:
    """Print what would be compiled twice."""
    workspace = crates(WORKSPACE)
    twice = sorted((crates(DEMO) | crates(ALONE)) - workspace)
    for crate in twice:
        name = crate.split()[0]
        wanted = " or ".join(other for other in sorted(workspace) if other.split()[0] == name)
        print(f"all_tasks alone compiles {crate}; the workspace wants {wanted}")
    if twice:
        print("name the missing features in crates/all_tasks/Cargo.toml")
    return min(len(twice), 1)


sys.exit(main())
