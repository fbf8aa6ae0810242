"""The DAGs load, say what they should, and do nothing while they are read."""

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest

from support.services import REPOSITORY, tools_folder

DAGS = REPOSITORY / "airflow" / "dags"
SNAPSHOTS = Path(__file__).parent / "snapshots"
# Airflow lives in an environment of its own: its lock and that of the tests have nothing in common.
PYTHON = tools_folder() / "airflow" / "bin" / "python"
LOADER = Path(__file__).parent / "support" / "load_dags.py"
FORBIDDEN_AT_TOP_LEVEL = {
    "open",
    "connect",
    "get_connection",
    "run",
    "Popen",
    "urlopen",
    "get",
    "post",
    "now",
    "today",
}


def load(folder: Path, tasks_on: str = "docker", **environ: str) -> dict:
    """Load the DAGs as Airflow's processor does, in a process without database or network."""
    environment = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "INVOICE_TASKS_ON": tasks_on,
        "PYTHONDONTWRITEBYTECODE": "1",
    } | environ
    command = [str(PYTHON), "-P", str(LOADER), str(DAGS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The DAGs with DockerOperator tasks."""
    return load(tmp_path_factory.mktemp("airflow"))


def check_snapshot(name: str, found: object) -> None:
    """Compare with the file of that name; UPDATE_SNAPSHOTS=1 writes it anew."""
    path = SNAPSHOTS / name
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{name} changed: UPDATE_SNAPSHOTS=1 pytest, and read the difference"


def test_dags_load_without_errors_in_less_than_a_second(loaded: dict) -> None:
    assert loaded["import_errors"] == {}
    assert sorted(loaded["dags"]) == ["dag_invoice_backfill", "dag_invoice_by_business"]
    assert {file: seconds for file, seconds in loaded["seconds"].items() if seconds >= 1} == {}


def test_dags_say_what_people_need_to_know(loaded: dict) -> None:
    for name, dag in loaded["dags"].items():
        assert dag["catchup"] is False, name
        assert dag["doc_md"].startswith("### "), name
        assert dag["description"], name
        assert "invoices" in dag["tags"], name
        assert dag["owner"] == "data-platform", name
        assert sorted(dag["params"]) == ["as_of", "engine", "months", "partition_by", "refresh"], name
        for task in dag["tasks"].values():
            assert task["retries"] == 5, name
            assert task["execution_timeout"] == 6 * 3600, name
            assert task["retry_policy"] == "RetryExit75", name
    daily = loaded["dags"]["dag_invoice_by_business"]
    assert daily["interval"] == ["2026-01-31T00:00:00+00:00", "2026-02-01T00:00:00+00:00"]
    outlets = {name: task["outlets"] for name, task in daily["tasks"].items()}
    assert outlets == {
        "query_source_table": ["invoices"],
        "aggregate_by_business": [],
        "write_partitioned_parquet": ["business_last_n_months", "invoice_by_business"],
    }
    order = {name: task["downstream"] for name, task in daily["tasks"].items()}
    assert order == {
        "query_source_table": ["aggregate_by_business"],
        "aggregate_by_business": ["write_partitioned_parquet"],
        "write_partitioned_parquet": [],
    }


def test_optional_steps_follow_the_last_task_of_a_run(tmp_path: Path) -> None:
    dags = load(tmp_path, INVOICE_AFTERWARDS="publish")["dags"]
    for dag, last in (
        ("dag_invoice_by_business", "write_partitioned_parquet"),
        ("dag_invoice_backfill", "write_window"),
    ):
        tasks = dags[dag]["tasks"]
        assert tasks[last]["downstream"] == ["publish_tables"]
        assert tasks["publish_tables"]["downstream"] == []


def test_the_spark_cluster_is_a_fact_of_the_deployment(loaded: dict, tmp_path: Path) -> None:
    remote = "sc://spark.internal:15002"
    with_cluster = load(tmp_path, INVOICE_SPARK_REMOTE=remote, INVOICE_SPARK_LAKE_URL="s3a://de-challenge")
    for case, tasks in with_cluster["rendered"].items():
        environment = tasks["aggregate_by_business"]["environment"]
        assert environment["SPARK_REMOTE"] == remote
        assert environment["SPARK_LAKE_URL"] == "s3a://de-challenge"
        without = loaded["rendered"][case]["aggregate_by_business"]
        assert not [name for name in without["environment"] if name.startswith("SPARK")]
        assert tasks["aggregate_by_business"]["command"] == without["command"]


def test_the_step_that_registers_knows_its_catalog(tmp_path: Path) -> None:
    catalog = {"CATALOG_URL": "thrift://metastore:9083", "CATALOG_DATABASE": "finance"}
    loaded = load(tmp_path, INVOICE_AFTERWARDS="publish,register", **catalog)
    for dag in ("dag_invoice_by_business", "dag_invoice_backfill"):
        tasks = loaded["dags"][dag]["tasks"]
        assert tasks["publish_tables"]["downstream"] == ["register_tables"]
        assert tasks["register_tables"]["downstream"] == []
    register = loaded["rendered"]["scheduled for 2026-01-31"]["register_tables"]
    assert register["command"] == ["query_lake", "register"]
    assert register["environment"]["CATALOG_URL"] == "thrift://metastore:9083"
    assert register["environment"]["DATABASE"] == "finance"


def test_rendered_commands_per_date(loaded: dict) -> None:
    check_snapshot("docker_tasks.json", loaded["rendered"])


def test_one_switch_makes_pods_that_run_the_same_commands(loaded: dict, tmp_path: Path) -> None:
    on_kubernetes = load(tmp_path, "kubernetes")
    assert on_kubernetes["import_errors"] == {}
    check_snapshot("kubernetes_tasks.json", on_kubernetes["rendered"])
    for case, tasks in loaded["rendered"].items():
        for task, fields in tasks.items():
            pod = on_kubernetes["rendered"][case][task]
            assert pod["cmds"] + pod["arguments"] == fields["command"]
    assert "PASSWORD" not in json.dumps(on_kubernetes["pod"])
    check_snapshot("pod.json", on_kubernetes["pod"])


def test_the_source_connection_says_what_the_table_is_like(tmp_path: Path) -> None:
    extra = {
        "sslmode": "verify-full",
        "source_table": "billing.docs",
        "source_where": "status <> 'draft'",
        "source_columns": "status,due_date=due_on",
        "amount_unit": "cents",
        "amount_scale": 0,
        "allow_repeated_ids": True,
        "source_time_zone": None,
    }
    source = {"conn_type": "postgres", "host": "db", "schema": "erp", "login": "reader", "password": "x"}
    environment = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONN_INVOICE_SOURCE": json.dumps(source | {"extra": extra}),
        "AIRFLOW_CONN_INVOICE_LAKE": json.dumps({"conn_type": "aws", "login": "key", "password": "secret"}),
        "PYTHONPATH": str(DAGS),
    }
    script = "import json, invoice_tasks; print(json.dumps(invoice_tasks.connection_environment()))"
    done = subprocess.run(
        [PYTHON, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "SOURCE_URL": "postgres://reader@db:5432/erp?sslmode=verify-full",
        "PGPASSWORD": "x",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SOURCE_TABLE": "billing.docs",
        "SOURCE_WHERE": "status <> 'draft'",
        "SOURCE_COLUMNS": "status,due_date=due_on",
        "AMOUNT_UNIT": "cents",
        "AMOUNT_SCALE": "0",
        "ALLOW_REPEATED_IDS": "true",
    }


def test_only_exit_75_is_tried_again(loaded: dict) -> None:
    assert loaded["retries"] == {
        "docker 75": "retry",
        "kubernetes 75": "retry",
        "docker 65": "fail",
        "docker 70": "fail",
        "docker 137": "fail",
        "kubernetes 2": "fail",
        "no exit code": "fail",
    }


def test_the_result_is_found_wherever_the_engine_puts_it(loaded: dict) -> None:
    assert loaded["results"] == [{"rows": 2}, {"rows": 2}, None]


def test_months_of_a_window(loaded: dict) -> None:
    assert loaded["months"] == ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01"]


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_nothing_is_read_or_called_at_top_level(path: Path) -> None:
    """Only definitions: a call of this kind outside a function would run at every parse."""

    def calls(node: ast.AST) -> list[str]:
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            return []
        found = [name for child in ast.iter_child_nodes(node) for name in calls(child)]
        if isinstance(node, ast.Call):
            called = node.func
            text = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            is_environment = ast.unparse(called) == "os.environ.get"
            if text in FORBIDDEN_AT_TOP_LEVEL and not is_environment:
                found.append(f"{text} in line {node.lineno}")
        return found

    assert calls(ast.parse(path.read_text())) == []


def test_ruff_finds_nothing_that_airflow_3_no_longer_has() -> None:
    command = ["ruff", "check", "--no-cache", "--select", "AIR", str(DAGS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
