"""Peer: the same read in FastAPI with asyncpg, and Redis before it when REDIS_URL is set.

Run by `uvicorn --app-dir bench/peers fastapi_invoice:app`.
"""

import json
import os
from contextlib import asynccontextmanager

import asyncpg
import redis.asyncio as redis
from fastapi import FastAPI, HTTPException, Response

SQL = """
    select i.invoice_id, i.issue_date, i.amount_usd::text as amount_usd,
           i.issuer_id, a.customer_name as issuer, i.receiver_id, b.customer_name as receiver
    from invoices i left join customers a on a.customer_id = i.issuer_id
    left join customers b on b.customer_id = i.receiver_id where i.invoice_id = $1
"""
TTL_SECONDS = 60


@asynccontextmanager
async def lifespan(app: FastAPI):
    """Open the pool and Redis for the life of the process."""
    connections = int(os.environ["CONNECTIONS"])
    app.state.pool = await asyncpg.create_pool(
        os.environ["SOURCE_URL"], min_size=connections, max_size=connections
    )
    url = os.environ.get("REDIS_URL")
    app.state.cache = redis.from_url(url) if url else None
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


@app.get("/v1/invoices/{invoice_id}")
async def invoice(invoice_id: int) -> Response:
    """Read through: Redis, then Postgres by primary key."""
    cache = app.state.cache
    if cache is not None and (body := await cache.get(f"peer:{invoice_id}")):
        return Response(body, media_type="application/json")
    row = await app.state.pool.fetchrow(SQL, invoice_id)
    if row is None:
        raise HTTPException(404, f"There is no invoice {invoice_id}.")
    body = json.dumps(dict(row), default=str).encode()
    if cache is not None:
        await cache.set(f"peer:{invoice_id}", body, ex=TTL_SECONDS)
    return Response(body, media_type="application/json")
