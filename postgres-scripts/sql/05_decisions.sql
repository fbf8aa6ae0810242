-- What the stream path decides. May live in the source's database or, better, in one of its own: it
-- refers to no table outside the schema.
create schema if not exists risk;

-- The next offset of each partition, written in the transaction of the decisions before it. Whoever
-- changes it must know its old value, which fences off a consumer that lost its partition unnoticed.
create table if not exists risk.stream_offsets (
    topic       text        not null,
    partition   int         not null,
    next_offset bigint      not null,
    updated_at  timestamptz not null default now(),
    primary key (topic, partition)
);

-- To which topic the offset belongs, and how often topic and source were replaced: a topic that was made
-- again and a restored source count from the beginning, so stored positions carry these numbers first.
alter table risk.stream_offsets
    add column if not exists topic_id text,
    add column if not exists topic_epoch int not null default 0,
    add column if not exists source_epoch int not null default 0;

-- Every rule set that ever decided, as it was written.
create table if not exists risk.rule_sets (
    rule_set   text primary key,
    model      text        not null,
    source     text        not null,
    first_used timestamptz not null default now()
);

-- Names of the features in the order of decisions.features.
create table if not exists risk.models (
    model    text primary key,
    features text[] not null
);

-- One row per decided change, in the order of the partition's log: the consumer's state is rebuilt
-- from it, so filed_at and the previous_ columns say exactly what was added and taken back.
create table if not exists risk.decisions (
    partition             int         not null,
    log_offset            bigint      not null,
    step                  int         not null default 0,
    invoice_id            bigint      not null,
    lsn                   bigint      not null,
    op                    text        not null,
    status                text        not null check (status in ('approve', 'review', 'block', 'withdrawn')),
    score                 smallint    not null,
    rules                 jsonb,
    features              bigint[]    not null,
    model                 text        not null,
    rule_set              text        not null,
    issue_date            timestamp   not null,
    filed_at              timestamp   not null,
    issuer_id             bigint,
    receiver_id           bigint,
    amount_cents          bigint      not null,
    previous_status       text,
    previous_issue_date   timestamp,
    previous_filed_at     timestamp,
    previous_issuer_id    bigint,
    previous_receiver_id  bigint,
    previous_amount_cents bigint,
    previous_lsn          bigint,
    committed_at          timestamptz,
    received_at           timestamptz not null,
    decided_at            timestamptz not null,
    primary key (partition, log_offset, step)
);

-- Tables of an earlier version get the column and the key; nothing happens where they are.
alter table risk.decisions add column if not exists step int not null default 0;

do $$
begin
    if not exists (
        select from pg_constraint c
        join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any (c.conkey)
        where c.conrelid = 'risk.decisions'::regclass and c.contype = 'p' and a.attname = 'step'
    ) then
        alter table risk.decisions drop constraint decisions_pkey;
        alter table risk.decisions add primary key (partition, log_offset, step);
    end if;
end
$$;

comment on column risk.decisions.log_offset is 'Offset in the topic; from bit 54 on how often the topic was replaced.';
comment on column risk.decisions.step is 'A changed id makes two decisions of one message, a truncation one per invoice.';
comment on column risk.decisions.lsn is
    'Place of the change in the source log, the offset for rows without one; from bit 54 on how often the source was replaced.';
comment on column risk.decisions.rules is 'The rules that fired: id, score, reason; null when none did.';
comment on column risk.decisions.committed_at is 'Commit in the source, as the connector says.';

-- A change is decided once, whatever offsets it comes with; a changed message key makes a withdrawal
-- and a decision of one lsn.
create unique index if not exists decisions_once
    on risk.decisions (invoice_id, lsn, (status = 'withdrawn'));

-- The latest decision of each invoice.
create or replace view risk.current_decisions as
select distinct on (invoice_id) *
from risk.decisions
order by invoice_id, lsn desc, (status = 'withdrawn');

-- The features of each decision by name.
create or replace view risk.decision_features as
select d.partition, d.log_offset, d.invoice_id, f.name, f.value
from risk.decisions d
join risk.models m on m.model = d.model
cross join lateral unnest(m.features, d.features) as f(name, value);

-- Changes of the figures per business and day of issue (UTC), one row per transaction; rolled up now
-- and then. Upserts would cost an index lookup per invoice and make consumers wait for each other.
create table if not exists risk.business_day_changes (
    business_id    bigint not null,
    day            date   not null,
    issued_count   bigint not null,
    issued_cents   bigint not null,
    received_count bigint not null,
    received_cents bigint not null,
    flagged_count  bigint not null
);

create table if not exists risk.business_day_totals (
    business_id    bigint  not null,
    day            date    not null,
    issued_count   bigint  not null,
    issued_cents   numeric not null,
    received_count bigint  not null,
    received_cents numeric not null,
    flagged_count  bigint  not null,
    primary key (business_id, day)
);

create or replace view risk.business_days as
select business_id, day,
       sum(issued_count)::bigint as issued_count, sum(issued_cents) / 100 as issued_usd,
       sum(received_count)::bigint as received_count, sum(received_cents) / 100 as received_usd,
       sum(flagged_count)::bigint as flagged_count
from (
    select * from risk.business_day_totals
    union all
    select * from risk.business_day_changes
) as both_parts
group by business_id, day
having sum(issued_count) <> 0 or sum(received_count) <> 0;

create or replace function risk.roll_up() returns bigint language sql as $$
    with moved as (
        delete from risk.business_day_changes returning *
    ), rolled as (
        insert into risk.business_day_totals as totals
        select business_id, day, sum(issued_count), sum(issued_cents), sum(received_count),
               sum(received_cents), sum(flagged_count)
        from moved
        group by business_id, day
        order by business_id, day
        on conflict (business_id, day) do update set
            issued_count = totals.issued_count + excluded.issued_count,
            issued_cents = totals.issued_cents + excluded.issued_cents,
            received_count = totals.received_count + excluded.received_count,
            received_cents = totals.received_cents + excluded.received_cents,
            flagged_count = totals.flagged_count + excluded.flagged_count
        returning 1
    )
    select count(*) from rolled
$$;

-- Changes of status to tell about, written with the decision, delivered afterwards at least once.
create table if not exists risk.notifications (
    id           bigint generated always as identity primary key,
    invoice_id   bigint      not null,
    lsn          bigint      not null,
    from_status  text        not null,
    to_status    text        not null,
    score        smallint    not null,
    rules        jsonb,
    created_at   timestamptz not null default now(),
    webhook_at   timestamptz,
    topic_at     timestamptz
);

create index if not exists notifications_to_webhook on risk.notifications (id) where webhook_at is null;
create index if not exists notifications_to_topic on risk.notifications (id) where topic_at is null;

-- What could not be decoded; the messages themselves are in the dead-letter topic.
create table if not exists risk.dead_letters (
    topic      text        not null,
    partition  int         not null,
    log_offset bigint      not null,
    reason     text        not null,
    created_at timestamptz not null default now(),
    primary key (topic, partition, log_offset)
);

do $$
begin
    create role invoice_risk login;
exception
    when duplicate_object or unique_violation then null;
end
$$;

grant usage on schema risk to invoice_risk;
grant select, insert, update, delete on all tables in schema risk to invoice_risk;
