"""Makes the operator that runs one task binary in a container of its own; DAGs say the rest.

INVOICE_TASKS_ON chooses where containers run: `docker` (the default) or `kubernetes`. Secrets reach a
container as environment variables only: on Docker from the Airflow connections `invoice_source` and
`invoice_lake`, looked up when the task runs; on Kubernetes from the Secret `invoice-platform`.
"""

import json
import os
import re
from datetime import timedelta
from urllib.parse import quote

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Asset, BaseHook, BaseOperator, Param, RetryDecision, RetryPolicy

TASKS_ON = os.environ.get("INVOICE_TASKS_ON", "docker")
IMAGE = os.environ.get("INVOICE_TASKS_IMAGE", "invoice-platform/tasks:dev")
NETWORK = os.environ.get("INVOICE_TASKS_NETWORK", "invoice-platform_tasks")
NAMESPACE = os.environ.get("INVOICE_TASKS_NAMESPACE", "invoice-platform")
LAKE_URL = os.environ.get("LAKE_URL", "s3://de-challenge")
# Steps after a run, none by default: `publish` makes versions of the Delta tables, `register` tells
# a catalog.
AFTERWARDS = [step for step in os.environ.get("INVOICE_AFTERWARDS", "").split(",") if step]
SOURCE_POOL = "source"
# The pause before the second try; each later one is twice as long.
RETRY_SECONDS = int(os.environ.get("INVOICE_TASKS_RETRY_SECONDS", "30"))
TRY_AGAIN = 75

# What else the deployment has: the Spark cluster of the engine `spark` (a URL with a token belongs into a
# secret instead), the catalog of the step `register` and its database.
DEPLOYMENT = {
    "SPARK_REMOTE": os.environ.get("INVOICE_SPARK_REMOTE"),
    "SPARK_LAKE_URL": os.environ.get("INVOICE_SPARK_LAKE_URL"),
    "CATALOG_URL": os.environ.get("CATALOG_URL"),
    "DATABASE": os.environ.get("CATALOG_DATABASE"),
}
# What all tasks see; logs as text, because people read them in Airflow's pages.
ENVIRONMENT = {"LAKE_URL": LAKE_URL, "LOG_FORMAT": "text"}
ENVIRONMENT |= {name: value for name, value in DEPLOYMENT.items() if value}

# One task of one run, and its try: what an earlier try has left running is found by them.
TASK_LABEL = "invoice-platform.task"
TRY_LABEL = "invoice-platform.try"
LABELS = {
    TASK_LABEL: "{{ ti.dag_id }}/{{ ti.task_id }}/{{ ti.run_id }}/{{ ti.map_index }}",
    TRY_LABEL: "{{ ti.try_number }}",
}

INVOICES = Asset(name="invoices", uri=f"{LAKE_URL}/invoices")
INVOICE_BY_BUSINESS = Asset(name="invoice_by_business", uri=f"{LAKE_URL}/invoice_by_business")
BUSINESS_LAST_N_MONTHS = Asset(name="business_last_n_months", uri=f"{LAKE_URL}/business_last_n_months")

# The form of a manual run. A scheduled run takes the day that it is for.
PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date",
        title="As of",
        description="The window ends with the month of this date. Empty: the day the run is for.",
    ),
    "months": Param(12, type="integer", minimum=1, maximum=1200, title="Months"),
    "refresh": Param(
        "changed",
        type="string",
        enum=["changed", "window", "latest"],
        title="Refresh",
        description="Which months to read again: what changed, all of them, or the newest.",
    ),
    "engine": Param(
        "polars",
        type="string",
        enum=["polars", "spark"],
        title="Engine",
        description="Who groups the invoices: the task itself, or the Spark cluster of INVOICE_SPARK_REMOTE.",
    ),
    "partition_by": Param(
        "month,business_id",
        type="string",
        pattern=r"^month(,business_id|,bucket\(business_id,[1-9][0-9]*\))?$",
        title="Partition by",
        description="month,business_id · month,bucket(business_id,64) for many businesses · month",
    ),
}
AS_OF = "{{ params.as_of or ds }}"
MONTHS = "{{ params.months }}"
REFRESH = "{{ params.refresh }}"
ENGINE = "{{ params.engine }}"
PARTITION_BY = "{{ params.partition_by }}"


class RetryExit75(RetryPolicy):
    """Retry what the task itself calls temporary (exit 75); anything else fails at once."""

    def evaluate(self, exception, try_number, max_tries, context=None) -> RetryDecision:
        """Find the exit code in the text of the Docker or the Kubernetes operator's exception."""
        match = re.search(r"'(?:StatusCode|exit_code)': (\d+)", str(exception))
        if match and int(match[1]) == TRY_AGAIN:
            return RetryDecision.retry(reason="exit 75: the task says try again")
        return RetryDecision.fail(reason=f"exit {match[1]}" if match else "not an exit code of the task")


DEFAULT_ARGS = {
    "owner": "data-platform",
    "retries": 5,
    "retry_delay": timedelta(seconds=RETRY_SECONDS),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": RetryExit75(),
    "execution_timeout": timedelta(hours=6),
}


# What the table is like, said by the source connection's extra in lower case: docs/howto/another-table.md.
TABLE_SETTINGS = (
    "SOURCE_TABLE",
    "SOURCE_WHERE",
    "SOURCE_COLUMNS",
    "INVOICE_ID_COLUMN",
    "ISSUE_DATE_COLUMN",
    "ISSUER_COLUMN",
    "RECEIVER_COLUMN",
    "AMOUNT_COLUMN",
    "AMOUNT_SCALE",
    "AMOUNT_UNIT",
    "ROUND_FLOATS",
    "ALLOW_REPEATED_IDS",
    "SOURCE_TIME_ZONE",
)


