"""Licences and bill of materials of all that is linked into the executable, as Cargo resolves it.

    python packaging/notices.py FOLDER [flags of cargo metadata, such as --no-default-features]

writes THIRD-PARTY-LICENSES.txt and rust.cdx.json (CycloneDX) there. Nothing is compiled for it.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
TEXT_NAMES = ("licen", "copying", "notice", "copyright", "unlicense")
# Sources of other people inside of a crate, such as a C library, are not deeper than this.
DEPTH_MAX = 3
Package = dict[str, Any]


class Dependencies:
    """The packages whose code is in the executable, without what only helps to build it."""

    def __init__(self, flags: list[str]) -> None:
        """Ask Cargo."""
        manifest = ROOT / "crates" / "all_tasks" / "Cargo.toml"
        host = next(
            line.split()[1] for line in output("rustc", "-vV").splitlines() if line.startswith("host:")
        )
        ask = ("cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={host}")
        metadata = json.loads(output(*ask, f"--manifest-path={manifest}", *flags))
        packages = {package["id"]: package for package in metadata["packages"]}
        nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        # The metadata unites the features that all of the workspace asks for; the tree is this executable's.
        tree = output("cargo", "tree", "--locked", "--package=all_tasks", "--edges=normal", "--prefix=none",
                      "--format={p}", f"--manifest-path={manifest}", *flags)  # fmt: skip
        built = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
        self.root = metadata["resolve"]["root"]
        self.edges: dict[str, list[str]] = {}
        self.packages: dict[str, Package] = {}
        waiting = [self.root]
        while waiting:
            current = waiting.pop()
            if current in self.packages:
                continue
            linked = [
                dependency["pkg"]
                for dependency in nodes[current]["deps"]
                if is_linked(dependency, packages[dependency["pkg"]], built)
            ]
            self.packages[current], self.edges[current] = packages[current], linked
            waiting += linked

    def foreign(self) -> list[Package]:
        """Return those that are not of this workspace, by name."""
        foreign = (package for package in self.packages.values() if package["source"])
        return sorted(foreign, key=lambda package: (package["name"], package["version"]))


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def is_linked(dependency: dict[str, Any], package: Package, built: set[tuple[str, str]]) -> bool:
    """Tell whether a dependency is more than a build script's or a test's.

    A build script may compile foreign sources that a crate of their own carries: openssl-src, for one.
    """
    kinds = [kind["kind"] for kind in dependency["dep_kinds"]]
    carried = "build" in kinds and package["name"].endswith("-src")
    return carried or (None in kinds and (package["name"], f"v{package['version']}") in built)


def expression(package: Package) -> str:
    """Return the SPDX expression of a package; old ones have a slash for OR."""
    return (package["license"] or "LicenseRef-see-text").replace("/", " OR ")


def texts(package: Package) -> list[str]:
    """Return the licence texts in a package, with those of the sources that it carries."""
    folder = Path(package["manifest_path"]).parent
    files = (path for path in folder.rglob("*") if path.name.lower().startswith(TEXT_NAMES))
    wanted = [
        path
        for path in sorted(files)
        if path.is_file()
        and len(path.relative_to(folder).parts) <= DEPTH_MAX
        and path.suffix.lower() in ("", ".txt", ".md", ".mit", ".apache", ".apache2")
    ]
    found = [path.read_text(encoding="utf-8", errors="replace").strip() for path in wanted]
    return found or list(standard_texts(package))


def standard_texts(package: Package) -> Iterator[str]:
    """Yield the texts of the licences that a package names and doesn't contain."""
    authors = ", ".join(package["authors"]) or f"the authors of {package['name']}"
    for name in ("Apache-2.0", "MIT", "BSD-3-Clause"):
        if name in expression(package):
            if name == "Apache-2.0":
                yield (ROOT / "LICENSE").read_text().strip()
            else:
                text = (ROOT / "packaging" / "licences" / f"{name}.txt").read_text()
                yield text.replace("{authors}", authors).strip()


def licences(packages: list[Package]) -> str:
    """Return all licences, each text once, under the packages that it belongs to."""
    by_text: dict[str, list[str]] = {}
    for package in packages:
        title = f"{package['name']} {package['version']} ({expression(package)})"
        found = texts(package)
        if not found:
            raise SystemExit(f"no licence text for {title}: add it to packaging/licences")
        for text in found:
            by_text.setdefault(text, []).append(title)
    parts = ["The executable contains the following works of others."]
    for text, titles in sorted(by_text.items(), key=lambda item: (-len(item[1]), item[1])):
        parts.append("\n".join(["=" * 80, *dict.fromkeys(titles), "-" * 80, text]))
    return "\n\n".join(parts) + "\n"


def checksums() -> dict[tuple[str, str], str]:
    """Return the SHA-256 of each package's archive, by name and version, as Cargo.lock has it."""
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return {(one["name"], one["version"]): one["checksum"] for one in locked if "checksum" in one}


def component(package: Package, checksum: str | None, is_root: bool) -> Component:
    """Describe a package; those of this workspace have no address and no checksum."""
    purl = PackageURL("cargo", name=package["name"], version=package["version"])
    return Component(
        name="invoice-platform" if is_root else package["name"],
        version=package["version"],
        type=ComponentType.APPLICATION if is_root else ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl if package["source"] else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
        licenses=[LicenseFactory().make_from_string(expression(package))],
    )


def bill_of_materials(dependencies: Dependencies) -> str:
    """Return the packages and who needs whom as CycloneDX, checked against its schema; always the same."""
    sums = checksums()
    components = {
        key: component(package, sums.get((package["name"], package["version"])), key == dependencies.root)
        for key, package in dependencies.packages.items()
    }
    contents = "\n".join(sorted(f"{one.bom_ref} {one.hashes}" for one in components.values()))
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, contents),
        components=[one for key, one in components.items() if key != dependencies.root],
    )
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    bom.metadata.component = components[dependencies.root]
    for key, linked in dependencies.edges.items():
        bom.register_dependency(components[key], [components[other] for other in linked])
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        raise SystemExit(f"the bill of materials is not valid CycloneDX: {wrong}")
    return text + "\n"


def main() -> None:
    """Write both files."""
    folder = Path(sys.argv[1])
    dependencies = Dependencies(sys.argv[2:])
    (folder / "THIRD-PARTY-LICENSES.txt").write_text(licences(dependencies.foreign()))
    (folder / "rust.cdx.json").write_text(bill_of_materials(dependencies))


if __name__ == "__main__":
    main()
