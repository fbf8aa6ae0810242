-- What change data capture needs of the source. Logical decoding itself is a matter of the server's
-- settings: wal_level = logical, and max_slot_wal_keep_size, so that a consumer that is down for long
-- loses its slot before the source loses its disk.

-- Keyed by issuer, a deleted or re-keyed invoice must name its old issuer, or it would land in
-- another partition than its creation; updates of invoices are rare, so the longer log is cheap.
alter table invoices replica identity full;

-- An idle table must not hold back the log: the connector writes here now and then.
create table if not exists debezium_heartbeat (
    id       int primary key,
    beat_at  timestamptz not null
);

do $$
begin
    create publication invoice_platform for table invoices, debezium_heartbeat;
exception
    when duplicate_object then null;
end
$$;

do $$
begin
    create role invoice_capture login replication;
exception
    when duplicate_object or unique_violation then null;
end
$$;

-- The snapshot reads, the heartbeat writes, nothing else. No password here, see 03_roles.sql.
grant select on invoices, debezium_heartbeat to invoice_capture;
grant insert, update on debezium_heartbeat to invoice_capture;
