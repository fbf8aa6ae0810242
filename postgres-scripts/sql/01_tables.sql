-- The two tables that everything else reads.

create table if not exists customers (
    customer_id   bigint primary key,
    customer_name text   not null
);

comment on table customers is 'Businesses that issue or receive invoices.';

-- Issuer and receiver may be null because real invoices lack them now and then
-- (cash sales have no known receiver); their amounts still count in every total.
create table if not exists invoices (
    invoice_id  bigint primary key,
    issue_date  timestamp not null,
    issuer_id   bigint references customers (customer_id),
    receiver_id bigint references customers (customer_id),
    amount_usd  numeric(12, 2) not null
);

comment on table invoices is 'One row per invoice; the table keeps growing and is never moved.';
comment on column invoices.issue_date is 'When the invoice was issued, UTC without a time zone.';
comment on column invoices.issuer_id is 'The business that is owed; null when unknown.';
comment on column invoices.receiver_id is 'The business that owes; null when unknown.';
comment on column invoices.amount_usd is 'Exact to the cent; negative on credit notes and corrections.';
