"""The same stack on Celery workers: switched in place, the same lake, a worker killed."""

from io import BytesIO

import pyarrow.parquet as pq
import pytest

from support.stack import BACKFILL, BUCKET, DAG, Stack, kill_hard, wait_until

TABLES = ("invoices/", "invoice_by_business/", "business_last_n_months/")
MONTHS = 4


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


@pytest.fixture(scope="module")
def celery(stack: Stack) -> Stack:
    """The stack on three workers, and with another password for the admin: `.env` edited, down, and up."""
    stack.empty_lake()
    stack.finish(DAG, stack.trigger(DAG, "2026-01-27", months=MONTHS))
    before = stack.count_runs(DAG, "limit=1"), stack.objects()
    stack.run("make", "down")
    assert stack.containers() == []
    stack.set_env(AIRFLOW_EXECUTOR="CeleryExecutor", AIRFLOW_ADMIN_PASSWORD="no longer admin")
    stack.profiles, stack.token = "scale", ""
    stack.run("make", "up", "ARGS=--wait-timeout 600 --scale airflow-worker=3")
    assert (stack.count_runs(DAG, "limit=1"), stack.objects()) == before
    return stack


def test_a_changed_password_takes_effect_with_make_up(celery: Stack) -> None:
    with pytest.raises(AssertionError, match="401"):
        celery.log_in("admin")
    assert celery.log_in("no longer admin")


def test_months_in_parallel_on_three_celery_workers_make_the_same_lake(celery: Stack) -> None:
    one_by_one = content(celery)
    celery.empty_lake()

    run_id = celery.trigger(BACKFILL, "2026-01-27", months=MONTHS)
    celery.finish(BACKFILL, run_id, timeout=900)
    tasks = [task for task in celery.task_instances(BACKFILL, run_id) if task["map_index"] >= 0]
    assert len(tasks) == 3 * MONTHS
    assert len({task["hostname"] for task in tasks}) >= 2, "all tasks ran on one worker"
    assert {task["pool"] for task in tasks if task["task_id"].endswith("query_source_table")} == {"source"}

    in_parallel = content(celery)
    # Each month alone has also written its own window of one month.
    in_parallel = {key: body for key, body in in_parallel.items() if "/months=1/" not in key}
    assert in_parallel.keys() == one_by_one.keys()
    different = {key for key in one_by_one if one_by_one[key] != in_parallel[key]}
    # An object of `invoices` carries the snapshot that it was read in; its rows are the same.
    assert {key for key in different if not key.startswith("invoices/")} == set()
    for key in different:
        assert rows(one_by_one[key]) == rows(in_parallel[key]), key
    celery.verify("2026-01-27", MONTHS)


@pytest.mark.faults
def test_a_killed_celery_worker_ends_in_the_right_lake(celery: Stack) -> None:
    celery.empty_lake()
    with celery.source_locked():
        run_id = celery.trigger(DAG, "2026-01-23", months=MONTHS)
        first = celery.wait_for_task_container(run_id)
        (worker,) = {task["hostname"] for task in celery.task_instances(DAG, run_id) if task["hostname"]}
        kill_hard(worker)
        wait_until(lambda: celery.task_containers() not in ([], [first]), 400, "the second try")
    celery.finish(DAG, run_id)
    assert celery.tries(DAG, run_id)["query_source_table"] == 2
    assert celery.task_containers() == []
    celery.verify("2026-01-23", MONTHS)
