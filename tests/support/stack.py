"""The compose stack under test, as `make up` starts it, on free ports and with data of its own."""

import atexit
import contextlib
import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import psycopg

from support.engine import BUILD_ENVIRONMENT, Engine, build_images, docker
from support.process import free_port
from support.services import REPOSITORY
from support.tasks import run

BUCKET = "de-challenge"
DAG = "dag_invoice_by_business"
BACKFILL = "dag_invoice_backfill"
# The last day of the mock invoices, which go back two years.
UNTIL = "2026-01-31"
PORTS = ("AIRFLOW_PORT", "POSTGRES_PORT", "S3_PORT", "S3_CONSOLE_PORT", "KAFKA_PORT", "CONNECT_PORT")
# Shorter than the longest task of the tests, so that they show what happens when a token ends.
TOKEN_SECONDS = 15
DONE = ("success", "failed")


def wait_until(condition: Callable[[], Any], timeout: float, what: str) -> None:
    """Poll twice a second, which is often enough for containers and leaves them the processor."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} didn't come within {timeout} s"
        time.sleep(0.5)


def kill_hard(container: str) -> None:
    """Kill a container's first process as the kernel would, so that its restart policy applies."""
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", container))
    os.kill(pid, signal.SIGKILL)


class Stack:
    """One compose project. Starts on entering, forgets everything on leaving."""

    def __init__(self) -> None:
        """Build the images and start; the time that starting took is kept."""
        self.engine = Engine()
        self.profiles = "streaming"
        self.left: list[str] | None = None
        self.name = f"invoice-test-{secrets.token_hex(3)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.env_file = self.folder / "env"
        # Tags of its own, because other clones may test on the same engine.
        build_images(self.name)
        self.run("scripts/make-env.sh", str(self.env_file))
        ports = {name: str(free_port()) for name in PORTS}
        more = ports | {"PLATFORM_VERSION": self.name, "AIRFLOW_TASK_TOKEN_SECONDS": str(TOKEN_SECONDS)}
        self.set_env(**more)
        self.airflow_url = f"http://127.0.0.1:{self.env['AIRFLOW_PORT']}"
        self.token = ""
        atexit.register(self.close)
        started = time.monotonic()
        try:
            self.run("make", "up", "ARGS=--wait-timeout 600")
        except RuntimeError as error:
            logs = self.compose("logs", "--tail", "30")
            self.close()
            raise RuntimeError(f"{error}\n{logs[-6000:]}") from None
        self.seconds_to_healthy = time.monotonic() - started

    def set_env(self, **values: str) -> None:
        """Change variables in the .env of this stack; the next `make up` reads it."""
        lines = self.env_file.read_text().splitlines()
        kept = [line for line in lines if line.split("=")[0] not in values]
        changed = [f"{name}={value}" for name, value in values.items()]
        self.env_file.write_text("\n".join([*kept, *changed, ""]))
        self.env = dict(line.split("=", 1) for line in [*kept, *changed] if line and line[0] != "#")

    def close(self) -> None:
        """Remove containers, networks, data and tags; what the tags named stays in the caches."""
        atexit.unregister(self.close)
        with contextlib.suppress(Exception):
            owner = f"label=invoice-platform.owner={self.name}"
            for container in docker("ps", "-aq", "--filter", owner).split():
                docker("rm", "-f", container, check=False)
            self.run("make", "down", "ARGS=--volumes --timeout 5")
            self.left = self.leftovers()
            for image in ("tasks", "airflow", "socket-proxy"):
                docker("rmi", f"invoice-platform/{image}:{self.name}", check=False)
        subprocess.run(["rm", "-rf", str(self.folder)], check=False)
        self.engine.close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Compose and of the project's scripts."""
        return os.environ | BUILD_ENVIRONMENT | {
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_ENV_FILES": str(self.env_file),
            "COMPOSE_FILE": "docker-compose.yaml:tests/stack.yaml",
            "COMPOSE_PROFILES": self.profiles,
            # They have just been built or loaded.
            "UP_BUILD": "--no-build",
        }  # fmt: skip

    def run(self, *command: str) -> str:
        """Run a command of the project for this stack, in the project's folder."""
        done = subprocess.run(
            command, env=self.environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=1800,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def compose(self, *arguments: str, timeout: float = 300, **environment: str) -> str:
        """Run a Compose command for this stack."""
        return docker(
            "compose", *arguments, cwd=REPOSITORY, env=self.environment | environment, timeout=timeout
        )

    def container(self, service: str) -> str:
        """Return the name of a service's first container."""
        return f"{self.name}-{service}-1"

    def exec(self, service: str, *command: str, timeout: float = 600) -> str:
        """Run a command in a service's container with `docker exec`, as README says."""
        return docker("exec", self.container(service), *command, timeout=timeout)

    def containers(self) -> list[dict]:
        """Inspect every container of the stack, those of tasks included."""
        ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}").split()
        ids += self.task_containers()
        return json.loads(docker("inspect", *ids)) if ids else []

    def leftovers(self) -> list[str]:
        """Name the containers, volumes and networks that there still are of the stack."""
        mine = ("--quiet", "--filter", f"label=com.docker.compose.project={self.name}")
        kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return [name for kind in kinds for name in docker(*kind, *mine).split()]

    def task_containers(self, run_id: str = "", only_running: bool = False) -> list[str]:
        """Return the ids of the task containers that there are now, of one run or of all."""
        chosen = ["--filter", f"label=invoice-platform.owner={self.name}"]
        chosen += ["--filter", "status=running"] if only_running else ["--all"]
        listed = docker("ps", *chosen, "--format", '{{.ID}} {{.Label "invoice-platform.task"}}')
        return [line.split()[0] for line in listed.splitlines() if run_id in line]

    def connect(self, role: str = "postgres", database: str = "invoices") -> psycopg.Connection:
        """Open a connection in autocommit mode through the published port."""
        variable = {
            "postgres": "POSTGRES_PASSWORD",
            "airflow": "AIRFLOW_DB_PASSWORD",
            "invoice_reader": "INVOICE_READER_PASSWORD",
            "invoice_writer": "INVOICE_WRITER_PASSWORD",
            "invoice_capture": "INVOICE_CAPTURE_PASSWORD",
            "invoice_risk": "INVOICE_RISK_PASSWORD",
            "invoice_api": "INVOICE_API_PASSWORD",
        }[role]
        return psycopg.connect(
            host="127.0.0.1", port=self.env["POSTGRES_PORT"], user=role, dbname=database,
            password=self.env[variable], autocommit=True, connect_timeout=10,
        )  # fmt: skip

    def sql(self, text: str, *params: object, database: str = "invoices") -> list[tuple]:
        """Run one statement as superuser and return its rows, if it has any."""
        with self.connect(database=database) as connection:
            cursor = connection.execute(text, params or None)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def source_locked(self) -> Iterator[None]:
        """Let nobody read the invoices, so that a running query_source waits."""
        with self.connect() as connection, connection.transaction():
            connection.execute("lock table invoices in access exclusive mode")
            yield

    @property
    def source(self) -> dict[str, str]:
        """The environment of a task binary on this machine that reads the source."""
        address = f"127.0.0.1:{self.env['POSTGRES_PORT']}/invoices"
        return {
            "SOURCE_URL": f"postgres://invoice_reader@{address}",
            "PGPASSWORD": self.env["INVOICE_READER_PASSWORD"],
        }

    @property
    def lake(self) -> dict[str, str]:
        """The environment of a task binary on this machine that reads the lake."""
        return {
            "LAKE_URL": f"s3://{BUCKET}",
            "AWS_ACCESS_KEY_ID": self.env["S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": self.env["S3_SECRET_KEY"],
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.env['S3_PORT']}",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    @cached_property
    def s3(self) -> Any:
        """A boto3 client of the stack's object store."""
        return boto3.session.Session().client(
            "s3", endpoint_url=self.lake["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id=self.env["S3_ACCESS_KEY"], aws_secret_access_key=self.env["S3_SECRET_KEY"],
        )  # fmt: skip

    def objects(self, prefix: str = "") -> dict[str, str]:
        """List the lake's objects with their ETags."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}

    def empty_lake(self) -> None:
        """Delete every object, when no run is there to write more of them."""
        unfinished = "state=running&state=queued"
        for dag in (DAG, BACKFILL):
            wait_until(lambda dag=dag: not self.runs(dag, unfinished), 300, "the end of all runs")
        keys = [{"Key": key} for key in self.objects()]
        for first in range(0, len(keys), 1000):
            self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys[first : first + 1000]})

    def log_in(self, password: str) -> str:
        """Ask for a token as the admin; refused is an AssertionError."""
        body = {"username": self.env["AIRFLOW_ADMIN_USER"], "password": password}
        return self._request("POST", "/auth/token", body)["access_token"]

    def api(self, method: str, path: str, body: dict | None = None) -> dict:
        """Call Airflow's REST API as the admin."""
        if not self.token:
            self.token = self.log_in(self.env["AIRFLOW_ADMIN_PASSWORD"])
        return self._request(method, f"/api/v2{path}", body)

    def _request(self, method: str, path: str, body: dict | None) -> dict:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.airflow_url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from None

    def fill(self) -> None:
        """Load the mock invoices, and unpause the DAGs, which starts a run for yesterday."""
        for dag in (DAG, BACKFILL):
            self.api("PATCH", f"/dags/{dag}", {"is_paused": False})
        rows = ["--customers", "40", "--invoices", "24000", "--until", UNTIL]
        self.compose("run", "--rm", "populate", *rows)
        wait_until(lambda: self.runs(DAG), 180, "the run that unpausing starts")

    @contextlib.contextmanager
    def paused(self, dag: str) -> Iterator[None]:
        """Keep the scheduler from a DAG's runs."""
        self.api("PATCH", f"/dags/{dag}", {"is_paused": True})
        try:
            yield
        finally:
            self.api("PATCH", f"/dags/{dag}", {"is_paused": False})

    def runs(self, dag: str, query: str = "limit=100") -> list[dict]:
        """Return the runs of a DAG."""
        return self.api("GET", f"/dags/{dag}/dagRuns?{query}")["dag_runs"]

    def count_runs(self, dag: str, query: str) -> int:
        """Return how many runs of a DAG a query finds."""
        return self.api("GET", f"/dags/{dag}/dagRuns?{query}")["total_entries"]

    def verify(self, as_of: str = UNTIL, months: int = 12) -> None:
        """Compare the lake with the source, month by month, reading its objects."""
        run("inspect_lake", "verify", "--as-of", as_of, "--months", months, env=self.source | self.lake)

    def trigger(self, dag: str, logical_date: str, **params: object) -> str:
        """Start a run as the form does; return its id."""
        body = {"logical_date": f"{logical_date}T00:00:00Z", "conf": params}
        return self.api("POST", f"/dags/{dag}/dagRuns", body)["dag_run_id"]

    def run_state(self, dag: str, run: str) -> str:
        """Return the state of a run."""
        return self.api("GET", f"/dags/{dag}/dagRuns/{run}")["state"]

    def task_instances(self, dag: str, run: str) -> list[dict]:
        """Return the task instances of a run."""
        return self.api("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=100")["task_instances"]

    def tries(self, dag: str, run: str) -> dict[str, int]:
        """Return how often each task of a run was tried."""
        return {task["task_id"]: task["try_number"] for task in self.task_instances(dag, run)}

    def finish(self, dag: str, run: str, state: str = "success", timeout: float = 600) -> None:
        """Wait for the end of a run, which must be in that state."""
        wait_until(lambda: self.run_state(dag, run) in DONE, timeout, f"the end of {run}")
        tries = [
            (t["task_id"], t["map_index"], t["state"], t["try_number"]) for t in self.task_instances(dag, run)
        ]
        assert self.run_state(dag, run) == state, tries

    def wait_for_task_container(self, run_id: str, timeout: float = 240) -> str:
        """Wait until a container of a run runs, having been created a moment before; return its id."""
        found: list[str] = []

        def runs() -> bool:
            found[:] = self.task_containers(run_id, only_running=True)
            return bool(found)

        wait_until(runs, timeout, f"a container of {run_id}")
        return found[0]

    def wait_for_no_task_container(self, timeout: float = 60) -> None:
        """Wait until no task container is left."""
        wait_until(lambda: not self.task_containers(), timeout, "the end of all task containers")
