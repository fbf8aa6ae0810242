"""No secret of the stack is seen where many can look. Last, when the stack has done all it does."""

import json
from pathlib import Path

from support.engine import docker
from support.stack import DAG, Stack


def test_no_secret_is_where_it_does_not_belong(stack: Stack) -> None:
    """The stack's secrets are random, so each is its own canary."""
    secrets = {name: value for name, value in stack.env.items() if len(value) >= 32}
    assert len(secrets) >= 11
    with stack.source_locked():
        run_id = stack.trigger(DAG, "2026-01-26")
        container = stack.wait_for_task_container(run_id)
        inspected = json.loads(docker("inspect", container, *docker("ps", "-aq").split()))
        places = {
            "command lines in docker inspect": json.dumps(
                [
                    [one["Path"], one["Args"], one["Config"]["Cmd"], one["Config"]["Entrypoint"]]
                    for one in inspected
                ]
            ),
            "process lists": " ".join(
                path.read_text(errors="replace")
                for path in Path("/proc").glob("[0-9]*/cmdline")
                if path.exists()
            ),
        }
    stack.finish(DAG, run_id)
    places["what containers print"] = stack.compose("--profile", "*", "logs", "--no-color")
    places["task logs"] = stack.exec(
        "airflow-scheduler", "python", "-c",
        "import pathlib\nfor p in pathlib.Path('/opt/airflow/logs').rglob('*.log'): print(p.read_text())",
    )  # fmt: skip
    for table in (
        "rendered_task_instance_fields",
        "xcom",
        "log",
        "serialized_dag",
        "dag_run",
        "task_instance",
    ):
        rows = stack.sql(f"select coalesce(string_agg(t::text, ' '), '') from {table} t", database="airflow")
        places[f"Airflow's table {table}"] = rows[0][0]
    assert (
        "months_written" in places["Airflow's table xcom"]
        or "months_unchanged" in places["Airflow's table xcom"]
    )
    assert "done in" in places["task logs"]
    found = [
        (place, name) for place, text in places.items() for name, value in secrets.items() if value in text
    ]
    assert found == []
