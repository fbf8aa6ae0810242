"""### Invoices by business, without containers

The batch path as commands of the wheel, which is installed with pip where Airflow's workers run. The worker's
own environment has `SOURCE_URL`, `LAKE_URL` and the secrets beside them (`PGPASSWORD`, `AWS_…`).
Exit 75 (a service is down) is tried again, everything else fails at once.
"""

import re
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, RetryDecision, RetryPolicy


class RetryExit75(RetryPolicy):
    """Retry what the task itself calls temporary (exit 75)."""

    def evaluate(self, exception, try_number, max_tries, context=None) -> RetryDecision:
        """Find the exit code in the operator's words."""
        if re.search(r"exit code 75\b", str(exception)):
            return RetryDecision.retry(reason="exit 75: the task says try again")
        return RetryDecision.fail(reason="nothing that the same run again would mend")


def task(command: str) -> BashOperator:
    """Run one command of the wheel for the day of the run."""
    return BashOperator(
        task_id=command,
        bash_command=f"exec {command}",
        env={"AS_OF": "{{ ds }}", "MONTHS": "12", "LOG_FORMAT": "text"},
        append_env=True,
    )


with DAG(
    dag_id="dag_invoices_with_pip",
    description="Last 12 months of invoices, grouped by business, by commands on the worker",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 5,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2,
        "retry_policy": RetryExit75(),
        "execution_timeout": timedelta(hours=6),
    },
    doc_md=__doc__,
    tags=["invoices", "batch"],
):
    task("query_source") >> task("aggregate_by_business") >> task("write_partitioned_parquet")
