"""Peer: the same read in Flask with a psycopg pool, no cache.

Run by `gunicorn --chdir bench/peers flask_invoice:app`.
"""

import os

from flask import Flask, Response, abort, json
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

SQL = """
    select i.invoice_id, i.issue_date::text as issue_date, i.amount_usd::text as amount_usd, i.issuer_id,
           a.customer_name as issuer, i.receiver_id, b.customer_name as receiver
    from invoices i left join customers a on a.customer_id = i.issuer_id
    left join customers b on b.customer_id = i.receiver_id where i.invoice_id = %s
"""

app = Flask(__name__)
connections = int(os.environ["CONNECTIONS"])
pool = ConnectionPool(
    os.environ["SOURCE_URL"],
    min_size=connections,
    max_size=connections,
    kwargs={"row_factory": dict_row},
    open=True,
)


@app.get("/v1/invoices/<int:invoice_id>")
def invoice(invoice_id: int) -> Response:
    """Read from Postgres by primary key."""
    with pool.connection() as connection:
        row = connection.execute(SQL, (invoice_id,), prepare=True).fetchone()
    if row is None:
        abort(404)
    return Response(json.dumps(row), mimetype="application/json")
