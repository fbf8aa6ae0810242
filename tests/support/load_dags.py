"""Run by Airflow's Python: loads a DAG folder and prints what the tests look at, as one line of JSON."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))

# What the DAG processor has imported before it reads any file is not part of a file's time.
from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.providers.docker.operators.docker import DockerOperator  # noqa: E402, F401

CASES = {
    "scheduled for 2026-01-31": ("2026-01-31", {}),
    "scheduled for 2024-02-29": ("2024-02-29", {}),
    "by hand": (
        "2026-01-31",
        {
            "as_of": "2025-06-15",
            "months": 3,
            "refresh": "window",
            "partition_by": "month,bucket(business_id,64)",
            "engine": "spark",
        },
    ),
}

bag = DagBag(str(folder), collect_dags=False)
seconds = {}
for path in sorted(folder.glob("dag_*.py")):
    started = time.perf_counter()
    bag.process_file(str(path))
    seconds[path.name] = round(time.perf_counter() - started, 3)

import invoice_tasks  # noqa: E402 - the module that the DAGs have just imported


def render(task: object, day: str, params: dict) -> dict:
    """Render a task's templates as the day's run would."""
    context = {
        "ds": day,
        "params": {name: param.value for name, param in dag.params.items()} | params,
        "ti": SimpleNamespace(
            dag_id=dag.dag_id, task_id=task.task_id, run_id=f"run-{day}", map_index=-1, try_number=1
        ),
    }
    copy = task.prepare_for_execution()
    copy.render_template_fields(context)
    names = ("image", "command", "cmds", "arguments", "environment", "labels")
    return {name: getattr(copy, name) for name in names if getattr(copy, name, None)}


def describe(dag: object) -> dict:
    """Say what a DAG and its tasks are set to."""
    return {
        "catchup": dag.catchup,
        "doc_md": dag.doc_md,
        "description": dag.description,
        "tags": sorted(dag.tags),
        "owner": dag.owner,
        "params": list(dag.params),
        "tasks": {
            task.task_id: {
                "retries": task.retries,
                "execution_timeout": task.execution_timeout.total_seconds(),
                "retry_policy": type(task.retry_policy).__name__,
                "outlets": sorted(outlet.name for outlet in task.outlets),
                "downstream": sorted(task.downstream_task_ids),
            }
            for task in dag.tasks
        },
    }


found = {
    "import_errors": bag.import_errors,
    "seconds": seconds,
    "dags": {name: describe(dag) for name, dag in bag.dags.items()},
}
dag = bag.dags["dag_invoice_by_business"]
found["rendered"] = {
    case: {task.task_id: render(task, day, params) for task in dag.tasks}
    for case, (day, params) in CASES.items()
}

from airflow.serialization.encoders import coerce_to_core_timetable  # noqa: E402

interval = coerce_to_core_timetable(dag.timetable).infer_manual_data_interval(
    run_after=datetime(2026, 2, 1, tzinfo=UTC)
)
found["dags"][dag.dag_id]["interval"] = [interval.start.isoformat(), interval.end.isoformat()]

policy = invoice_tasks.RetryExit75()
messages = {
    "docker 75": "Docker container failed: {'Error': None, 'StatusCode': 75}",
    "docker 65": "Docker container failed: {'Error': None, 'StatusCode': 65}",
    "docker 70": "Docker container failed: {'Error': None, 'StatusCode': 70}",
    "docker 137": "Docker container failed: {'Error': None, 'StatusCode': 137}",
    "kubernetes 75": "Pod x returned a failure.\nremote_pod: {'exit_code': 75}",
    "kubernetes 2": "Pod x returned a failure.\nremote_pod: {'exit_code': 2}",
    "no exit code": "connection refused",
}
found["retries"] = {
    name: policy.evaluate(RuntimeError(text), 1, 5).action.value for name, text in messages.items()
}
found["results"] = [
    invoice_tasks.result_line(lines)
    for lines in (["INFO x", '{"rows":2}', "INFO done"], ['{"rows":1}', '{"rows":2}'], ["nothing"])
]
months = bag.dags["dag_invoice_backfill"].get_task("months_of_window").python_callable
found["months"] = months("2026-02-10", "4")

if invoice_tasks.TASKS_ON == "kubernetes":
    pod = dag.get_task("query_source_table").prepare_for_execution()
    pod.render_template_fields(
        {"ds": "2026-01-31", "params": {name: param.value for name, param in dag.params.items()}}
    )
    # Where the cluster is doesn't matter to a pod's specification.
    pod.hook = SimpleNamespace(is_in_cluster=True)
    spec = pod.build_pod_request_obj().to_dict()
    spec["metadata"]["name"] = "(random)"
    found["pod"] = spec

print(json.dumps(found, default=str))
