"""Redis, the API as a running process, and requests to it."""

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.process import Server, free_port
from support.services import REPOSITORY, Database
from support.tasks import Task, run, start

ALL_SCOPES = "invoices,businesses,decisions,pipeline,metrics"
BUSINESS_INDEXES = REPOSITORY / "postgres-scripts" / "api" / "business_indexes.sql"


class Redis(Server):
    """A Redis server on a free port of 127.0.0.1, without persistence."""

    def __init__(self, *options: str) -> None:
        """Start an empty server."""
        super().__init__("redis", signal.SIGTERM)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.options = options
        self.start()

    def start(self) -> None:
        """Start again, empty, on the same port."""
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.spawn([*command, *self.options], self._is_ready, cwd=self.folder)

    def _is_ready(self) -> bool:
        return self.call("PING") == "PONG"

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Stop the server; SIGKILL is a crash."""
        self.end_process(number)

    def call(self, *words: str, stdin: bytes | None = None) -> str:
        """Run one command with redis-cli and return what it prints."""
        command = ["redis-cli", "-p", str(self.port), *(["-x"] if stdin is not None else []), *words]
        return (
            subprocess.run(command, input=stdin, capture_output=True).stdout.decode(errors="replace").strip()
        )


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Api:
    """A running `invoice_api`."""

    flags: list[object]
    env: dict[str, str]
    folder: Path
    port: int = field(default_factory=free_port)
    task: Task | None = None
    token: str = ""

    def __post_init__(self) -> None:
        """Make a token with every scope."""
        self.tokens = self.folder / f"tokens-{self.port}.txt"
        self.token = self.new_token("all", ALL_SCOPES)

    def new_token(self, name: str, scopes: str) -> str:
        """Add a token to the file."""
        made = run("invoice_api", "token", "--name", name, "--scopes", scopes, "--tokens", self.tokens)
        return made.result["token"]

    def __enter__(self) -> "Api":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers."""
        flags = [*self.flags, "--listen", f"127.0.0.1:{self.port}", "--tokens", self.tokens]
        self.task = start("invoice_api", *flags, env=self.env)
        deadline = time.monotonic() + 30
        while True:
            assert self.task.poll() is None, self.task.stderr_so_far()
            try:
                if self.get("/healthz").status == 200:
                    return
            except OSError:
                assert time.monotonic() < deadline, self.task.stderr_so_far()
                time.sleep(0.05)

    def stop(self) -> Any:
        """Stop as an operator would and return how it ended."""
        if self.task is None:
            return None
        task, self.task = self.task, None
        if task.poll() is None:
            task.send_signal(signal.SIGTERM)
        return task.finish(20)

    def get(
        self, path: str, *, token: str | None = "", method: str = "GET", timeout: float = 15, **headers: str
    ) -> Answer:
        """Ask on a new connection; `token=None` sends none."""
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        try:
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, body, time.monotonic() - started)

    def invoice(self, number: int) -> Answer:
        """Ask for one invoice."""
        return self.get(f"/v1/invoices/{number}")

    def metric(self, name: str) -> int:
        """Return a metric's value."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(f"invoice_api_{name} "):
                return int(line.split()[1])
        raise AssertionError(f"there is no metric {name}")

    def many(self, paths: list[str], threads: int = 32) -> list[Answer]:
        """Ask for many things at once."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.get, paths))


def add_invoices(database: Database, count: int, first: int = 1) -> None:
    """Insert invoices whose cents are their ids, between ten businesses."""
    database.sql(
        "insert into customers select n, 'Business ' || n from generate_series(1, 10) n"
        " on conflict do nothing"
    )
    database.sql(
        "insert into invoices select n, timestamp '2026-01-01' + n * interval '1 minute',"
        " 1 + n %% 10, 1 + n %% 7, n / 100.0 from generate_series(%s::int8, %s::int8) n",
        first,
        first + count - 1,
    )


def add_business_indexes(database: Database) -> None:
    """Create the indexes that a business's list of invoices needs."""
    for line in BUSINESS_INDEXES.read_text().splitlines():
        if not line.startswith("--"):
            database.sql(line)


def flags_for(database: Database, lake: Path, *more: object) -> list[object]:
    """Return the flags of an API on a database and a local lake."""
    lake.mkdir(exist_ok=True)
    return ["--source", database.url(), "--lake", f"file://{lake}", "--rate-limit", 0, *more]


def decide(database: Database, number: int, offset: int, status: str, score: int, rules: list[dict]) -> None:
    """Write a decision as invoice_consumer would."""
    values = (offset, number, offset, status, score, json.dumps(rules), number)
    database.sql(
        "insert into risk.decisions (partition, log_offset, invoice_id, lsn, op, status, score, rules,"
        " features, model, rule_set, issue_date, filed_at, issuer_id, receiver_id, amount_cents, received_at,"
        " decided_at) select 0, %s, %s, %s, 'c', %s, %s, %s::jsonb, '{}', 'test', '3f9a1c07d2e84b56',"
        " issue_date, issue_date, issuer_id, receiver_id, (amount_usd * 100)::int8, now(), clock_timestamp()"
        " from invoices where invoice_id = %s",
        *values,
    )
    database.sql(
        "insert into risk.stream_offsets (topic, partition, next_offset) values ('test', 0, %s)"
        " on conflict (topic, partition) do update set next_offset = excluded.next_offset",
        offset + 1,
    )


def events_of(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Give the decisions of a stream as they come."""
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
