"""Measures `invoice_api` under wrk beside FastAPI and Flask doing the same read, and beside pgbench.

    python bench/api.py --invoices 1000000 --seconds 8
    python bench/api.py --only freshness           # from a commit in Postgres to the answer

Everything runs on this machine, one contestant after the other, wrk included.
"""

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.api import Api, Redis, add_invoices, flags_for  # noqa: E402
from support.kafka import TOPIC, Connect, Kafka  # noqa: E402
from support.process import Server, free_port  # noqa: E402
from support.services import Database, Postgres, wait_until  # noqa: E402

SELECT = """\\set id random(1, {invoices})
select i.invoice_id, i.issue_date, i.amount_usd::text, i.issuer_id, a.customer_name,
    i.receiver_id, b.customer_name
from invoices i left join customers a on a.customer_id = i.issuer_id
left join customers b on b.customer_id = i.receiver_id where i.invoice_id = :id;
"""
# Each thread of wrk asks for ids of its own; `high` bounds them.
LUA = """
local counter = 0
function setup(thread) thread:set("seed", counter); counter = counter + 1 end
function init(args) math.randomseed(seed * 7919 + 17) end
function request() return wrk.format("GET", "/v1/invoices/" .. math.random(1, {high})) end
"""


class Peer(Server):
    """A web server of the peers."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], port: int) -> None:
        """Start it and wait for its first answer."""
        super().__init__(name, 15)
        self.port = port
        self.spawn(command, self._is_ready, env=env, cwd=ROOT)

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/v1/invoices/1", timeout=2):
                return True
        except (URLError, OSError):
            return False


def wrk(port: int, high: int, seconds: int, connections: int, token: str = "") -> dict[str, float]:
    """Load one server and return requests per second, p50 and p99 in milliseconds, and errors."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA.format(high=high))
        script.flush()
        command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name]
        command += ["-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    units = {"us": 0.001, "ms": 1, "s": 1000}

    def latency(share: str) -> float:
        found = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", text)
        return float(found[1]) * units[found[2]] if found else float("nan")

    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    return {
        "rps": float(rate[1]),
        "p50_ms": latency("50"),
        "p99_ms": latency("99"),
        "errors": int(errors[1]) if errors else 0,
    }


def pgbench(database: Database, invoices: int, seconds: int, connections: int) -> dict[str, float]:
    """Return what the database itself gives for the same statement."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SELECT.format(invoices=invoices))
        script.flush()
        load = ["-M", "prepared", "-c", str(connections), "-j2", f"-T{seconds}", "-f", script.name]
        server = ["-h", database.server.host, "-p", str(database.server.port), "-U", "postgres"]
        done = subprocess.run(
            ["pgbench", "-n", *load, *server, database.name],
            env=os.environ | database.env(),
            capture_output=True,
            text=True,
            check=True,
        )
    return {"rps": float(re.search(r"tps = ([\d.]+)", done.stdout)[1])}


def resident_mib(pid: int) -> float:
    """Return the memory of a process now."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def fill(api: Api, count: int) -> None:
    """Have every invoice in the cache, by requests on a few lasting connections."""
    script = """
local next_id, threads = 0, 0
function setup(thread) thread:set("first", threads); threads = threads + 1 end
-- Two threads share the ids.
function request()
  next_id = next_id + 1
  return wrk.format("GET", "/v1/invoices/" .. (next_id * 2 - first))
end
"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t2", "-c64", "-d600s", "-s", file.name]
        command += ["-H", f"Authorization: Bearer {api.token}", f"http://127.0.0.1:{api.port}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: api.metric("cache_entries") >= 0.99 * count, 590, "the cache to be full")
            process.send_signal(signal.SIGINT)


def freshness(changes: int, per_second: int) -> dict[str, float]:
    """Measure from a commit in Postgres to the API's first answer with the new row, through Debezium.

    One client asks for the changed invoice, which is cached, again and again on one connection.
    """
    took_ms: list[float] = []
    with Kafka() as kafka, Postgres() as server, tempfile.TemporaryDirectory() as name:
        database = server.create_database()
        add_invoices(database, 1000)
        with Connect(kafka, database) as connect:
            registered = connect.register()
            assert registered.returncode == 0, registered.stderr
            wait_until(lambda: TOPIC in kafka.admin.list_topics(timeout=5).topics, 60)
            flags = flags_for(
                database, Path(name) / "lake", "--brokers", kafka.bootstrap, "--ttl-seconds", 3600
            )
            with Api(flags, database.env(), Path(name)) as api, database.connect() as connection:
                wait_until(lambda: api.metric("events_behind") == 0, 30)
                client = http.client.HTTPConnection("127.0.0.1", api.port)
                headers = {"Authorization": f"Bearer {api.token}"}

                def amount(number: int) -> str:
                    client.request("GET", f"/v1/invoices/{number}", headers=headers)
                    return json.loads(client.getresponse().read())["amount_usd"]

                warm_up = changes // 5
                for turn in range(changes + warm_up):
                    number = 1 + turn % 1000
                    amount(number)
                    value = f"{turn + 100_000}.00"
                    connection.execute(
                        "update invoices set amount_usd = %s where invoice_id = %s", (value, number)
                    )
                    committed = time.perf_counter()
                    while amount(number) != value:
                        assert time.perf_counter() - committed < 30, "the change never arrives"
                    if turn >= warm_up:
                        took_ms.append((time.perf_counter() - committed) * 1000)
                    time.sleep(1 / per_second)
    took_ms.sort()
    p50_ms, p99_ms = took_ms[changes // 2], took_ms[int(changes * 0.99)]
    return {"changes": changes, "p50_ms": p50_ms, "p99_ms": p99_ms, "max_ms": took_ms[-1]}


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=8, help="to Postgres")
    parser.add_argument("--clients", type=int, default=64, help="connections of wrk")
    parser.add_argument("--changes", type=int, default=500, help="changes whose way to the API is timed")
    parser.add_argument("--only", choices=("load", "freshness"))
    args = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    if args.only != "freshness":
        load(args, results)
    if args.only != "load":
        results["freshness"] = freshness(args.changes, 25)
    report(results)
    output = ROOT / "bench" / "results" / f"{time.strftime('%F')}-api-{args.invoices}-invoices.json"
    output.parent.mkdir(exist_ok=True)
    if output.exists():
        results = json.loads(output.read_text())["results"] | results
    output.write_text(
        json.dumps({"at": time.strftime("%F %T"), "args": vars(args), "results": results}, indent=2) + "\n"
    )


def load(args: argparse.Namespace, results: dict[str, dict[str, float]]) -> None:
    """Load everybody, one after the other."""
    with Postgres(settings={"shared_buffers": "1GB"}) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = server.create_database()
        database.sql(
            "insert into customers select n, 'Business number ' || n from generate_series(1, 100000) n"
        )
        database.sql(
            "insert into invoices select n, timestamp '2025-01-01' + n * interval '1 second',"
            " 1 + n %% 100000, 1 + (n * 7919) %% 100000, (n %% 1000000) / 100.0"
            " from generate_series(1, %s::int8) n",
            args.invoices,
        )
        database.sql("vacuum analyze")

        def measure(label: str, port: int, high: int, token: str = "") -> None:
            wrk(port, high, 2, args.clients, token)
            results[label] = wrk(port, high, args.seconds, args.clients, token)
            print(label, results[label], file=sys.stderr)

        pgbench(database, args.invoices, 2, args.connections)
        results["pgbench"] = pgbench(database, args.invoices, args.seconds, args.connections)
        uncached = flags_for(
            database, folder / "lake", "--connections", args.connections, "--cache-entries", 1
        )
        with Api(uncached, database.env(), folder) as api:
            measure("invoice_api, uncached", api.port, args.invoices, api.token)
        cache = ("--connections", args.connections, "--ttl-seconds", 3600, "--cache-entries", 1_000_000)
        cached = flags_for(database, folder / "lake", *cache)
        with Api(cached, database.env(), folder) as api:
            measure("invoice_api, cached", api.port, 1000, api.token)
            fill(api, args.invoices)
            entries = api.metric("cache_entries")
            results["memory"] = {"entries": entries, "mib": resident_mib(api.task.pid)}
            measure("invoice_api, 1 million cached", api.port, args.invoices, api.token)
        results["pgbench again"] = pgbench(database, args.invoices, args.seconds, args.connections)
        half = max(1, args.connections // 2)
        env = os.environ | {"SOURCE_URL": database.admin_url, "CONNECTIONS": str(half)}
        with Redis() as redis:
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", "--app-dir", "bench/peers", "fastapi_invoice:app"]
            command += f"--port {port} --workers 2 --log-level warning --no-access-log".split()
            with Peer("fastapi", command, env | {"REDIS_URL": redis.url}, port):
                measure("FastAPI, cached in Redis", port, 1000)
        with Peer("fastapi", command, env, port):
            measure("FastAPI, uncached", port, args.invoices)
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--chdir", "bench/peers", "flask_invoice:app"]
        command += f"-b 127.0.0.1:{port} --workers 2 --threads {half} --log-level error".split()
        with Peer("flask", command, env, port):
            measure("Flask, uncached", port, args.invoices)


def report(results: dict[str, dict[str, float]]) -> None:
    """Print the figures and the ratios that count."""
    print("| contestant | requests/s | p50 | p99 | errors |\n|---|---|---|---|---|")
    for label, figures in results.items():
        if "rps" in figures and "p99_ms" in figures:
            print(
                f"| {label} | {figures['rps']:,.0f} | {figures['p50_ms']:.2f} ms | {figures['p99_ms']:.2f} ms"
                f" | {figures['errors']} |"
            )
        elif "rps" in figures:
            print(f"| {label} | {figures['rps']:,.0f} | | | |")
    if "freshness" in results:
        fresh = results["freshness"]
        print(
            f"\ncommit to answer, {fresh['changes']} changes: p50 {fresh['p50_ms']:.0f} ms,"
            f" p99 {fresh['p99_ms']:.0f} ms, longest {fresh['max_ms']:.0f} ms"
        )
    if "memory" not in results:
        return
    memory = results["memory"]
    print(f"\nmemory at {memory['entries']:,} cached invoices: {memory['mib']:.0f} MiB")
    limit = max(results["pgbench"]["rps"], results["pgbench again"]["rps"])
    print(f"uncached / pgbench: {results['invoice_api, uncached']['rps'] / limit:.2f}")
    for peer, own in [
        ("FastAPI, cached in Redis", "cached"),
        ("FastAPI, uncached", "uncached"),
        ("Flask, uncached", "uncached"),
    ]:
        if peer in results:
            ratio = results[f"invoice_api, {own}"]["rps"] / results[peer]["rps"]
            print(f"invoice_api, {own} / {peer}: {ratio:.1f}")


if __name__ == "__main__":
    main()
