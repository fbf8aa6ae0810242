"""Fixtures of the end-to-end tests: real servers, started once per session."""

import signal
from collections.abc import Iterator

import pytest

from support.dynamodb import DynamoDB
from support.kafka import Kafka
from support.services import Bucket, Database, Minio, Postgres
from support.stack import Stack


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that `make faults` selects by; end on SIGTERM as on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "faults: breaks a service or a process on purpose")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole session."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def minio() -> Iterator[Minio]:
    """One MinIO server for the whole session."""
    with Minio() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """Give each test a database of its own with the project's schema."""
    database = postgres.create_database()
    yield database
    database.drop()


@pytest.fixture
def bucket(minio: Minio) -> Bucket:
    """Give each test an empty bucket of its own."""
    return minio.bucket()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One Kafka broker for the whole session."""
    with Kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[DynamoDB]:
    """One DynamoDB engine for the whole session; each test has tables of its own."""
    with DynamoDB() as engine:
        yield engine


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One compose stack for the whole session, with two years of mock invoices."""
    stack = Stack()
    try:
        stack.fill()
        yield stack
    finally:
        stack.close()
    assert stack.left == [], "make down ARGS=-v forgets everything"
