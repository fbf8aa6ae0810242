"""A Kafka broker and a Kafka Connect worker with Debezium, from the jars that setup.sh fetches."""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from support.process import Server, free_port
from support.services import REPOSITORY, Database, tools_folder

DEBEZIUM = REPOSITORY / "debezium"
TOPIC = "postgres.public.invoices"
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
JAVA_MEMORY = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def kafka_folder() -> Path:
    """Return the folder of the jars."""
    folder = tools_folder() / "kafka"
    if not (folder / "libs").exists():
        raise RuntimeError("Kafka isn't installed: run scripts/setup.sh test")
    return folder


def java(main: str, *arguments: str, memory: Sequence[str] = JAVA_MEMORY) -> list[str]:
    """Return the command that runs a main class of the jars."""
    log = f"-Dlog4j2.configurationFile={REPOSITORY / 'tests' / 'support' / 'log4j2.yaml'}"
    return ["java", *memory, log, "-cp", f"{kafka_folder() / 'libs'}/*", main, *arguments]


class Kafka(Server):
    """One broker and controller in one process, on a free port of 127.0.0.1."""

    def __init__(self, memory: Sequence[str] = JAVA_MEMORY, address: str = "127.0.0.1") -> None:
        """Format an empty log folder and start."""
        super().__init__("kafka", signal.SIGTERM)
        self.memory = memory
        self.port = free_port()
        self.bootstrap = f"{address}:{self.port}"
        self.config = self.folder / "server.properties"
        self.config.write_text(self._settings(free_port()))
        cluster = uuid.uuid4().hex[:22]
        command = java(
            "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self.config)
        )
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"Kafka can't format its folder\n{done.stdout}{done.stderr}")
        self.start()

    def _settings(self, controller_port: int) -> str:
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
            "log.dirs": str(self.folder / "logs"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker and killed consumers are noticed in seconds, not in tens of them.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.min.session.timeout.ms": "1000",
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(MESSAGE_BYTES_MAX),
            "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def start(self) -> None:
        """Start again on the same port and logs."""
        self.spawn(java("kafka.Kafka", str(self.config), memory=self.memory), self._is_ready)

    def _is_ready(self) -> bool:
        try:
            AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}).list_topics(timeout=10)
        except KafkaException:
            return False
        return True

    def restart(self, number: int = signal.SIGTERM) -> None:
        """Stop and start; SIGKILL is a crash."""
        self.end_process(number)
        self.start()

    @property
    def admin(self) -> AdminClient:
        """An administrator."""
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> str:
        """Create a topic and return its name."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)
        # The client must outlive its answer.
        admin = self.admin
        admin.create_topics([topic])[name].result(30)
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic with all that is in it."""
        admin = self.admin
        admin.delete_topics([name])[name].result(30)

    def remove_messages(self, topic: str, before: int) -> None:
        """Remove the first messages of a topic with one partition, as retention does."""
        admin = self.admin
        place = TopicPartition(topic, 0, before)
        admin.delete_records([place])[place].result(30)

    def configure_topic(self, name: str, **config: str) -> None:
        """Replace the settings of a topic."""
        resource = ConfigResource("TOPIC", name)
        for key, value in config.items():
            resource.set_config(key.replace("_", "."), value)
        admin = self.admin
        admin.alter_configs([resource])[resource].result(30)

    def produce(self, topic: str, messages: Iterable[tuple[int, bytes | None, bytes | None]]) -> None:
        """Send messages, each a partition, key and value, and wait until all are there."""
        failures: list[Any] = []
        producer = Producer({
            "bootstrap.servers": self.bootstrap, "linger.ms": 20, "message.max.bytes": MESSAGE_BYTES_MAX,
            "queue.buffering.max.kbytes": 1_000_000,
        })  # fmt: skip
        for partition, key, value in messages:
            while True:
                try:
                    producer.produce(
                        topic, value, key, partition,
                        on_delivery=lambda error, _: failures.append(error) if error else None,
                    )  # fmt: skip
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(120) == 0
        assert not failures, failures[0]

    def read(self, topic: str) -> list[Any]:
        """Return all committed messages of a topic."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False,
            "isolation.level": "read_committed", "enable.partition.eof": True,
            "fetch.max.bytes": MESSAGE_BYTES_MAX, "receive.message.max.bytes": MESSAGE_BYTES_MAX + 1_000_000,
        })  # fmt: skip
        found, metadata = [], consumer.list_topics(topic, timeout=30)
        partitions = list(metadata.topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        open_partitions = set(partitions)
        while open_partitions:
            message = consumer.poll(30)
            assert message is not None, f"the topic {topic} can't be read"
            if message.error():
                open_partitions.discard(message.partition())
            else:
                found.append(message)
        consumer.close()
        return found


class Connect(Server):
    """A Connect worker with Debezium for one database."""

    def __init__(self, kafka: Kafka, database: Database) -> None:
        """Start a worker on an empty topic; `register` starts the connector."""
        super().__init__("connect", signal.SIGTERM)
        if TOPIC in kafka.admin.list_topics(timeout=5).topics:
            kafka.delete_topic(TOPIC)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        name = database.name
        text = (DEBEZIUM / "connect-distributed.properties").read_text()
        for suffix in ("configs", "offsets", "status"):
            text = text.replace(f"connect-{suffix}", f"{name}-{suffix}")
        text += (
            f"\nbootstrap.servers={kafka.bootstrap}\nlisteners=http://127.0.0.1:{self.port}\ngroup.id={name}\n"
            f"plugin.path={kafka_folder() / 'plugins'}\n"
            "offset.storage.partitions=1\nstatus.storage.partitions=1\nplugin.discovery=service_load\nscheduled.rebalance.max.delay.ms=0\n"
        )
        self.config = self.folder / "connect.properties"
        self.config.write_text(text)
        self.environment = os.environ | {
            "SOURCE_HOST": database.server.host,
            "SOURCE_PORT": str(database.server.port),
            "SOURCE_DATABASE": name,
            "SOURCE_USER": "postgres",
            "SOURCE_PASSWORD": database.server.passwords["postgres"],
            "SOURCE_SSLMODE": "disable",
        }
        self.start()

    def start(self) -> None:
        """Start again with the same offsets."""
        command = java("org.apache.kafka.connect.cli.ConnectDistributed", str(self.config))
        self.spawn(command, self._is_ready, env=self.environment)

    def _is_ready(self) -> bool:
        with contextlib.suppress(URLError, OSError), urlopen(f"{self.url}/connectors", timeout=2):
            return True
        return False

    def restart(self, number: int = signal.SIGTERM) -> None:
        """Stop and start; after SIGKILL it emits again what it had not noted."""
        self.end_process(number)
        self.start()

    def register(self, **more: str) -> subprocess.CompletedProcess:
        """Run the project's own script."""
        environment = {"PATH": os.environ["PATH"], "CONNECT_URL": self.url, "TIMEOUT": "60", **more}
        return subprocess.run([DEBEZIUM / "register.sh"], env=environment, capture_output=True, text=True)

    def configure(self, more: dict[str, str]) -> None:
        """Give the connector settings beside the shipped ones."""
        config = json.loads((DEBEZIUM / "connector.json").read_text()) | more
        self.call("PUT", "config", json.dumps(config).encode())

    def call(self, method: str, path: str, body: bytes | None = None) -> None:
        """Ask something of the connector: PUT stop, PUT resume, DELETE offsets."""
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/connectors/invoices/{path}", body, headers, method=method)
        deadline = time.monotonic() + 60
        while True:
            try:
                urlopen(request, timeout=30).close()
                return
            except HTTPError as error:
                # Offsets can be removed when the tasks have ended.
                if time.monotonic() > deadline:
                    raise RuntimeError(error.read().decode()) from error
                time.sleep(0.2)

    def status(self) -> dict[str, Any]:
        """Return what Connect says of the connector."""
        with urlopen(f"{self.url}/connectors/invoices/status", timeout=5) as answer:
            return json.load(answer)
