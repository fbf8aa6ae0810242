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
    primary key (partition, log_offset)
);

