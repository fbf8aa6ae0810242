"""The chart on a real Kubernetes of one node, with real pods."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from support.api import add_invoices
from support.kafka import Kafka
from support.kubernetes import CHART, HOST, Node
from support.services import SUPERUSER, Bucket, Database, Minio, Postgres, postgres_binaries, wait_until
from support.stream import traffic
from support.tasks import binary
from support.tasks import run as run_task

NAMESPACE = "invoice-platform"
TOPIC = "postgres.public.invoices"
ROLES = ("reader", "risk", "api")
TASKS = "node.local/tasks:1"
PSQL = "node.local/psql:1"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node that has an image of the tasks, and one of psql."""
    all_tasks = binary("all_tasks")
    names = subprocess.run([all_tasks, "--list"], capture_output=True, text=True, check=True).stdout.split()
    psql = postgres_binaries() / "psql"
    with Node() as node:
        node.make_image(TASKS, [all_tasks], {"all_tasks": names})
        node.make_image(PSQL, [Path("/bin/bash"), psql, Path("/usr/bin/basename")])
        yield node


@pytest.fixture(scope="module")
def database(node: Node) -> Iterator[Database]:
    """A database without any table, which pods reach."""
    with Postgres(address=HOST) as server:
        yield server.create_database("invoices", schema=False)


@pytest.fixture(scope="module")
def bucket(node: Node) -> Iterator[Bucket]:
    """An empty bucket, which pods reach."""
    with Minio(address=HOST) as server:
        yield server.bucket()


@pytest.fixture(scope="module")
def kafka(node: Node) -> Iterator[Kafka]:
    """A broker with the topic of the change events, which pods reach."""
    with Kafka(address=HOST) as broker:
        broker.create_topic(TOPIC)
        yield broker


@pytest.fixture(scope="module")
def values(node: Node, database: Database, bucket: Bucket, kafka: Kafka) -> dict[str, Any]:
    """Values for everything on this node; the token for the API is in `token`."""
    passwords = {role: secrets.token_hex(8) for role in ROLES}
    database.server.passwords |= {f"invoice_{role}": password for role, password in passwords.items()}
    keys = {name: bucket.server.env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    tokens = node.folder / "tokens.txt"
    made = run_task("invoice_api", "token", "--name", "test", "--tokens", tokens)
    node.token = made.result["token"]
    owner = {
        "PGHOST": HOST,
        "PGPORT": str(database.server.port),
        "PGDATABASE": database.name,
        "PGUSER": SUPERUSER,
        "PGPASSWORD": database.server.passwords[SUPERUSER],
    } | {f"INVOICE_{role.upper()}_PASSWORD": password for role, password in passwords.items()}

    def destination(port: int) -> dict[str, Any]:
        return {"to": [{"ipBlock": {"cidr": f"{HOST}/32"}}], "port": port}

    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "768Mi"}}
    asking = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "asking"}}}]
    return {
        "image": {"tasks": TASKS, "postgres": PSQL, "pullPolicy": "Never"},
        "lake": {"url": f"s3://{bucket.name}", "endpoint": bucket.server.endpoint},
        "secrets": {
            "create": {
                "tasks": {
                    "SOURCE_URL": database.url("invoice_reader"),
                    "PGPASSWORD": passwords["reader"],
                    **keys,
                },
                "consumer": {"DECISIONS_URL": database.url("invoice_risk"), "PGPASSWORD": passwords["risk"]},
                "api": {"SOURCE_URL": database.url("invoice_api"), "PGPASSWORD": passwords["api"], **keys},
                "apiTokens": {"tokens.txt": tokens.read_text()},
                "migrations": owner,
            }
        },
        "migrations": {"enabled": True},
        "batch": {"enabled": True, "months": 2, "schedule": "0 0 1 1 *", "resources": resources},
        "consumer": {"enabled": True, "brokers": kafka.bootstrap, "resources": resources},
        "api": {"enabled": True, "resources": resources},
        "networkPolicies": {
            "database": destination(database.server.port),
            "lake": destination(bucket.server.port),
            "kafka": destination(kafka.port),
            "api": {"from": asking},
            "metrics": {"from": asking},
        },
    }


