"""### Invoices by business, many months in parallel

Runs the three tasks once for each month of the window, side by side, then merges the window. The pool
`source` bounds how many tasks read the source at the same time; on Celery or Kubernetes the months
spread over the workers. The result is the same as that of one run of `dag_invoice_by_business`.

Started by hand: choose the window in the form. Empty *As of* means today.
"""

from datetime import date, datetime

from airflow.sdk import DAG, task, task_group

from invoice_tasks import DEFAULT_ARGS, PARAMS, afterwards, aggregate, query_source, write


@task
def months_of_window(as_of: str, months: str) -> list[str]:
    """List the first day of every month of the window, oldest first."""
    last = date.fromisoformat(as_of)
    numbers = range(last.year * 12 + last.month - int(months), last.year * 12 + last.month)
    return [date(number // 12, number % 12 + 1, 1).isoformat() for number in numbers]


with DAG(
    dag_id="dag_invoice_backfill",
    description="The same months as dag_invoice_by_business, each in tasks of its own",
    schedule=None,
    start_date=datetime(2020, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    doc_md=__doc__,
    tags=["invoices", "batch", "backfill"],
):

    @task_group
    def month(as_of: str) -> None:
        """One month from the source to its partitions."""
        one = {"as_of": as_of, "months": "1"}
        query_source(**one) >> aggregate(**one) >> write(**one)

    months = month.expand(as_of=months_of_window("{{ params.as_of or ds }}", "{{ params.months }}"))
    written = write(task_id="write_window")
    months >> aggregate(task_id="aggregate_window") >> written
    afterwards(written)
