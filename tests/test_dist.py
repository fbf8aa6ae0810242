"""What `make dist` makes works where there is no compiler: the wheel beside DAGs, the tarball anywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.services import REPOSITORY, tools_folder
from support.tasks import binary

AIRFLOW = tools_folder() / "airflow" / "bin" / "python"
PACKAGING = tools_folder() / "packaging" / "bin" / "python"
BATCH = ("query_source", "aggregate_by_business", "write_partitioned_parquet")
AS_OF = "2026-01-31"
INVOICES = 20_000
# The oldest Linux that a wheel from this machine may ask for: Debian 12's glibc.
GLIBC_MAX = (2, 36)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make both from the executable that is built."""
    folder = tmp_path_factory.mktemp("dist")
    env = os.environ | {"SKIP_BUILD": "1", "CARGO_TARGET_DIR": str(binary("all_tasks").parents[1])}
    script = REPOSITORY / "scripts" / "dist.sh"
    done = subprocess.run([script, folder], env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The one wheel."""
    [wheel] = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment in which nothing but pip and the wheel is; nothing is fetched for it."""
    home = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    command = [home / "bin" / "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run(command, env={"PATH": str(home / "bin")}, check=True)
    return home


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball's one folder."""
    [tarball] = dist.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("tarball")
    with tarfile.open(tarball) as archive:
        archive.extractall(folder, filter="data")
    [top] = folder.iterdir()
    assert tarball.name.startswith(f"{top.name}-manylinux")
    return top


def command(
    bin_folder: Path, *words: object, env: Mapping[str, str] | None = None, exit_code: int = 0
) -> subprocess.CompletedProcess:
    """Run one of the commands with a PATH of nothing else."""
    environment = {"PATH": str(bin_folder), "LOG_FORMAT": "text"} | dict(env or {})
    line = [str(bin_folder / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done


def demo(bin_folder: Path, folder: Path) -> dict[str, str]:
    """Do what `make demo` does, by the commands of one folder; return where it was done."""
    for tool in ("cargo", "rustc", "cc", "gcc", "ld"):
        assert shutil.which(tool, path=str(bin_folder)) is None
    where = {
        "SOURCE_URL": f"sqlite:{folder}/invoices.db",
        "LAKE_URL": folder.as_uri() + "/lake",
        "AS_OF": AS_OF,
        "MONTHS": "12",
    }
    (folder / "lake").mkdir()
    command(bin_folder, "populate_tables", "--customers", 50, "--invoices", INVOICES, "--seed", 42,
            "--until", AS_OF, "--months", 12, "--events", folder / "events.jsonl", env=where)  # fmt: skip
    for task in BATCH:
        assert json.loads(command(bin_folder, task, env=where).stdout)["months_unchanged"] == 0
    command(bin_folder, "inspect_lake", "verify", env=where)
    decided = command(bin_folder, "invoice_consumer", "--from", folder / "events.jsonl", env=where).stdout
    assert decided.count('"status":') >= INVOICES
    return where


def materials(text: str | bytes) -> dict[str, dict]:
    """Return a bill's components by name and version."""
    return {f"{one['name']} {one['version']}": one for one in json.loads(text)["components"]}


def test_the_wheel_says_which_linux_it_needs_and_brings_no_library(wheel: Path) -> None:
    name = r"invoice_platform-\d+\.\d+\.\d+-py3-none-.*manylinux_(\d+)_(\d+)_(\w+)\.whl"
    glibc = re.fullmatch(name, wheel.name)
    assert glibc, wheel.name
    assert (int(glibc[1]), int(glibc[2])) <= GLIBC_MAX
    assert glibc[3] == os.uname().machine
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if ".so" in name] == []


def test_the_demo_runs_from_the_wheel_in_a_clean_environment(venv: Path, tmp_path: Path) -> None:
    where = demo(venv / "bin", tmp_path)
    for task in BATCH:
        assert json.loads(command(venv / "bin", task, env=where).stdout)["months_unchanged"] == 12


def test_the_first_steps_of_the_docs_are_these(venv: Path, tmp_path: Path) -> None:
    steps = (REPOSITORY / "docs" / "install.md").read_text().split("## First steps")[1]
    block = steps.split("```sh\n")[1].split("```")[0]
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "mkdir").symlink_to("/bin/mkdir")
    env = {"PATH": f"{venv / 'bin'}:{tmp_path / 'tools'}"}
    bash = ["/bin/bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(bash, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total_amount_issued" in done.stdout
    assert re.search(r"\d+\.\d\d", done.stdout)


def test_the_demo_runs_from_the_tarball(unpacked: Path, tmp_path: Path) -> None:
    assert (unpacked / "bin" / "query_source").readlink() == Path("all_tasks")
    demo(unpacked / "bin", tmp_path)


def test_a_command_of_the_wheel_is_the_task_itself(venv: Path) -> None:
    """Its exit codes and its name reach who calls it, through a link as well."""
    bin_folder = venv / "bin"
    assert "Usage: query_source" in command(bin_folder, "query_source", "--help").stdout
    assert "--lake" in command(bin_folder, "query_source", exit_code=2).stderr
    shutil.rmtree(venv / "links", ignore_errors=True)
    (venv / "links").mkdir()
    (venv / "links" / "query_source").symlink_to(bin_folder / "query_source")
    assert "Usage: query_source" in command(venv / "links", "query_source", "--help").stdout


def test_pip_shows_licences_and_the_bill_of_materials(venv: Path) -> None:
    shown = command(venv / "bin", "pip", "show", "--files", "invoice-platform").stdout
    for file in ("licenses/LICENSE", "licenses/THIRD-PARTY-LICENSES.txt", "sboms/rust.cdx.json"):
        assert f".dist-info/{file}" in shown
    assert "Requires: \n" in shown, "Airflow's own packages must have nothing to quarrel with"


def test_wheel_and_tarball_carry_the_same_papers(wheel: Path, unpacked: Path, dist: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        papers = {Path(name).name: archive.read(name) for name in archive.namelist() if ".dist-info/" in name}
        executable = archive.read("invoice_platform/all_tasks")
    assert b"\nLicense-Expression: Apache-2.0\n" in papers["METADATA"]
    for name in ("LICENSE", "THIRD-PARTY-LICENSES.txt", "rust.cdx.json"):
        assert (unpacked / name).read_bytes() == papers[name], name
    assert (unpacked / "bin" / "all_tasks").read_bytes() == executable, "the executable"
    [bill] = dist.glob("*.cdx.json")
    assert bill.read_bytes() == papers["rust.cdx.json"]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=dist, check=True)


def test_the_bill_of_materials_is_valid_and_names_every_linked_package(unpacked: Path) -> None:
    text = (unpacked / "rust.cdx.json").read_text()
    check = (
        "import sys; from cyclonedx.schema import SchemaVersion; "
        "from cyclonedx.validation.json import JsonStrictValidator; "
        "sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or '') or 0)"
    )
    subprocess.run([PACKAGING, "-c", check], input=text, text=True, check=True)

    tree = ["cargo", "tree", "--locked", "--package", "all_tasks", "--edges", "normal", "--prefix", "none",
            "--format", "{p}"]  # fmt: skip
    told = subprocess.run(tree, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    lines = {line.removesuffix(" (*)").removesuffix(" (proc-macro)") for line in told.splitlines()}
    linked = {" ".join(line.split()[:2]).replace(" v", " ") for line in lines} - {"all_tasks 0.1.0"}
    found = materials(text)
    # OpenSSL's own sources are compiled by a build script.
    [openssl] = [name for name in found if name.startswith("openssl-src ")]
    assert set(found) == linked | {openssl}
    assert "invoices 0.1.0" in found
    foreign = {name: one for name, one in found.items() if "purl" in one}
    assert len(foreign) > 300
    licences = (unpacked / "THIRD-PARTY-LICENSES.txt").read_text()
    for name, one in foreign.items():
        assert one["licenses"], name
        assert one["hashes"][0]["alg"] == "SHA-256", name
        assert f"\n{name} (" in licences, name
    assert str(Path.home()) not in text + licences


def run_dag(venv: Path, folder: Path, where: Mapping[str, str]) -> dict[str, str]:
    """Run the example's tasks by Airflow, whose environment holds the wheel's commands."""
    example = REPOSITORY / "docs" / "examples" / "dag_invoices_with_pip.py"
    environment = {
        "PATH": f"{venv / 'bin'}:/usr/bin:/bin",
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "PYTHONDONTWRITEBYTECODE": "1",
    } | where
    line = [AIRFLOW, "-P", REPOSITORY / "tests" / "support" / "run_dag.py", example, AS_OF]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_airflow_runs_the_wheels_commands_beside_its_dags(venv: Path, tmp_path: Path) -> None:
    where = {"SOURCE_URL": f"sqlite:{tmp_path}/invoices.db", "LAKE_URL": tmp_path.as_uri() + "/lake"}
    command(venv / "bin", "populate_tables", "--customers", 50, "--invoices", INVOICES, "--until", AS_OF,
            "--months", 12, env=where)  # fmt: skip
    (tmp_path / "lake").mkdir()
    said = run_dag(venv, tmp_path, where)
    assert list(said) == list(BATCH)
    assert {json.loads(line)["months_unchanged"] for line in said.values()} == {0}
    command(venv / "bin", "inspect_lake", "verify", env=where | {"AS_OF": AS_OF, "MONTHS": "12"})

    away = {"SOURCE_URL": "postgres://nobody@127.0.0.1:1/shop", "LAKE_URL": where["LAKE_URL"]}
    assert run_dag(venv, tmp_path, away) == {"query_source": "retry"}
    missing = {"SOURCE_URL": where["SOURCE_URL"], "LAKE_URL": "ftp://nowhere"}
    assert run_dag(venv, tmp_path, missing) == {"query_source": "fail"}


def test_the_release_workflow_makes_both_from_pinned_actions() -> None:
    workflow = (REPOSITORY / ".github" / "workflows" / "release.yml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", workflow)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action} needs its version beside it"
    assert "run: make dist\n" in workflow
