"""The servers themselves work, so that a failure elsewhere is the project's."""

import signal

import psycopg
import pytest

from support.services import Bucket, Database, Postgres, wait_until

CUSTOMER = "insert into customers values (1, 'one')"
INVOICE = "insert into invoices values (1, '2026-01-02', 1, null, 12.34)"


def test_schema_can_be_applied_twice_and_roles_can_do_no_more_than_they_should(
    database: Database,
) -> None:
    database.apply_schema()
    database.sql(CUSTOMER)
    database.sql(INVOICE)

    reader_url = database.url("invoice_reader")
    password = database.env("invoice_reader")["PGPASSWORD"]
    with psycopg.connect(reader_url, password=password, autocommit=True) as reader:
        assert reader.execute("select sum(amount_usd)::text from invoices").fetchone() == ("12.34",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("delete from invoices")
        reader.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("delete from invoices")


def test_postgres_loses_nothing_in_a_crash_and_its_replica_follows(postgres: Postgres) -> None:
    database = postgres.create_database()
    with postgres.replica() as replica:
        copy = replica.database(database.name)
        database.sql(CUSTOMER)
        postgres.restart("immediate")
        assert database.sql("select count(*) from customers") == [(1,)]
        database.sql(INVOICE)
        wait_until(lambda: copy.sql("select count(*) from invoices") == [(1,)], what="the replica")
    open_connection = database.connect()
    assert postgres.kill_backends() >= 1
    with pytest.raises(psycopg.OperationalError):
        open_connection.execute("select 1")


def test_tls_server_is_verified_by_its_own_ca_and_name() -> None:
    with Postgres(tls=True) as server:
        database = server.create_database(schema=False)
        params = {"sslmode": "verify-full", "sslrootcert": str(server.ca_path)}
        password = database.env()["PGPASSWORD"]
        with psycopg.connect(database.url(**params), password=password) as connection:
            assert connection.info.pgconn.ssl_in_use
        server.host = "127.0.0.1"
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            psycopg.connect(database.url(**params), password=password)


def test_bucket_keeps_objects_across_a_crash_of_its_server(bucket: Bucket) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="a/b", Body=b"body")
    bucket.server.stop(signal.SIGKILL)
    bucket.server.start()
    assert bucket.keys() == ["a/b"]
    assert bucket.read("a/b") == b"body"
    assert bucket.url == f"s3://{bucket.name}"
