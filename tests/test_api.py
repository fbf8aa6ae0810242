"""The API as a client sees it: answers, refusals, caches, safety."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.api import (
    Api,
    Redis,
    add_business_indexes,
    add_invoices,
    decide,
    flags_for,
)
from support.services import Database, Postgres, wait_until
from support.tasks import run


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """One Redis server for the module."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def source(postgres: Postgres) -> Iterator[Database]:
    """A database with 5,000 invoices and one decision."""
    database = postgres.create_database()
    add_invoices(database, 5000)
    add_business_indexes(database)
    decide(
        database,
        7,
        1,
        "review",
        55,
        [{"id": "self_invoice", "score": 55, "reason": "issuer and receiver are one"}],
    )
    yield database
    database.drop()


@pytest.fixture(scope="module")
def lake(source: Database) -> Iterator[Path]:
    """The batch path's lake of that database."""
    with TemporaryDirectory() as folder:
        flags = ["--lake", f"file://{folder}", "--as-of", "2026-01-31", "--months", 2]
        run("query_source", "--source", source.url(), *flags, env=source.env())
        run("aggregate_by_business", *flags)
        run("write_partitioned_parquet", *flags)
        yield Path(folder)


@pytest.fixture(scope="module")
def api(
    source: Database, lake: Path, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    """The API on that database, that lake and Redis."""
    flags = flags_for(source, lake, "--redis", redis.url)
    with Api(flags, source.env(), tmp_path_factory.mktemp("api")) as running:
        yield running


def test_an_invoice_has_exact_amounts_names_and_its_decision(api: Api):
    body = api.invoice(7).json
    assert body["amount_usd"] == "0.07"
    assert body["issue_date"] == "2026-01-01T00:07:00.000000Z"
    assert body["issuer"] == {"business_id": 8, "name": "Business 8"}
    assert body["receiver"] == {"business_id": 1, "name": "Business 1"}
    assert body["decision"]["status"] == "review"
    assert body["decision"]["rules"][0]["id"] == "self_invoice"
    assert api.invoice(4321).json["decision"] is None
    assert api.invoice(4321).json["amount_usd"] == "43.21"


def test_an_unchanged_invoice_is_answered_with_304(api: Api):
    first = api.invoice(8)
    assert first.status == 200
    again = api.get("/v1/invoices/8", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert api.get("/v1/invoices/8", If_None_Match='"other", W/' + first.headers["etag"]).status == 304
    assert api.get("/v1/invoices/8", If_None_Match='"other"').status == 200
    head = api.get("/v1/invoices/8", method="HEAD")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", first.headers["etag"])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/invoices/abc",
        "/v1/invoices/9223372036854775808",
        "/v1/invoices/1.5",
        "/v1/invoices/%00",
        "/v1/invoices/1;drop%20table%20invoices",
        "/v1/invoices/1%20or%201=1",
        "/v1/invoices/'",
        "/v1/invoices/%F0%28",
        "/v1/invoices/1?x=1",
        "/v1/businesses/1/months?n=0",
        "/v1/businesses/1/months?n=1e9",
        "/v1/businesses/1/months?as_of=2026-02-30",
        "/v1/businesses/1/months?n=1&n=2",
        "/v1/businesses/1/invoices?side=x%27--",
        "/v1/businesses/1/invoices?limit=100000",
    ],
)
def test_wrong_parameters_are_400_with_a_sentence(api: Api, path: str):
    answer = api.get(path)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == 400
    assert problem["detail"].endswith(".")


def test_unknown_things_are_404_and_other_methods_405(api: Api):
    assert api.invoice(999_999).status == 404
    assert api.invoice(-(2**63)).status == 404
    assert api.get("/v1/nothing").status == 404
    posted = api.get("/v1/invoices/1", method="DELETE")
    assert posted.status == 405
    assert "GET" in posted.headers["allow"]
    for answer in (api.get("/v1/nothing"), posted):
        assert answer.headers["content-type"] == "application/problem+json"


def test_months_add_up_to_the_source_and_are_one_object_each(api: Api, source: Database):
    body = api.get("/v1/businesses/3/months?n=3").json
    assert [month["month"] for month in body["months"]] == ["2025-11-01", "2025-12-01", "2026-01-01"]
    assert [month["is_published"] for month in body["months"]] == [False, True, True]
    assert body["name"] == "Business 3"
    january = body["months"][2]
    [(issued, count)] = source.sql("select sum(amount_usd), count(*) from invoices where issuer_id = 3")
    assert (Decimal(january["total_amount_issued"]), january["issued_count"]) == (issued, count)
    assert body["months"][1]["total_amount_issued"] == "0.00"
    nobody = api.get("/v1/businesses/77/months?n=1").json["months"][0]
    assert (nobody["is_published"], nobody["issued_count"]) == (True, 0)


