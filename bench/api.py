"""Measures `invoice_api` under wrk beside FastAPI and Flask doing the same read, and beside pgbench.

    python bench/api.py --invoices 1000000 --seconds 8

Everything runs on this machine, one contestant after the other, wrk included.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.api import Api, Redis, flags_for  # noqa: E402
from support.process import Server, free_port  # noqa: E402
from support.services import Database, Postgres  # noqa: E402

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
    script = f"""
local next_id, threads = 0, 0
function setup(thread) thread:set("first", threads); threads = threads + 1 end
function request()
  next_id = next_id + 1
  return wrk.format("GET", "/v1/invoices/" .. (next_id * 2 - first))
end
-- two threads share the ids; each ends by itself when it has passed its half
function response() if next_id > {count // 2} + 64 then wrk.thread:stop() end end
"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [
            "wrk",
            "-t2",
            "-c64",
            "-d600s",
            "-s",
            file.name,
            "-H",
            f"Authorization: Bearer {api.token}",
        ]
        subprocess.run([*command, f"http://127.0.0.1:{api.port}"], capture_output=True, check=True)


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=8, help="to Postgres")
    parser.add_argument("--clients", type=int, default=64, help="connections of wrk")
    args = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
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
    report(results)
    output = ROOT / "bench" / "results" / "api.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(
        json.dumps({"at": time.strftime("%F %T"), "args": vars(args), "results": results}, indent=2) + "\n"
    )


def report(results: dict[str, dict[str, float]]) -> None:
    """Print the figures and the ratios that count."""
    print("| contestant | requests/s | p50 | p99 | errors |\n|---|---|---|---|---|")
    for label, figures in results.items():
        if "p99_ms" in figures:
            print(
                f"| {label} | {figures['rps']:,.0f} | {figures['p50_ms']:.2f} ms | {figures['p99_ms']:.2f} ms"
                f" | {figures['errors']} |"
            )
        elif "rps" in figures:
            print(f"| {label} | {figures['rps']:,.0f} | | | |")
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
