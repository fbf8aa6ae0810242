"""Exit 0 when a component is healthy.

`health.py URL COMPONENT` asks the API server, `health.py worker` the Celery worker of this container.
"""

import json
import os
import socket
import sys
import urllib.request


def says_healthy(url: str, component: str) -> bool:
    """Whether the API server has heard from a component lately."""
    with urllib.request.urlopen(url, timeout=8) as answer:
        return json.load(answer)[component]["status"] == "healthy"


def worker_answers() -> bool:
    """Ping the worker through the broker.

    Without Airflow's own Celery app, whose import costs seconds of processor time at every check.
    """
    from celery import Celery

    app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
    return bool(app.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=8))


sys.exit(not (worker_answers() if sys.argv[1:] == ["worker"] else says_healthy(*sys.argv[1:])))