@pytest.fixture(scope="module")
def release(node: Node, values: dict[str, Any]) -> str:
    """The chart, installed; `helm install` returned because all of it was ready."""
    node.namespace(NAMESPACE)
    node.namespace("asking")
    node.namespace("strangers")
    path = node.folder / "values.json"
    path.write_text(json.dumps(values))
    wait = ["--wait", "--wait-for-jobs", "--timeout=200s"]
    node.helm("install", "invoices", CHART, "-n", NAMESPACE, f"--values={path}", *wait)
    return "invoices"


def jobs(node: Node, name: str) -> dict[str, Any]:
    """Return the status of a job."""
    return node.get("job", name, "-n", NAMESPACE)["status"]


def pod_address(node: Node, component: str) -> str:
    """Return the address of a component's pod that is ready."""
    return node.ready_pods(NAMESPACE, component)[0]["status"]["podIP"]


def once_policies_are_there(command: str) -> list[str]:
    """Wait before a command: the policies' controller learns of a new pod within seconds."""
    return ["sh", "-c", f"sleep 8; {command}"]


def test_an_installed_chart_is_ready_and_restricted(node, release, database):
    assert len(node.ready_pods(NAMESPACE, "consumer")) == 2
    # The autoscaler's least, though nobody measures CPU on this node.
    wait_until(lambda: len(node.ready_pods(NAMESPACE, "api")) == 2, 60, "a second pod of the API")
    assert database.sql("select count(*) from invoices") == [(0,)], "migrations made the tables"
    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": NAMESPACE}}
    plain["spec"] = {"containers": [{"name": "main", "image": "node.local/busybox:1"}]}
    with pytest.raises(RuntimeError, match="violates PodSecurity"):
        node.apply(plain)


def test_a_scheduled_job_publishes_the_lake_of_its_day(node, release, database, bucket):
    add_invoices(database, 5000)
    [(newest,)] = database.sql("select max(issue_date)::date from invoices")
    minutes = (newest - date(1970, 1, 1)).days * 24 * 60
    job = f"invoice-batch-{minutes:08}"
    node.kubectl("-n", NAMESPACE, "create", "job", "--from=cronjob/invoice-batch", job)
    wait_until(lambda: jobs(node, job).get("conditions"), 120, "the end of the batch")
    said = node.kubectl("-n", NAMESPACE, "logs", f"job/{job}", "--all-containers")
    assert jobs(node, job).get("succeeded") == 1, said
    month = f"{newest:%Y-%m}-01"
    assert bucket.keys(f"invoices/issue_date_yearmonth={month}/")
    assert bucket.keys(f"invoice_by_business/issue_date_yearmonth={month}/")
    lake = ["--lake", f"s3://{bucket.name}", "--source", database.url(), "--as-of", newest, "--months", 2]
    verified = run_task("inspect_lake", "verify", *lake, env=bucket.server.env | database.env())
    assert verified.exit_code == 0, verified.stderr


def test_a_job_made_by_hand_fails_at_once_with_a_sentence(node, release):
    node.kubectl("-n", NAMESPACE, "create", "job", "--from=cronjob/invoice-batch", "by-hand")
    wait_until(lambda: jobs(node, "by-hand").get("conditions"), 60, "the end of the job")
    status = jobs(node, "by-hand")
    assert status["failed"] == 1, "exit 2 is final"
    assert "set AS_OF to YYYY-MM-DD" in node.kubectl(
        "-n", NAMESPACE, "logs", "job/by-hand", "-c", "query-source"
    )


