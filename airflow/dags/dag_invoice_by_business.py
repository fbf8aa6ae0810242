"""### Invoices by business

Every day: brings the lake's copy of the last *n* months of invoices up to date with the source, groups
them by business, and publishes the statistics as Parquet partitions.

- **Days** are UTC. The run for a day starts when the day is over; its window ends with that day's month.
- **Only what changed** is read: an unchanged month costs one fingerprint in the source.
- **Rerun** any task or any day at any time: partitions are replaced as a whole, never added to.
- **Failures:** exit 75 (a service is down) is retried with growing pauses, everything else fails at once.
  The last lines of a task's log say what was done or what was refused.
"""

from datetime import datetime

from airflow.sdk import DAG, CronDataIntervalTimetable

from invoice_tasks import DEFAULT_ARGS, PARAMS, afterwards, aggregate, query_source, write

with DAG(
    dag_id="dag_invoice_by_business",
    description="Last n months of invoices, grouped by business, as Parquet partitions",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
    doc_md=__doc__,
    tags=["invoices", "batch"],
):
    written = write()
    query_source() >> aggregate() >> written
    afterwards(written)
