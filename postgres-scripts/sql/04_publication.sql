-- What Debezium may do: replicate, and read the one table that it publishes. The publication is made
-- here and not by Debezium, which would have to own the tables. A slot is made by Debezium itself.

do $$
begin
    create role invoice_cdc login replication;
exception
    when duplicate_object or unique_violation then null;
end
$$;

-- Its own small table: a heartbeat written now and then lets the slot move on when nothing else does.
create table if not exists debezium_heartbeat (
    id      int primary key check (id = 1),
    beat_at timestamptz not null
);
insert into debezium_heartbeat values (1, now()) on conflict do nothing;
comment on table debezium_heartbeat is 'One row that Debezium touches, so that its slot follows the log.';

grant select on invoices to invoice_cdc;
grant select, insert, update on debezium_heartbeat to invoice_cdc;

do $$
begin
    create publication invoice_changes for table invoices, debezium_heartbeat
        with (publish = 'insert, update, delete');
exception
    when duplicate_object then null;
end
$$;
