"""The compose stack on a real engine: what README promises of it, from start to faults."""

import json
import time
from datetime import date, timedelta

import psycopg
import pytest
from confluent_kafka import Consumer

from support.campaign import only_in_campaign
from support.engine import REPOSITORY, docker
from support.stack import DAG, TOKEN_SECONDS, Stack, kill_hard, wait_until

TASKS = ("query_source_table", "aggregate_by_business", "write_partitioned_parquet")


def test_everything_is_healthy_and_confined(stack: Stack) -> None:
    print(f"healthy after {stack.seconds_to_healthy:.0f} s")
    for container in stack.containers():
        name, host = container["Name"], container["HostConfig"]
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert not host["Privileged"], name
        assert [option.split(":")[0] for option in host["SecurityOpt"]] == ["no-new-privileges"], name
        assert host["Memory"] > 0, name
        assert 0 < host["PidsLimit"] <= 512, name
        for ports in (host["PortBindings"] or {}).values():
            assert [port["HostIp"] for port in ports] == ["127.0.0.1"], name
        mounts = [mount["Source"] for mount in container["Mounts"] if "docker.sock" in mount["Source"]]
        assert bool(mounts) == ("docker-socket-proxy" in name), name
        assert "docker.sock" not in str(host["Binds"]) or "docker-socket-proxy" in name


