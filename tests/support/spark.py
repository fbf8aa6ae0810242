"""Servers that speak Spark Connect: Spark 4 itself, from the tests' pyspark, and Sail."""

import importlib.util
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from support.process import Server, free_port

# What a test asks is small; compiling it well takes longer than running it.
JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"
SETTINGS = {
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": JAVA_OPTIONS,
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    # Streams of reattachable executions are cut after so long, two minutes by default: a client must not take
    # a cut for the end of its answer.
    "spark.connect.execute.reattachable.senderMaxStreamDuration": "100ms",
}


class ConnectServer(Server):
    """A server of Spark Connect on a free port of 127.0.0.1."""

    def __init__(self, name: str) -> None:
        """Choose the port; nothing runs yet."""
        super().__init__(name, signal.SIGTERM)
        self.port = free_port()
        self.remote = f"sc://127.0.0.1:{self.port}"

    def is_listening(self) -> bool:
        """Whether somebody accepts connections."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Spark(ConnectServer):
    """Spark's own server, a cluster of one process."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, memory: str = "1g", cores: str = "2"
    ) -> None:
        """Start; `settings` are added to those of the tests."""
        super().__init__("spark")
        home = Path(importlib.util.find_spec("pyspark").origin).parent
        folders = {"spark.local.dir": "local", "spark.sql.warehouse.dir": "warehouse"}
        chosen = {
            **SETTINGS,
            "spark.connect.grpc.binding.port": str(self.port),
            **{name: str(self.folder / folder) for name, folder in folders.items()},
            **(settings or {}),
        }
        command = [str(home / "bin" / "spark-submit"), "--master", f"local[{cores}]"]
        command += ["--driver-memory", memory]
        command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
        for name, value in chosen.items():
            command += ["--conf", f"{name}={value}"]
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(home)}
        self.spawn(command, self.is_listening, cwd=self.folder, env=environment)


class Sail(ConnectServer):
    """Sail's server, which reads S3 with the variables of the environment."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        """Start with this environment besides the least that a program needs."""
        super().__init__("sail")
        program = Path(sys.executable).parent / "sail"
        if not program.exists():
            raise RuntimeError("Sail isn't installed: run scripts/setup.sh test")
        command = [str(program), "spark", "server", "--ip", "127.0.0.1", "--port", str(self.port)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(env or {})}
        self.spawn(command, self.is_listening, cwd=self.folder, env=environment)


class TlsFront:
    """What stands before a server that knows no TLS: it ends TLS and passes the bytes on."""

    def __init__(self, server: ConnectServer, certificates: Path) -> None:
        """Serve with `server.pem` of the folder, which is for `localhost`; ends with the tests."""
        self.target = ("127.0.0.1", server.port)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        """Accept one connection after the other; clients that do not trust us go away."""
        while True:
            plain, _ = self.listener.accept()
            try:
                client = self.context.wrap_socket(plain, server_side=True)
            except (ssl.SSLError, OSError):
                continue
            server = socket.create_connection(self.target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket) -> None:
        """Copy until either side is done."""
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()
