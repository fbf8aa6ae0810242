"""A Docker socket proxy that can start task containers and nothing else.

Whoever reaches the engine's socket is root on the host. Airflow must start containers all the same,
so it talks to this proxy, which forwards only the requests of TABLE. For a new container it also
reads the body: only settings of ALLOWED_HOST_CONFIG pass, the image and the network are fixed, and
what makes a container harmless (no capabilities, read-only root, limits) is put in here, so that a
DAG can't forget it. Every later request must name a container that this proxy has labelled.

`proxy.py` serves; `proxy.py check` asks a running one and sets the exit code.
"""

import json
import os
import re
import socket
import sys
import urllib.parse
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SOCKET = "/var/run/docker.sock"
PORT = 2375
OWNER_LABEL = "invoice-platform.owner"
BODY_BYTES_MAX = 1 << 20
ID = r"(?P<id>[0-9a-f]{12,64})"
VERSION = r"(?:/v1\.[0-9]{2})?"

# Methods and paths. What isn't here is refused; what names a container must name one of ours.
TABLE = [
    ("GET", rf"{VERSION}/_ping"),
    ("HEAD", rf"{VERSION}/_ping"),
    ("GET", rf"{VERSION}/version"),
    ("GET", rf"{VERSION}/images/json"),
    ("GET", rf"{VERSION}/containers/json"),
    ("POST", rf"{VERSION}/containers/create"),
    ("GET", rf"{VERSION}/containers/{ID}/json"),
    ("GET", rf"{VERSION}/containers/{ID}/logs"),
    ("POST", rf"{VERSION}/containers/{ID}/attach"),
    ("POST", rf"{VERSION}/containers/{ID}/start"),
    ("POST", rf"{VERSION}/containers/{ID}/wait"),
    ("POST", rf"{VERSION}/containers/{ID}/stop"),
    ("DELETE", rf"{VERSION}/containers/{ID}"),
]

# Settings of a container, and the check that a value must pass. Empty values always pass.
ALLOWED_CONFIG = {
    "Image": lambda value: value == os.environ["ALLOWED_IMAGE"],
    "Cmd": lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value),
    "Env": lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value),
    "Labels": lambda value: isinstance(value, dict) and OWNER_LABEL not in value,
    "AttachStdout": lambda value: True,
    "AttachStderr": lambda value: True,
    "HostConfig": lambda value: isinstance(value, dict),
    "NetworkingConfig": lambda value: False,
}
ALLOWED_HOST_CONFIG = {
    "NetworkMode": lambda value: value == os.environ["ALLOWED_NETWORK"],
    "CpuShares": lambda value: isinstance(value, int),
    "LogConfig": lambda value: not value.get("Type") and not value.get("Config"),
}


class RefusedError(Exception):
    """A request that this proxy does not forward; the text says why."""


def check_settings(settings: dict, allowed: dict, where: str) -> None:
    """Refuse every setting that is neither empty nor allowed with that value."""
    for name, value in settings.items():
        if value in (None, "", 0, False, [], {}):
            continue
        if name not in allowed or not allowed[name](value):
            raise RefusedError(f"{where} {name}={json.dumps(value)[:80]} is not allowed")


def bytes_of(size: str) -> int:
    """Read a size like 512m or 2g."""
    number, unit = re.fullmatch(r"(\d+)([kmg])", size.lower()).groups()
    return int(number) << {"k": 10, "m": 20, "g": 30}[unit]


def checked_container(body: bytes) -> bytes:
    """Check what a new container asks for; return it with the limits that every one gets."""
    try:
        config = json.loads(body)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise RefusedError("the body is not a JSON object")
    check_settings(config, ALLOWED_CONFIG, "container setting")
    if "Image" not in config:
        raise RefusedError("no image")
    host = config.get("HostConfig") or {}
    check_settings(host, ALLOWED_HOST_CONFIG, "host setting")
    memory = bytes_of(os.environ["MEMORY_LIMIT"])
    # A new object, so that nothing passes by a spelling that the engine reads and this proxy doesn't.
    safe = {name: config[name] for name in ("Image", "Cmd", "Env") if config.get(name)}
    safe |= {"AttachStdout": True, "AttachStderr": True}
    safe["Labels"] = {**(config.get("Labels") or {}), OWNER_LABEL: os.environ["OWNER"]}
    safe["HostConfig"] = {
        "NetworkMode": os.environ["ALLOWED_NETWORK"],
        "CpuShares": host.get("CpuShares") or 0,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=256m"},
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": 256,
        "Init": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
    }
    return json.dumps(safe).encode()


