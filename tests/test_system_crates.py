"""Which crates the bare root builds is found from cargo's metadata, not listed by hand."""

import json
import subprocess
import sys
from pathlib import Path

from support.services import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
from system_crates import system_crates


def package(folder: Path, name: str, *, script: str | None = None, links: str | None = None) -> dict:
    """Describe a package as cargo does."""
    targets = [{"kind": ["lib"], "src_path": "lib.rs"}]
    if script is not None:
        path = folder / f"{name}.rs"
        path.write_text(script, encoding="utf-8")
        targets.append({"kind": ["custom-build"], "src_path": str(path)})
    return {"id": name, "name": name, "version": "1.0.0", "links": links, "targets": targets}


def found(packages: list[dict], needs: dict[str, list[tuple[str, str | None]]]) -> list[str]:
    """Ask for the crates of a workspace in which `needs` says who depends on whom, and how."""
    nodes = [
        {
            "id": one["id"],
            "deps": [
                {"pkg": other, "dep_kinds": [{"kind": kind}]} for other, kind in needs.get(one["id"], [])
            ],
        }
        for one in packages
    ]
    used = {other for several in needs.values() for other, _ in several}
    members = [one["id"] for one in packages if one["id"] not in used]
    graph = {"packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}}
    return system_crates(graph)


def test_a_crate_that_links_or_compiles_at_whatever_distance_is_found(tmp_path: Path):
    packages = [
        package(tmp_path, "openssl-sys", script="fn main() {}", links="openssl"),
        package(tmp_path, "messages", script="fn main() {}"),
        package(tmp_path, "tonic-prost-build"),
        package(tmp_path, "prost-build"),
        package(tmp_path, "uses-messages"),
    ]
    needs = {
        "messages": [("tonic-prost-build", "build")],
        "tonic-prost-build": [("prost-build", None)],
        "uses-messages": [("messages", None)],
    }
    assert found(packages, needs) == ["messages@1.0.0", "openssl-sys@1.0.0"]


def test_a_crate_that_is_compiled_for_a_build_script_alone_stands_for_the_one_with_the_script(tmp_path: Path):
    packages = [
        package(tmp_path, "zlib-sys", script="fn main() {}", links="z"),
        package(tmp_path, "unpack"),
        package(tmp_path, "tables", script="fn main() {}"),
    ]
    needs = {"tables": [("unpack", "build")], "unpack": [("zlib-sys", None)]}
    assert found(packages, needs) == ["tables@1.0.0"]


def test_a_build_script_that_starts_a_program_is_found_and_one_that_asks_the_compiler_is_not(tmp_path: Path):
    packages = [
        package(tmp_path, "revision", script='fn main() { Command::new("git").status(); }'),
        package(
            tmp_path, "probe", script='fn main() { Command::new("rustc").status(); Command::new(rustc); }'
        ),
        package(tmp_path, "cc"),
        package(tmp_path, "uses-cc-as-a-library"),
    ]
    assert found(packages, {"uses-cc-as-a-library": [("cc", None)]}) == ["revision@1.0.0"]


def test_this_workspace_has_the_crates_that_were_missing_something():
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    names = {crate.split("@")[0] for crate in system_crates(json.loads(told))}
    assert {"apache-spark-connect-proto", "openssl-sys", "rdkafka-sys"} <= names
