"""Glue and Athena by moto: its answers are Amazon's in form, and nothing behind them runs a query."""

import signal
import sys
import urllib.error
import urllib.request
from typing import Any

import boto3

from support.process import Server, free_port

REGION = "us-east-1"


class Moto(Server):
    """Amazon's services in memory on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        """Start it, empty."""
        super().__init__("moto", signal.SIGTERM)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.spawn(command, self._is_ready, cwd=self.folder)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def client(self, service: str) -> Any:
        """Amazon's own client of a service."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
