-- Least privilege: the batch path reads as invoice_reader, mock data is written
-- as invoice_writer. No passwords here: set them outside with
-- `alter role ... password ...`; until then nobody can log in by password.
--
-- Roles belong to the whole server, which may have them from another database.

do $$
begin
    create role invoice_reader login;
exception
    when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    create role invoice_writer login;
exception
    when duplicate_object or unique_violation then null;
end
$$;

grant select on customers, invoices to invoice_reader;
alter role invoice_reader set default_transaction_read_only = on;
-- A forgotten query must not hold back vacuum on the transactional table for ever.
alter role invoice_reader set statement_timeout = '30min';

grant select, insert, update, delete, truncate on customers, invoices to invoice_writer;