def connection_environment() -> dict[str, str]:
    """Read Airflow's connections, secrets included, in the variables that the task binaries know."""
    source = BaseHook.get_connection("invoice_source")
    lake = BaseHook.get_connection("invoice_lake")
    options = f"?sslmode={source.extra_dejson['sslmode']}" if "sslmode" in source.extra_dejson else ""
    address = f"{source.host}:{source.port or 5432}/{source.schema}"
    secrets = {
        "SOURCE_URL": f"postgres://{quote(source.login or '', safe='')}@{address}{options}",
        "PGPASSWORD": source.password,
        "AWS_ACCESS_KEY_ID": lake.login,
        "AWS_SECRET_ACCESS_KEY": lake.password,
        "AWS_REGION": lake.extra_dejson.get("region_name"),
        "AWS_ENDPOINT_URL": lake.extra_dejson.get("endpoint_url"),
    }
    if (secrets["AWS_ENDPOINT_URL"] or "").startswith("http://"):
        secrets["AWS_ALLOW_HTTP"] = "true"
    for name in TABLE_SETTINGS:
        value = source.extra_dejson.get(name.lower())
        # Numbers, true and false are read by the tasks as JSON writes them.
        secrets[name] = value if value is None or isinstance(value, str) else json.dumps(value)
    return {name: value for name, value in secrets.items() if value}


def result_line(lines: list[str]) -> dict | None:
    """Find a task's result among what it printed: the engine may deliver log lines after it."""
    results = [line for line in lines if line.startswith("{")]
    return json.loads(results[-1]) if results else None


class DockerTask(DockerOperator):
    """A DockerOperator that knows its secrets only while it runs, and cleans up after an earlier try."""

    template_fields = (*DockerOperator.template_fields, "labels")

    def execute(self, context):
        """Remove what a try that was cut off has left running, then run."""
        self._private_environment = connection_environment()
        label = f"{TASK_LABEL}={self.labels[TASK_LABEL]}"
        for container in self.cli.containers(all=True, filters={"label": label}):
            # Never one of the same try: `airflow tasks test` and the scheduler may both be at it.
            if int(container["Labels"][TRY_LABEL]) < int(self.labels[TRY_LABEL]):
                self.log.info("Removing the container of an earlier try: %s", container["Id"][:12])
                self.cli.remove_container(container["Id"], force=True)
        return result_line(super().execute(context) or [])

    def on_kill(self):
        """Stop and remove the container within the five seconds that Airflow gives this."""
        if self.container:
            self.cli.stop(self.container["Id"], timeout=2)
            self.cli.remove_container(self.container["Id"], force=True)


def docker_task(task_id: str, command: list, **options) -> BaseOperator:
    """Run a task binary in a container of the engine that DOCKER_HOST names."""
    return DockerTask(
        task_id=task_id,
        image=IMAGE,
        command=command,
        environment=ENVIRONMENT,
        network_mode=NETWORK,
        labels=LABELS,
        auto_remove="force",
        xcom_all=True,
        mount_tmp_dir=False,
        **options,
    )


def kubernetes_task(task_id: str, command: list, **options) -> BaseOperator:
    """Run a task binary in a pod; Airflow finds the pod of an earlier try by its labels itself."""
    # Imported here because the client's models take longer to import than all else in a DAG.
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import models as k8s

    return KubernetesPodOperator(
        task_id=task_id,
        name=task_id.replace("_", "-"),
        namespace=NAMESPACE,
        image=IMAGE,
        cmds=command[:1],
        arguments=command[1:],
        env_vars=ENVIRONMENT,
        env_from=[k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name="invoice-platform"))],
        service_account_name="invoice-tasks",
        automount_service_account_token=False,
        container_resources=k8s.V1ResourceRequirements(
            requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "2Gi"}
        ),
        security_context={"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        container_security_context={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        on_finish_action="delete_pod",
        # The exit code that RetryExit75 looks for is in the pod's status.
        log_pod_spec_on_failure=True,
        do_xcom_push=False,
        **options,
    )


run_task = {"docker": docker_task, "kubernetes": kubernetes_task}[TASKS_ON]


def query_source(task_id="query_source_table", as_of=AS_OF, months=MONTHS, **options) -> BaseOperator:
    """Copy the window's invoices from the source to the lake."""
    command = ["query_source", "--as-of", as_of, "--months", months, "--refresh", REFRESH]
    return run_task(task_id, command, outlets=[INVOICES], pool=SOURCE_POOL, **options)


def aggregate(task_id="aggregate_by_business", as_of=AS_OF, months=MONTHS, **options) -> BaseOperator:
    """Group the window's invoices by month and business, and over the window."""
    command = ["aggregate_by_business", "--as-of", as_of, "--months", months, "--engine", ENGINE]
    return run_task(task_id, command, **options)


def write(task_id="write_partitioned_parquet", as_of=AS_OF, months=MONTHS, **options) -> BaseOperator:
    """Publish the statistics as partitions."""
    command = ["write_partitioned_parquet", "--as-of", as_of, "--months", months]
    command += ["--partition-by", PARTITION_BY]
    return run_task(task_id, command, outlets=[INVOICE_BY_BUSINESS, BUSINESS_LAST_N_MONTHS], **options)


def afterwards(last: BaseOperator) -> None:
    """Add the optional steps behind the last task of a run, one after the other."""
    for step in AFTERWARDS:
        following = run_task(f"{step}_tables", ["query_lake", step])
        last >> following
        last = following
