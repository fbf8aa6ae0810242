"""Months in parallel on Celery workers: the same lake as one run after the other."""

from io import BytesIO

import pyarrow.parquet as pq

from support.stack import BACKFILL, BUCKET, DAG, Stack

TABLES = ("invoices/", "invoice_by_business/", "business_last_n_months/")


def content(stack: Stack) -> dict[str, bytes]:
    """Read every published object."""
    return {
        key: stack.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for prefix in TABLES
        for key in stack.objects(prefix)
    }


def rows(body: bytes) -> list[dict]:
    """Return the rows of a Parquet object of `invoices`, in id order."""
    return pq.read_table(BytesIO(body)).sort_by("invoice_id").to_pylist()


def test_months_in_parallel_on_three_celery_workers_make_the_same_lake(stack: Stack) -> None:
    stack.empty_lake()
    stack.finish(DAG, stack.trigger(DAG, "2026-01-27", months=6))
    one_by_one = content(stack)
    stack.empty_lake()

    scale = [
        "--profile",
        "scale",
        "up",
        "-d",
        "--wait",
        "--wait-timeout",
        "180",
        "--scale",
        "airflow-worker=3",
    ]
    stack.compose(*scale, AIRFLOW_EXECUTOR="CeleryExecutor")
    run_id = stack.trigger(BACKFILL, "2026-01-27", months=6)
    stack.finish(BACKFILL, run_id, timeout=900)
    tasks = [task for task in stack.task_instances(BACKFILL, run_id) if task["map_index"] >= 0]
    assert len(tasks) == 18
    assert len({task["hostname"] for task in tasks}) >= 2, "all tasks ran on one worker"
    assert {task["pool"] for task in tasks if task["task_id"].endswith("query_source_table")} == {"source"}

    in_parallel = content(stack)
    # Each month alone has also written its own window of one month.
    in_parallel = {key: body for key, body in in_parallel.items() if "/months=1/" not in key}
    assert in_parallel.keys() == one_by_one.keys()
    different = {key for key in one_by_one if one_by_one[key] != in_parallel[key]}
    # An object of `invoices` carries the snapshot that it was read in; its rows are the same.
    assert {key for key in different if not key.startswith("invoices/")} == set()
    for key in different:
        assert rows(one_by_one[key]) == rows(in_parallel[key]), key
    stack.verify("2026-01-27", 6)
