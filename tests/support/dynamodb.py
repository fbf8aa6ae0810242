"""DynamoDB Local, Amazon's own engine for tests, from the jars that setup.sh fetches."""

import os
import signal
import socket
from typing import Any

import boto3

from support.process import Server, free_port
from support.services import tools_folder

REGION = "us-east-1"
# The engine takes any keys; it keeps the tables of different keys apart.
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": REGION}


class DynamoDB(Server):
    """An engine in memory on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        """Start it, empty."""
        super().__init__("dynamodb", signal.SIGTERM)
        self.libs = tools_folder() / "dynamodb" / "libs"
        if not self.libs.exists():
            raise RuntimeError("DynamoDB Local isn't installed: run scripts/setup.sh test")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start again on the same port; what was in memory is lost."""
        command = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"-Djava.library.path={self.libs}", "-cp", f"{self.libs}/*"]
        command += ["com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-sharedDb"]
        command += ["-port", str(self.port), "-disableTelemetry"]
        self.spawn(command, self._is_ready, cwd=self.folder, env=os.environ | {"HOME": str(self.folder)})

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def env(self) -> dict[str, str]:
        """Return what a program needs to use it."""
        return KEYS | {"AWS_ENDPOINT_URL_DYNAMODB": self.url}

    @property
    def client(self) -> Any:
        """Amazon's own client."""
        return boto3.client(
            "dynamodb",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