def test_a_businesss_invoices_come_by_page_without_gaps(api: Api, source: Database):
    for side, condition in [("issued", "issuer_id = 3"), ("received", "receiver_id = 3"),
                            ("both", "issuer_id = 3 or receiver_id = 3")]:  # fmt: skip
        path, found = f"/v1/businesses/3/invoices?side={side}&limit=200", []
        while path:
            body = api.get(path).json
            found += [row["invoice_id"] for row in body["invoices"]]
            path = body["next"]
        expected = [
            row[0] for row in source.sql(f"select invoice_id from invoices where {condition} order by 1 desc")
        ]
        assert found == expected, side


@pytest.mark.parametrize("kind", ["bigint", "int", "smallint"])
def test_indexes_serve_ids_of_any_width(database: Database, tmp_path: Path, kind: str):
    """A cast of the column, which all are read through, would have every read scan the table."""
    database.sql(f"""
        create table docs (invoice_id {kind} primary key, issue_date timestamp not null, issuer_id {kind},
            receiver_id {kind}, amount_usd numeric(12, 2) not null);
        insert into docs select n, '2026-01-05', n % 500, n % 700, n from generate_series(1, 30000) n;
        create index on docs (issuer_id, invoice_id);
        create index on docs (receiver_id, invoice_id);
        analyze docs
    """)
    scans = "select seq_scan, idx_scan from pg_stat_user_tables where relname = 'docs'"
    with Api(flags_for(database, tmp_path / "lake", "--table", "docs"), database.env(), tmp_path) as api:
        time.sleep(1.5)  # What the start has read is in the statistics then.
        ((sequential, by_index),) = database.sql(scans)
        assert [api.invoice(number).json["amount_usd"] for number in (7, 29_999)] == ["7.00", "29999.00"]
        for side in ("issued", "received", "both"):
            page = api.get(f"/v1/businesses/3/invoices?side={side}&limit=5").json["invoices"]
            assert len(page) == 5, side
    wait_until(lambda: database.sql(scans)[0][1] >= by_index + 5, what="the statistics")
    assert database.sql(scans)[0][0] == sequential


def test_everything_but_health_and_the_pages_needs_a_token(api: Api):
    for path in ("/healthz", "/readyz", "/", "/console/console.js", "/console/uplot.js"):
        assert api.get(path, token=None).status == 200, path
    for path in (
        "/v1/invoices/7",
        "/v1/businesses/1/months",
        "/v1/pipeline",
        "/v1/decisions/stream",
        "/metrics",
        "/openapi.json",
        "/v1/nothing",
        "/nothing",
    ):
        for header in (None, "wrong", api.token[:-1], api.token + "0", api.token.upper()):
            answer = api.get(path, token=header)
            assert answer.status == 401, (path, header)
            assert "bearer" in answer.headers["www-authenticate"].lower()
    assert api.get("/v1/invoices/7", token=None, Authorization="Basic " + api.token).status == 401


def test_scopes_hold_and_a_new_token_works_without_a_restart(api: Api):
    narrow = api.new_token("narrow", "invoices")
    wait_until(lambda: api.get("/v1/invoices/7", token=narrow).status == 200, 10, "the new token")
    for path, scope in [("/v1/businesses/1/months", "businesses"), ("/v1/pipeline", "pipeline"),
                        ("/v1/decisions/stream", "decisions"), ("/metrics", "metrics")]:  # fmt: skip
        answer = api.get(path, token=narrow)
        assert answer.status == 403
        assert scope in answer.json["detail"]
    text = api.tokens.read_text()
    assert narrow not in text
    assert narrow.removeprefix("inv_") not in text
    assert api.tokens.stat().st_mode & 0o077 == 0


def test_a_token_has_a_rate(source: Database, lake: Path, tmp_path: Path):
    flags = [*flags_for(source, lake), "--rate-limit", 5]
    flags.remove(0)
    flags.remove("--rate-limit")
    with Api(flags, source.env(), tmp_path) as api:
        answers = api.many(["/v1/invoices/7"] * 30)
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) >= 20
        assert int(refused[0].headers["retry-after"]) >= 1
        other = api.new_token("other", "invoices")
        wait_until(
            lambda: api.get("/v1/invoices/7", token=other).status == 200, 10, "the other token's own rate"
        )


# A client that still sends when it is refused may see the connection end before it reads the answer.
CLOSED = 0


