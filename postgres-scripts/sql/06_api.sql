-- What invoice_api may read. No password here, see 03_roles.sql. Safe to run again after the stream
-- path's tables were added.

do $$
begin
    create role invoice_api login;
exception
    when duplicate_object or unique_violation then null;
end
$$;

grant select on customers, invoices to invoice_api;
alter role invoice_api set default_transaction_read_only = on;
alter role invoice_api set statement_timeout = '5s';

do $$
begin
    if to_regclass('risk.decisions') is not null then
        grant usage on schema risk to invoice_api;
        grant select on risk.decisions, risk.stream_offsets to invoice_api;
    end if;
end
$$;