def test_a_standby_takes_over_when_consumers_are_killed(node, release, database, kafka):
    messages = traffic(1, 400)

    def read_up_to() -> int:
        rows = database.sql("select max(next_offset) from risk.stream_offsets")
        return rows[0][0] or 0

    kafka.produce(TOPIC, messages[:200])
    wait_until(lambda: read_up_to() == 200, 90, "the decisions of the first half")
    names = [pod["metadata"]["name"] for pod in node.ready_pods(NAMESPACE, "consumer")]
    for name in names:
        node.kubectl("-n", NAMESPACE, "delete", "pod", name, "--grace-period=0", "--force")
    kafka.produce(TOPIC, messages[200:])
    wait_until(lambda: read_up_to() == len(messages), 90, "the decisions of the second half")
    doubled = "select invoice_id, lsn from risk.decisions group by 1, 2, op, status having count(*) > 1"
    assert database.sql(doubled) == []


def test_the_api_answers_who_may_ask_and_nobody_else(node, release):
    address = pod_address(node, "api")
    request = f"GET /v1/invoices/1 HTTP/1.0\\r\\nAuthorization: Bearer {node.token}\\r\\n\\r\\n"
    ask = f"(printf '{request}'; sleep 1) | nc -w 3 {address} 8000 | grep -q '200 OK'"
    assert node.run_pod("asking", "may", once_policies_are_there(ask))
    assert not node.run_pod("strangers", "may-not", once_policies_are_there(ask))


def test_policies_cut_off_what_no_arrow_reaches(node, release, database, bucket):
    def reaches(port: int, labels: dict[str, str]) -> bool:
        name = f"try-{secrets.token_hex(3)}"
        connect = f"nc -w 3 {HOST} {port} -e /bin/true"
        return node.run_pod(NAMESPACE, name, once_policies_are_there(connect), labels)

    task = {"kubernetes_pod_operator": "True"}
    assert reaches(database.server.port, task)
    assert reaches(bucket.server.port, task)
    assert not reaches(database.server.port, {})
    consumer = {
        "app.kubernetes.io/name": "invoice-platform",
        "app.kubernetes.io/instance": "invoices",
        "app.kubernetes.io/component": "consumer",
    }
    assert not reaches(bucket.server.port, consumer), "the consumer has no business with the lake"


def test_upgrade_and_rollback_change_the_pods_and_lose_none(node, release, values):
    path = node.folder / "values.json"
    flags = ["-n", NAMESPACE, f"--values={path}", "--wait", "--wait-for-jobs", "--timeout=200s"]
    node.helm("upgrade", release, CHART, *flags, "--set=api.env.RATE_LIMIT=77")
    variables = node.ready_pods(NAMESPACE, "api")[0]["spec"]["containers"][0]["env"]
    assert {"name": "RATE_LIMIT", "value": "77"} in variables
    with pytest.raises(RuntimeError, match="/batch/months"):
        node.helm("upgrade", release, CHART, *flags, "--set=batch.months=0")
    node.helm("rollback", release, "1", "-n", NAMESPACE, "--wait", "--wait-for-jobs", "--timeout=200s")
    variables = node.ready_pods(NAMESPACE, "api")[0]["spec"]["containers"][0]["env"]
    assert all(variable["name"] != "RATE_LIMIT" for variable in variables)


def test_uninstall_leaves_nothing(node, release):
    node.kubectl("-n", NAMESPACE, "delete", "jobs", "--all")
    node.helm("uninstall", release, "-n", NAMESPACE, "--wait")
    kinds = "deployments,cronjobs,jobs,services,secrets,serviceaccounts,configmaps,pods"
    kinds += ",networkpolicies,hpa,pdb,roles,rolebindings"

    def left() -> list[str]:
        names = node.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name").split()
        return [
            name for name in names if name not in ("serviceaccount/default", "configmap/kube-root-ca.crt")
        ]

    wait_until(lambda: left() == [], 60, "the end of every object")
