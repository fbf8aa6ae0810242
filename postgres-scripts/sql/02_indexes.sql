-- Invoices arrive roughly in the order of their dates, so the smallest and the
-- largest date of every few blocks (BRIN) is all that finding a month takes: an
-- index of kilobytes where a btree would be hundreds of megabytes and slow every
-- insert. 32 pages (256 kB) instead of the default 128 keep the rows read past
-- the ends of a month few. autosummarize lets vacuum add the newest ranges,
-- which would be read in full otherwise.
create index if not exists invoices_issue_date_brin
    on invoices using brin (issue_date)
    with (pages_per_range = 32, autosummarize = on);