class EngineConnection(HTTPConnection):
    """A connection to the engine's socket."""

    def __init__(self) -> None:
        """Nothing is opened yet."""
        super().__init__("docker")

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(SOCKET)


def owner_of(container: str) -> str | None:
    """Say which proxy has made a container, None for anybody else's."""
    connection = EngineConnection()
    connection.request("GET", f"/containers/{container}/json")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    if answer.status == 404:
        raise FileNotFoundError(container)
    return body["Config"]["Labels"].get(OWNER_LABEL)


def only_own(query: str) -> str:
    """Narrow a list of containers to those of this proxy."""
    fields = urllib.parse.parse_qs(query)
    filters = json.loads(fields.get("filters", ["{}"])[0])
    labels = filters.get("label") or []
    # Older clients send {"label": {"a=b": true}}.
    filters["label"] = [*labels, f"{OWNER_LABEL}={os.environ['OWNER']}"]
    fields["filters"] = [json.dumps(filters)]
    return urllib.parse.urlencode(fields, doseq=True)


class Proxy(BaseHTTPRequestHandler):
    """Checks one request, forwards it on a connection of its own, and copies the answer."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        """Forward a request or refuse it with 403."""
        self.close_connection = True
        try:
            path, body = self.checked()
        except RefusedError as refused:
            print(f"refused {self.command} {self.path.split('?')[0]}: {refused}")
            self.answer(403, f"the socket proxy refuses this: {refused}")
            return
        except FileNotFoundError:
            self.answer(404, "no such container")
            return
        try:
            self.forward(path, body)
        except OSError as error:
            # The client hung up, or the engine is gone; either way there is nobody to tell.
            print(f"ended {self.command} {self.path.split('?')[0]}: {error}")

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = handle_any

    def checked(self) -> tuple[str, bytes]:
        """Return the path and the body to forward, or raise."""
        if self.headers.get("Transfer-Encoding"):
            raise RefusedError("a chunked body")
        path, _, query = self.path.partition("?")
        match = next(
            (m for method, pattern in TABLE if method == self.command and (m := re.fullmatch(pattern, path))),
            None,
        )
        if match is None:
            raise RefusedError("not in the table of requests")
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            raise RefusedError("a body that large")
        body = self.rfile.read(length)
        if "id" in match.groupdict():
            if owner_of(match["id"]) != os.environ["OWNER"]:
                raise RefusedError("not a container of this proxy")
        elif path.endswith("/containers/create"):
            body = checked_container(body)
        elif path.endswith("/containers/json"):
            query = only_own(query)
        return f"{path}?{query}" if query else path, body

    def forward(self, path: str, body: bytes) -> None:
        """Send the request to the engine and copy what comes back until it ends."""
        upgrade = path.partition("?")[0].endswith("/attach")
        connection = EngineConnection()
        connection.connect()
        lines = [f"{self.command} {path} HTTP/1.1", "Host: docker", f"Content-Length: {len(body)}"]
        if body:
            lines.append("Content-Type: application/json")
        # An attached container's output comes on the raw connection after a 101.
        lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else ["Connection: close"]
        connection.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        try:
            while chunk := connection.sock.recv(1 << 16):
                self.wfile.write(chunk)
                self.wfile.flush()
        finally:
            connection.close()

    def answer(self, status: int, message: str) -> None:
        """Answer as the engine would."""
        body = json.dumps({"message": message}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing about what is allowed; bodies would hold secrets anyway."""


class Server(ThreadingHTTPServer):
    """A thread per request: a task is attached to for as long as it runs."""

    daemon_threads = True
    request_queue_size = 64


def check() -> bool:
    """Ask the engine through a running proxy."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=4)
    connection.request("GET", "/_ping")
    answer: HTTPResponse = connection.getresponse()
    return answer.status == 200


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(not check())
    Server(("0.0.0.0", PORT), Proxy).serve_forever()
