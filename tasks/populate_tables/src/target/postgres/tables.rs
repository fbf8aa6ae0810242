//! The two tables in Postgres: made when they are missing, looked at when they are there, and their
//! foreign keys set aside for the first load.

use super::errors::failed;
use invoices::{Error, Result};
use postgres::Transaction;
use postgres::error::SqlState;

/// The same definition that people apply by hand.
const DEFINITION: &str = include_str!("../../../../../postgres-scripts/sql/01_tables.sql");
const LOOKING: &str = "cannot look up the tables";

/// Columns with the types whose binary form is written.
const CUSTOMERS: [(&str, &[&str]); 2] = [("customer_id", &["int8"]), ("customer_name", &["text", "varchar"])];
const INVOICES: [(&str, &[&str]); 5] = [
    ("invoice_id", &["int8"]),
    ("issue_date", &["timestamp"]),
    ("issuer_id", &["int8"]),
    ("receiver_id", &["int8"]),
    ("amount_usd", &["numeric"]),
];

/// Makes sure that both tables exist and can take the rows.
///
/// # Errors
/// Configuration when they can't be created or have other columns.
pub fn ensure(transaction: &mut Transaction<'_>) -> Result<()> {
    let sql = "select to_regclass('public.customers') is null or to_regclass('public.invoices') is null";
    let missing: bool = transaction.query_one(sql, &[]).map_err(|error| failed(LOOKING, error))?.get(0);
    // Not left to "if not exists" alone, which asks for the right to create tables before it looks.
    if missing {
        tracing::info!("creating the tables");
        let sql = format!("set local search_path = public;\n{DEFINITION}");
        transaction.batch_execute(&sql).map_err(|error| failed("cannot create the tables", error))?;
    }
    check(transaction, "public.customers", &CUSTOMERS)?;
    check(transaction, "public.invoices", &INVOICES)
}

/// Binary COPY takes no other types, and would round amounts to a smaller scale in silence.
fn check(transaction: &mut Transaction<'_>, table: &str, columns: &[(&str, &[&str])]) -> Result<()> {
    let sql = "select t.typname::text, a.atttypmod from pg_attribute a join pg_type t on t.oid = a.atttypid \
         where a.attrelid = to_regclass($1::text) and a.attname = $2 and a.attnum > 0 and not a.attisdropped";
    for (column, types) in columns {
        let row = transaction.query_opt(sql, &[&table, column]).map_err(|error| failed(LOOKING, error))?;
        let other = match row.map(|row| (row.get::<_, String>(0), row.get::<_, i32>(1))) {
            None => "is missing".to_owned(),
            Some((found, _)) if !types.contains(&found.as_str()) => format!("is {found}, not {}", types[0]),
            // numeric(p,s) has the modifier 4 + (p << 16 | s), plain numeric has -1.
            Some((found, modifier)) if found == "numeric" && modifier >= 4 && (modifier - 4) & 0x7ff < 2 => {
                "has less than two digits after the decimal point".to_owned()
            }
            Some(_) => continue,
        };
        return Err(Error::config(format!(
            "column {column} of {table} {other}; only tables defined as in postgres-scripts/sql/01_tables.sql can be filled"
        )));
    }
    Ok(())
}

/// Drops the foreign keys of an empty table of invoices, to be checked once for all rows instead of
/// one by one, which takes nine tenths of a load's time. Returns the statements that bring them
/// back as they were; the transaction must not be committed without. Until then nobody else can
/// read the two tables, so this is not for a table in use: with rows in it, or when others hold a
/// lock on it or own it, the keys stay and the list is empty.
pub fn set_foreign_keys_aside(transaction: &mut Transaction<'_>) -> Result<Vec<String>> {
    let sql = "select format('alter table public.invoices drop constraint %I', conname), \
             format('alter table public.invoices add constraint %I %s', conname, pg_get_constraintdef(k.oid)) \
         from pg_constraint k join pg_class c on c.oid = k.conrelid \
         where k.contype = 'f' and k.convalidated and c.relkind = 'r' and c.oid = 'public.invoices'::regclass \
             and pg_has_role(c.relowner, 'usage') \
             and has_table_privilege(k.confrelid, 'references') \
             and not exists (select from public.invoices) \
         order by conname";
    let rows = transaction.query(sql, &[]).map_err(|error| failed(LOOKING, error))?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let (mut drops, mut adds) = (Vec::<String>::new(), Vec::new());
    for row in &rows {
        drops.push(row.get(0));
        adds.push(row.get(1));
    }
    let doing = "cannot set the foreign keys aside";
    let mut attempt = transaction.transaction().map_err(|error| failed(doing, error))?;
    let dropped = attempt.batch_execute(&format!("set local lock_timeout = '1s'; {}", drops.join("; ")));
    match dropped {
        Ok(()) => attempt.commit().map(|()| adds).map_err(|error| failed(doing, error)),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            tracing::warn!("others use the tables; foreign keys are checked row by row, which is slower");
            attempt.rollback().map(|()| Vec::new()).map_err(|error| failed(doing, error))
        }
        Err(error) => Err(failed(doing, error)),
    }
}
