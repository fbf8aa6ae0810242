"""Real PostgreSQL and S3 (MinIO) servers for the tests and the bench."""

import itertools
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import boto3
import psycopg
from psycopg import sql as pg_sql

from support.process import Server, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA_FOLDER = REPOSITORY / "postgres-scripts" / "sql"
SUPERUSER = "postgres"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_database_numbers = itertools.count(1)


def tools_folder() -> Path:
    """Return the folder outside the clone that `scripts/setup.sh` installs into."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("INVOICE_TOOLS") or Path(cache) / "invoice-platform")


def postgres_binaries() -> Path:
    """Find the newest installed PostgreSQL server."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        raise RuntimeError("no PostgreSQL server is installed: run scripts/setup.sh test")
    return max(found, key=lambda folder: int(folder.parent.name.split(".")[0]))


class Postgres(Server):
    """A PostgreSQL server on a free port of 127.0.0.1, with data of its own."""

    def __init__(
        self,
        *,
        tls: bool = False,
        settings: Mapping[str, str] | None = None,
        replica_of: "Postgres | None" = None,
        address: str = "127.0.0.1",
    ) -> None:
        """Create a cluster, or copy the one of `replica_of`, and start it at an address of this machine."""
        super().__init__("postgres", STOP_SIGNALS["fast"])
        self.binaries = postgres_binaries()
        self.port = free_port()
        self.tls = tls
        # The certificate names localhost alone, so verify-full needs that name.
        self.host = "localhost" if tls else address
        self.data = self.folder / "data"
        self.ca_path = self.folder / "ca.pem"
        self.passwords = dict(replica_of.passwords) if replica_of else {SUPERUSER: new_secret()}
        # Without fsync a killed server still loses nothing; only a dead machine would.
        self.settings = {
            "listen_addresses": address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "wal_level": "logical",
            "shared_buffers": "256MB",
            "max_connections": "200",
            "fsync": "off",
            **(settings or {}),
        }
        if os.getuid() == 0:
            subprocess.run(["chown", f"{SUPERUSER}:{SUPERUSER}", self.folder], check=True)
        if replica_of:
            self._copy_cluster(replica_of)
        else:
            self._create_cluster()
        if tls:
            self._create_certificates()
        self.start()

    def _as_server_user(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root; then its package's own user runs it."""
        if os.getuid() != 0:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": SUPERUSER, "group": SUPERUSER, "extra_groups": []}

    def _command(self, name: str, *arguments: str, password: str | None = None) -> None:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if password is not None:
            environment["PGPASSWORD"] = password
        done = subprocess.run(
            [name, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            **self._as_server_user(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{Path(name).name} failed\n{done.stdout}{done.stderr}")

    def _create_cluster(self) -> None:
        password_path = self.folder / "password"
        password_path.write_text(self.passwords[SUPERUSER])
        password_path.chmod(0o644)
        self._command(
            str(self.binaries / "initdb"),
            f"--pgdata={self.data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_path}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        password_path.unlink()
        if self.host not in ("localhost", "127.0.0.1"):
            with (self.data / "pg_hba.conf").open("a") as file:
                file.write("host all all all scram-sha-256\n")

    def _copy_cluster(self, primary: "Postgres") -> None:
        self._command(
            str(self.binaries / "pg_basebackup"),
            f"--pgdata={self.data}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
            "--host=127.0.0.1",
            f"--port={primary.port}",
            f"--username={SUPERUSER}",
            password=primary.passwords[SUPERUSER],
        )

    def _create_certificates(self) -> None:
        new_certificates(self._command, self.folder)
        self.settings |= {
            "ssl": "on",
            "ssl_cert_file": str(self.folder / "server.pem"),
            "ssl_key_file": str(self.folder / "server.key"),
        }

    def start(self) -> None:
        """Start the server again on the same port and data."""
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        self.spawn(
            [str(self.binaries / "postgres"), "-D", str(self.data), *options],
            self._is_ready,
            **self._as_server_user(),
        )

    def _is_ready(self) -> bool:
        try:
            self.database(SUPERUSER).connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `smart`, `fast`, or `immediate`, which is a crash."""
        self.end_process(STOP_SIGNALS[mode])

    def restart(self, mode: str = "fast") -> None:
        """Stop the server and start it again."""
        self.stop(mode)
        self.start()

    def kill_backends(self) -> int:
        """End all client connections but our own; return how many there were."""
        rows = self.database(SUPERUSER).sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        return len(rows)

    def replica(self) -> "Postgres":
        """Start a streaming, read-only copy of this server."""
        return Postgres(replica_of=self)

    def database(self, name: str) -> "Database":
        """Return a handle to a database that exists."""
        return Database(self, name)

    def create_database(self, name: str | None = None, *, schema: bool = True) -> "Database":
        """Create a database, with the project's tables, indexes and roles unless told not to."""
        name = name or f"invoices_{next(_database_numbers)}"
        statement = pg_sql.SQL("create database {}").format(pg_sql.Identifier(name))
        self.database(SUPERUSER).sql(statement)
        database = self.database(name)
        if schema:
            database.apply_schema()
            for role in ("invoice_reader", "invoice_writer"):
                self._give_password(role)
        return database

    def _give_password(self, role: str) -> None:
        if role not in self.passwords:
            password = new_secret()
            self.database(SUPERUSER).sql(
                pg_sql.SQL("alter role {} password {}").format(
                    pg_sql.Identifier(role), pg_sql.Literal(password)
                )
            )
            self.passwords[role] = password


class Database:
    """One database of a server."""

    def __init__(self, server: Postgres, name: str) -> None:
        """Point at a database; nothing is opened."""
        self.server = server
        self.name = name

    def url(self, user: str | None = None, password: str | None = None, **params: str) -> str:
        """Return a URL fit for a flag: without a password unless one is given."""
        credentials = quote(user or SUPERUSER, safe="")
        if password is not None:
            credentials += ":" + quote(password, safe="")
        query = f"?{urlencode(params)}" if params else ""
        address = f"{self.server.host}:{self.server.port}"
        return f"postgres://{credentials}@{address}/{quote(self.name, safe='')}{query}"

    def env(self, user: str = SUPERUSER) -> dict[str, str]:
        """Return the environment that lets `url(user)` log in."""
        return {"PGPASSWORD": self.server.passwords[user]}

    @property
    def admin_url(self) -> str:
        """The superuser's URL with the password, for an environment variable."""
        return self.url(SUPERUSER, self.server.passwords[SUPERUSER])

    def connect(self) -> psycopg.Connection:
        """Open a superuser's connection in autocommit mode."""
        return psycopg.connect(self.admin_url, autocommit=True, connect_timeout=10)

    def sql(self, text: str | pg_sql.Composable, *params: object) -> Sequence[tuple]:
        """Run one statement and return its rows, if it has any."""
        with self.connect() as connection:
            cursor = connection.execute(text, params or None)
            return cursor.fetchall() if cursor.description else []

    def apply_schema(self) -> None:
        """Apply the project's SQL files in the order of their names."""
        with self.connect() as connection:
            for path in sorted(SCHEMA_FOLDER.glob("*.sql")):
                connection.execute(path.read_text())

    def drop(self) -> None:
        """Remove the database, with whoever is connected to it."""
        self.server.database(SUPERUSER).sql(
            pg_sql.SQL("drop database {} with (force)").format(pg_sql.Identifier(self.name))
        )


class Minio(Server):
    """An S3 server on a free port of 127.0.0.1."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        """Start MinIO on an empty folder with random credentials."""
        super().__init__("minio", signal.SIGTERM)
        self.program = tools_folder() / "bin" / "minio"
        if not self.program.exists():
            raise RuntimeError("MinIO isn't built: run scripts/setup.sh test")
        self.port = free_port()
        self.address = address
        self.endpoint = f"http://{address}:{self.port}"
        self.access_key = "test" + secrets.token_hex(8)
        self.secret_key = new_secret()
        self.start()

    @property
    def env(self) -> dict[str, str]:
        """The environment that S3 clients need to reach this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    @property
    def client(self) -> Any:
        """A boto3 client of the root user."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def start(self) -> None:
        """Start the server again on the same port and folder."""
        command = [str(self.program), "server", str(self.folder / "data"), "--quiet"]
        command += ["--address", f"{self.address}:{self.port}"]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        self.spawn(command, self._is_ready, env=environment)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop the server; SIGKILL is a crash."""
        self.end_process(number)

    def bucket(self, name: str | None = None) -> "Bucket":
        """Create an empty bucket."""
        name = name or f"lake-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=name)
        return Bucket(self, name)


class Bucket:
    """One bucket of a MinIO server."""

    def __init__(self, server: Minio, name: str) -> None:
        """Point at a bucket that exists."""
        self.server = server
        self.name = name
        self.url = f"s3://{name}"
        self.client = server.client

    @property
    def env(self) -> dict[str, str]:
        """The environment that S3 clients need to reach this bucket."""
        return self.server.env

    def keys(self, prefix: str = "") -> list[str]:
        """List the keys under a prefix, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def read(self, key: str) -> bytes:
        """Return the body of one object."""
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def download(self, folder: Path, prefix: str = "") -> Path:
        """Copy the objects under a prefix into a folder, for readers that know no S3."""
        for key in self.keys(prefix):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(key))
        return folder


def new_secret() -> str:
    """Make a random password."""
    return secrets.token_hex(16)


def new_certificates(run: Any, folder: Path) -> None:
    """Make a CA (`ca.pem`) and a certificate for `localhost` that it signed (`server.pem`)."""
    key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    ca, server = str(folder / "ca"), str(folder / "server")
    run("openssl", "req", "-x509", *key, "-subj", "/CN=Test CA", "-keyout", f"{ca}.key",
        "-out", f"{ca}.pem")  # fmt: skip
    run("openssl", "req", *key, "-subj", "/CN=localhost", "-keyout", f"{server}.key",
        "-addext", "subjectAltName=DNS:localhost", "-out", f"{server}.csr")  # fmt: skip
    run("openssl", "x509", "-req", "-days", "2", "-in", f"{server}.csr", "-CA", f"{ca}.pem",
        "-CAkey", f"{ca}.key", "-CAcreateserial", "-copy_extensions", "copy",
        "-out", f"{server}.pem")  # fmt: skip


def wait_until(condition: Any, timeout: float = 30, what: str = "the condition") -> None:
    """Poll until a condition holds; fail with a sentence when it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} didn't come within {timeout} s"
        time.sleep(0.05)
