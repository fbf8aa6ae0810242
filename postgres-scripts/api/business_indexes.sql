-- For GET /v1/businesses/{id}/invoices: a page is one short range of one index. Apart from the other
-- scripts because these indexes cost every insert something and hundreds of megabytes at ten million
-- invoices; without them that one address answers only for small tables. Run outside a transaction.
create index concurrently if not exists invoices_issuer on invoices (issuer_id, invoice_id);
create index concurrently if not exists invoices_receiver on invoices (receiver_id, invoice_id);