def raw(api: Api, request: bytes, timeout: float = 15) -> bytes:
    """Send bytes as they are and return the answer's beginning."""
    with socket.create_connection(("127.0.0.1", api.port), timeout) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        return answer


def test_attacks_with_paths_headers_and_bodies_are_refused(api: Api):
    token = b"Authorization: Bearer " + api.token.encode() + b"\r\n"

    def status(line: bytes, *headers: bytes, body: bytes = b"") -> int:
        request = line + b" HTTP/1.1\r\nHost: x\r\n" + b"".join(headers) + b"\r\n" + body
        answer = raw(api, request).split()
        return int(answer[1]) if answer else CLOSED

    assert status(b"GET /v1/invoices/7", token) == 200
    assert status(b"GET /v1/invoices/7", token, token) == 401, "two tokens"
    assert status(b"GET /v1/invoices/7", token, b"X-Big: " + b"a" * 20_000 + b"\r\n") in (431, CLOSED)
    assert status(b"GET /v1/invoices/7", token, *[b"X-%d: 1\r\n" % n for n in range(100)]) in (431, CLOSED)
    assert status(b"GET /" + b"a" * 70_000, token) in (414, 431, CLOSED)
    assert status(b"POST /v1/invoices/7", token, b"Content-Length: 5\r\n", body=b"hello") == 413
    assert status(b"GET /v1/invoices/7", token, b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n") == 413
    for path in (
        b"/console/../tokens.txt",
        b"/console/%2e%2e%2ftokens.txt",
        b"/console/..%5ctokens",
        b"//etc/passwd",
    ):
        assert status(b"GET " + path) in (401, 404), path
    for path in (b"/v1/invoices/7/../../metrics", b"/v1/businesses/../../etc/passwd/months"):
        assert status(b"GET " + path, token) in (400, 404), path
    smuggled = (
        b"GET /v1/invoices/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert int((raw(api, smuggled).split() or [0, CLOSED])[1]) in (400, 413, CLOSED)
    assert status(b"GET /v1/invoices/7", token, b"Bad Header: 1\r\n") in (400, CLOSED)
    split = api.get("/v1/invoices/7%0d%0aSet-Cookie:%20x")
    assert split.status == 400
    assert "set-cookie" not in split.headers
    assert api.invoice(7).status == 200


def test_a_client_that_sends_its_headers_slowly_is_let_go(api: Api):
    with socket.create_connection(("127.0.0.1", api.port), 15) as connection:
        started = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        while connection.recv(1000):
            pass
        assert 5 < time.monotonic() - started < 14


def test_errors_say_nothing_internal(source: Database, lake: Path, tmp_path: Path):
    with Api(flags_for(source, lake), source.env(), tmp_path) as api:
        assert api.invoice(1).status == 200
        source.sql("alter table invoices rename to moved")
        try:
            answer = api.invoice(2)
        finally:
            source.sql("alter table moved rename to invoices")
        assert answer.status >= 500
        for word in ("moved", "relation", "select", "postgres", "panic", str(source.server.port)):
            assert word not in answer.body.decode().lower()


def test_the_console_may_load_nothing_from_elsewhere(api: Api):
    page = api.get("/", token=None)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in page.body.replace(b"http://www.w3.org", b"")
    assert b"https://" not in page.body


def test_the_description_is_true(api: Api, tmp_path: Path):
    program = Path(sys.executable).parent / "schemathesis"
    # The stream never ends by itself; its parameters are tested elsewhere.
    address = f"http://127.0.0.1:{api.port}/openapi.json"
    header = f"Authorization: Bearer {api.token}"
    phases = ["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "42"]
    left_out = ["--exclude-path", "/v1/decisions/stream"]
    command = [program, "run", address, "-H", header, "--checks", "all", "--no-color", *left_out, *phases]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_one_load_however_many_wait_across_processes_too(source: Database, lake: Path, tmp_path: Path):
    with Redis() as redis:
        flags = flags_for(source, lake, "--redis", redis.url, "--redis-timeout-ms", 2000)
        (tmp_path / "b").mkdir()
        with Api(flags, source.env(), tmp_path) as one, Api(flags, source.env(), tmp_path / "b") as two:
            with_both = [one.get, two.get]
            for number in range(100, 120):
                with ThreadPoolExecutor(24) as pool:
                    answers = list(
                        pool.map(lambda turn, n=number: with_both[turn % 2](f"/v1/invoices/{n}"), range(24))
                    )
                assert {answer.status for answer in answers} == {200}
                assert len({answer.body for answer in answers}) == 1
            # A process may ask Redis just before the other's answer is there, and for the lease just after it
            # is given back: a load more now and then. Without leases there would be forty.
            assert 20 <= one.metric("source_loads_total") + two.metric("source_loads_total") <= 23


def test_a_missing_invoice_is_remembered_shortly(source: Database, lake: Path, tmp_path: Path):
    flags = flags_for(source, lake, "--negative-ttl-seconds", 2)
    with Api(flags, source.env(), tmp_path) as api:
        assert {api.invoice(700_000).status for _ in range(5)} == {404}
        assert api.metric("source_loads_total") == 1
        add_invoices(source, 1, 700_000)
        wait_until(lambda: api.invoice(700_000).status == 200, 5, "the new invoice")


def test_without_the_stream_a_change_is_seen_within_the_ttl(source: Database, lake: Path, tmp_path: Path):
    flags = flags_for(source, lake, "--ttl-seconds", 2)
    with Api(flags, source.env(), tmp_path) as api:
        assert api.invoice(200).json["amount_usd"] == "2.00"
        source.sql("update invoices set amount_usd = 99 where invoice_id = 200")
        started = time.monotonic()
        wait_until(lambda: api.invoice(200).json["amount_usd"] == "99.00", 5, "the change")
        assert time.monotonic() - started < 3.1


def test_a_decision_reaches_a_cached_invoice_at_once(source: Database, lake: Path, tmp_path: Path):
    flags = flags_for(source, lake, "--ttl-seconds", 3600)
    with Api(flags, source.env(), tmp_path) as api:
        assert api.invoice(300).json["decision"] is None
        time.sleep(0.3)
        decide(source, 300, 5000, "block", 90, [])
        wait_until(lambda: api.invoice(300).json["decision"] is not None, 3, "the decision")
        assert api.invoice(300).json["decision"]["status"] == "block"


def test_the_feed_begins_with_the_latest_and_obeys_its_filters(api: Api, source: Database):
    import http.client

    decide(source, 400, 6000, "approve", 10, [])
    decide(source, 401, 6001, "block", 95, [{"id": "r", "score": 95, "reason": "because"}])
    time.sleep(0.5)
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    headers = {"Authorization": f"Bearer {api.token}"}
    connection.request("GET", "/v1/decisions/stream?status=block&min_score=95", headers=headers)
    stream = connection.getresponse()
    assert stream.getheader("content-type") == "text/event-stream"
    events = (json.loads(line[6:]) for line in stream if line.startswith(b"data: "))
    assert next(events)["invoice_id"] == 401
    decide(source, 402, 6002, "review", 50, [])
    decide(source, 403, 6003, "block", 99, [])
    event = next(events)
    assert (event["invoice_id"], event["amount_usd"], event["score"]) == (403, "4.03", 99)
    connection.close()


def test_the_pipelines_state_is_told(api: Api):
    body = api.get("/v1/pipeline").json
    tables = {row["table"]: row for row in body["tables"]}
    assert tables["invoices"]["proof"] == "proven"
    assert tables["invoices"]["rows"] == 5000
    assert tables["invoice_by_business"]["proof"] == "proven"
    assert body["cache"]["redis"] == "up"
    assert body["stream"] is None


def test_an_embedded_database_and_a_local_folder_are_enough(tmp_path: Path):
    source = f"sqlite:{tmp_path}/invoices.db"
    lake = f"file://{tmp_path}/lake"
    window = ["--lake", lake, "--as-of", "2026-01-31", "--months", 3]
    populate = [
        "--source",
        source,
        "--customers",
        20,
        "--invoices",
        500,
        "--seed",
        1,
        "--until",
        "2026-01-31",
    ]
    run("populate_tables", *populate)
    run("query_source", "--source", source, *window)
    run("aggregate_by_business", *window)
    run("write_partitioned_parquet", *window)
    with Api(["--source", source, "--lake", lake], {}, tmp_path) as api:
        page = api.get("/v1/businesses/3/invoices?limit=5").json
        number = page["invoices"][0]["invoice_id"]
        assert api.invoice(number).json == page["invoices"][0]
        months = api.get("/v1/businesses/3/months?n=3").json
        assert months["name"]
        assert sum(month["issued_count"] + month["received_count"] for month in months["months"]) > 0
        assert api.invoice(10_000_000).status == 404


def test_it_ends_cleanly_and_says_what_it_did(source: Database, lake: Path, tmp_path: Path):
    api = Api(flags_for(source, lake), source.env(), tmp_path)
    api.start()
    api.invoice(1)
    done = api.stop()
    assert done.exit_code == 0
    assert done.result["requests"] >= 2