def test_debezium_streams_the_invoices_as_its_own_role(stack: Stack) -> None:
    address = f"CONNECT_URL=http://127.0.0.1:{stack.env['CONNECT_PORT']}"
    stack.run("env", address, "TIMEOUT=120", "debezium/register.sh")
    streaming = "select usename from pg_stat_replication where state = 'streaming'"
    wait_until(lambda: stack.sql(streaming) == [("invoice_capture",)], 60, "Debezium's replication")
    topic = "postgres.public.invoices"
    servers = {"bootstrap.servers": f"127.0.0.1:{stack.env['KAFKA_PORT']}"}
    consumer = Consumer(servers | {"group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    messages = consumer.consume(1, 60)
    consumer.close()
    assert [(message.topic(), message.error()) for message in messages] == [(topic, None)]
    decided = "select count(*) from risk.current_decisions"
    wait_until(lambda: stack.sql(decided) == stack.sql("select count(*) from invoices"), 120, "all decisions")
    stack.compose("stop", "invoice-consumer")
    mount = f"{stack.name}_checkpoints:/checkpoints"
    kept = docker(
        "run", "--rm", "--volume", mount, "debian:bookworm-slim", "find", "/checkpoints", "-type", "f"
    )
    assert topic in kept, "a consumer that ends well leaves a checkpoint"
    # Nothing streams in the tests that follow, and two idle JVMs would slow them down.
    stack.compose("rm", "--stop", "--force", "kafka", "connect")
    inactive = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active"
    wait_until(lambda: stack.sql(inactive), 30, "the end of Debezium's replication")


def test_the_task_image_is_small_and_has_nothing_but_the_tasks(stack: Stack) -> None:
    image = f"invoice-platform/tasks:{stack.name}"
    facts = json.loads(docker("image", "inspect", image))[0]
    assert facts["Size"] < 300e6
    assert facts["Config"]["User"] == "10001:10001"
    labels = facts["Config"]["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == stack.name
    options = ["--rm", "--read-only", "--network", "none", "--cap-drop", "ALL"]
    for task in (path.parent.name for path in (REPOSITORY / "tasks").glob("*/Cargo.toml")):
        assert docker("run", *options, image, task, "--version").startswith(task)
    for program in ("sh", "bash", "/bin/sh"):
        with pytest.raises(RuntimeError, match=r"not found|no such file"):
            docker("run", *options, image, program)


def test_database_roles_can_do_no_more_than_they_should(stack: Stack) -> None:
    with stack.connect("invoice_reader") as reader:
        assert reader.execute("show statement_timeout").fetchone() == ("30min",)
        assert reader.execute("select count(*) from invoices").fetchone() == (24000,)
        reader.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("delete from invoices")
    with stack.connect("invoice_capture") as capture:
        capture.execute("select 1 from invoices limit 1")
        for forbidden in (
            "select 1 from customers",
            "delete from invoices",
            "drop publication invoice_platform",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                capture.execute(forbidden)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        stack.connect("invoice_reader", "airflow")
    published = stack.sql(
        "select tablename from pg_publication_tables where pubname = 'invoice_platform' order by 1"
    )
    assert published == [("debezium_heartbeat",), ("invoices",)]
    roles = "select rolname from pg_roles where rolsuper and rolcanlogin"
    assert stack.sql(roles) == [("postgres",)]
    sessions = "select usename from pg_stat_activity where usename = 'postgres' and pid <> pg_backend_pid()"
    assert stack.sql(sessions + " and backend_type = 'client backend'") == []


def test_the_socket_proxy_refuses_all_but_task_containers(stack: Stack) -> None:
    image, network = f"invoice-platform/tasks:{stack.name}", f"{stack.name}_tasks"
    fine = {"Image": image, "Cmd": ["query_source", "--version"], "HostConfig": {"NetworkMode": network}}

    def host(**settings: object) -> dict:
        return fine | {"HostConfig": fine["HostConfig"] | settings}

    forbidden = {
        "bind mount": host(Binds=["/:/host"]),
        "mount": host(Mounts=[{"Type": "bind", "Source": "/", "Target": "/host"}]),
        "volume": host(Mounts=[{"Type": "volume", "Source": f"{stack.name}_postgres-data", "Target": "/x"}]),
        "volumes from": host(VolumesFrom=["postgres"]),
        "privileged": host(Privileged=True),
        "privileged by another spelling": host(privileged=True),
        "capability": host(CapAdd=["SYS_ADMIN"]),
        "security option": host(SecurityOpt=["seccomp=unconfined"]),
        "device": host(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]),
        "host network": host(NetworkMode="host"),
        "Airflow's network": host(NetworkMode=f"{stack.name}_control"),
        "second network": fine | {"NetworkingConfig": {"EndpointsConfig": {f"{stack.name}_control": {}}}},
        "host pid": host(PidMode="host"),
        "host ipc": host(IpcMode="host"),
        "host users": host(UsernsMode="host"),
        "published port": host(PortBindings={"80/tcp": [{"HostPort": "80"}]}),
        "restart": host(RestartPolicy={"Name": "always"}),
        "another image": fine | {"Image": "debian:bookworm-slim"},
        "no image": {"Cmd": ["x"]},
        "root": fine | {"User": "0"},
        "entrypoint": fine | {"Entrypoint": ["/bin/sh"]},
        "forged owner": fine | {"Labels": {"invoice-platform.owner": "somebody"}},
        "stdin": fine | {"OpenStdin": True, "AttachStdin": True},
        "no JSON": "Image=x",
        "lower case host settings": fine | {"hostconfig": {"Privileged": True}},
    }
    postgres = json.loads(docker("inspect", stack.container("postgres")))[0]["Id"]
    requests = [("POST", "/containers/create", body) for body in forbidden.values()]
    requests += [
        ("GET", f"/containers/{postgres}/json", ""),
        ("GET", f"/containers/{postgres}/logs?stdout=1", ""),
        ("POST", f"/containers/{postgres}/stop", ""),
        ("POST", f"/containers/{postgres}/exec", {"Cmd": ["sh"]}),
        ("POST", f"/containers/{postgres}/attach?stream=1", ""),
        ("DELETE", f"/containers/{postgres}?force=1", ""),
        ("GET", f"/containers/{postgres}/archive?path=/etc/passwd", ""),
        ("PUT", f"/containers/{postgres}/archive?path=/", ""),
        ("POST", "/images/create?fromImage=debian", ""),
        ("POST", "/build", ""),
        ("GET", "/info", ""),
        ("GET", "/volumes", ""),
        ("GET", "/networks", ""),
        ("GET", "/secrets", ""),
        ("GET", "/containers/../info", ""),
    ]
    # One process for all of them: a Python start per attempt would take a minute.
    script = (
        "import json, sys, http.client\n"
        "for method, path, body in json.load(sys.stdin):\n"
        "    c = http.client.HTTPConnection('docker-socket-proxy', 2375)\n"
        "    body = json.dumps(body) if isinstance(body, dict) else body\n"
        "    c.request(method, path, body, {'Content-Type': 'application/json'})\n"
        "    a = c.getresponse(); print(json.dumps([a.status, a.read().decode()[:300]]))\n"
    )
    requests.append(("POST", "/containers/create", fine))
    said = docker(
        "exec", "-i", stack.container("airflow-scheduler"), "python", "-c", script, input=json.dumps(requests)
    )
    answers = [json.loads(line) for line in said.splitlines()]
    refused = {str(request): answer for request, answer in zip(requests[:-1], answers[:-1], strict=True)}
    assert {name: answer for name, answer in refused.items() if answer[0] != 403} == {}

    assert answers[-1][0] == 201, answers[-1]
    made = json.loads(answers[-1][1])["Id"]
    host_config = json.loads(docker("inspect", made))[0]["HostConfig"]
    docker("rm", made)
    assert host_config["ReadonlyRootfs"]
    assert host_config["CapDrop"] == ["ALL"]
    assert host_config["SecurityOpt"] == ["no-new-privileges:true"]
    assert host_config["Memory"] == host_config["MemorySwap"] == 2 << 30
    assert host_config["PidsLimit"] == 256


def test_only_what_runs_tasks_reaches_the_proxy(stack: Stack) -> None:
    lookup = "import socket; socket.create_connection(('docker-socket-proxy', 2375), 3)"
    for service in ("airflow-apiserver", "airflow-dag-processor"):
        with pytest.raises(RuntimeError, match=r"not known|resolution|gaierror"):
            stack.exec(service, "env", "RES_OPTIONS=timeout:1 attempts:1", "python", "-c", lookup)


def test_backfill_task_by_task_without_xcom_then_as_a_whole(stack: Stack) -> None:
    stack.empty_lake()
    # `tasks test` makes a run for a moment, and the scheduler would run its tasks too.
    with stack.paused(DAG):
        for task in TASKS:
            log = stack.exec("airflow-scheduler", "airflow", "tasks", "test", DAG, task, "2025-12-01")
            assert " INFO done in " in log, log[-4000:]
        stack.verify("2025-12-01")
        whole = stack.exec("airflow-scheduler", "airflow", "dags", "test", DAG, "2026-01-31")
    assert "state:success" in whole.replace("state=success", "state:success"), whole[-3000:]
    stack.verify()
    assert stack.task_containers() == []


def backfill(stack: Stack, first: str, last: str, timeout: float) -> list[dict]:
    """Backfill a range of days as README says; return its runs when all have ended."""
    command = ["airflow", "backfill", "create", "--dag-id", DAG, "--max-active-runs", "3"]
    dates = ["--from-date", first, "--to-date", last, "--reprocess-behavior", "completed"]

    def created() -> bool:
        """Airflow takes the next one of a DAG some seconds after the runs of the last one have ended."""
        try:
            stack.exec("airflow-scheduler", *command, *dates)
        except RuntimeError as error:
            if "AlreadyRunningBackfill" not in str(error):
                raise
            return False
        return True

    wait_until(created, 300, "Airflow to take the backfill")
    days = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
    found = f"run_type=backfill&logical_date_gte={first}T00:00:00Z&logical_date_lte={last}T00:00:00Z"
    ended = f"{found}&state=success&state=failed&limit=1"
    wait_until(lambda: stack.count_runs(DAG, ended) == days, timeout, "the end of the backfill")
    return stack.runs(DAG, found)


def test_backfill_over_a_range_of_days(stack: Stack) -> None:
    runs = backfill(stack, "2025-11-29", "2025-12-01", 600)
    assert [run["state"] for run in runs] == ["success"] * 3
    windows = {key.split("/")[1] for key in stack.objects("business_last_n_months/")}
    assert {"as_of=2025-11-01", "as_of=2025-12-01"} <= windows
    stack.verify("2025-12-01")


@pytest.mark.faults
@only_in_campaign("twelve backfills take minutes")
def test_backfill_over_twelve_months_at_the_end_of_each(stack: Stack) -> None:
    stack.empty_lake()
    started = time.monotonic()
    firsts = [date(2024 + month // 12, month % 12 + 1, 1) for month in range(2, 15)]
    ends = [(first - timedelta(days=1)).isoformat() for first in firsts[1:]]
    states = [run["state"] for end in ends for run in backfill(stack, end, end, 600)]
    print(f"12 months in {time.monotonic() - started:.0f} s")
    assert states == ["success"] * 12
    windows = {key.split("/")[1] for key in stack.objects("business_last_n_months/")}
    assert windows == {f"as_of={first}" for first in firsts[:-1]}
    for end in ends:
        stack.verify(end)


@pytest.mark.faults
def test_a_killed_scheduler_and_a_task_longer_than_its_token_end_in_the_right_lake(stack: Stack) -> None:
    stack.empty_lake()
    with stack.source_locked():
        run_id = stack.trigger(DAG, "2026-01-24")
        first = stack.wait_for_task_container(run_id)
        kill_hard(stack.container("airflow-scheduler"))
        # The task is given up for want of a heartbeat; the next try removes what ran on.
        wait_until(lambda: stack.task_containers() not in ([], [first]), 400, "the second try")
        time.sleep(TOKEN_SECONDS + 3)
    stack.finish(DAG, run_id)
    assert stack.tries(DAG, run_id)["query_source_table"] == 2
    assert stack.task_containers() == []
    stack.verify("2026-01-24")


@pytest.mark.faults
def test_a_source_that_is_down_is_tried_again(stack: Stack) -> None:
    """Nobody may log in: exit 75, and the task waits for its next try instead of failing."""
    stack.sql("alter role invoice_reader connection limit 0")
    try:
        run_id = stack.trigger(DAG, "2026-01-29")

        def waits() -> bool:
            return any(task["state"] == "up_for_retry" for task in stack.task_instances(DAG, run_id))

        wait_until(waits, 240, "a task that waits for its next try")
    finally:
        stack.sql("alter role invoice_reader connection limit -1")
    stack.finish(DAG, run_id)


@pytest.mark.faults
def test_a_task_marked_failed_leaves_no_container(stack: Stack) -> None:
    with stack.source_locked():
        run_id = stack.trigger(DAG, "2026-01-28")
        stack.wait_for_task_container(run_id)
        path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{TASKS[0]}"
        stack.api("PATCH", path, {"new_state": "failed"})
        stack.wait_for_no_task_container()
    stack.finish(DAG, run_id, "failed")
