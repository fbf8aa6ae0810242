//! What each column of a table may be, by its type, its name and its keys. Pure.

use super::catalog::{Column, Kind, Relation};

/// What a column is to an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Id,
    Date,
    Issuer,
    Receiver,
    Amount,
}

/// A column in a role, and how well it fits: more is better, 0 and less is no fit.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    pub column: &'a Column,
    pub score: i32,
}

/// A table that may be the invoices.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    pub relation: &'a Relation,
    pub score: i32,
    pub id: Fit<'a>,
    pub date: Fit<'a>,
    pub amount: Fit<'a>,
    /// None where no column looks like one.
    pub issuer: Option<Fit<'a>>,
    pub receiver: Option<Fit<'a>>,
}

const INVOICE: &[&str] =
    &["invoice", "invoices", "inv", "bill", "bills", "factura", "facturas", "rechnung", "rechnungen"];
const DOCUMENT: &[&str] = &["document", "documents", "doc", "docs", "receivables", "sales", "vouchers"];
const PART_OF: &[&str] = &[
    "line",
    "lines",
    "item",
    "items",
    "position",
    "positions",
    "history",
    "audit",
    "log",
    "payment",
    "payments",
    "archive",
    "attachment",
    "attachments",
    "tmp",
    "temp",
    "backup",
    "old",
];
const NUMBER: &[&str] = &["id", "no", "nr", "num", "number", "key", "code", "numero"];
const ISSUED: &[&str] = &[
    "issue", "issued", "invoice", "invoiced", "inv", "doc", "document", "bill", "billing", "billed",
    "posting", "booking", "emission",
];
const WHEN: &[&str] = &["date", "at", "on", "time", "timestamp", "day", "fecha", "datum"];
const OTHER_DATES: &[&str] = &[
    "due",
    "paid",
    "payment",
    "deleted",
    "updated",
    "modified",
    "changed",
    "removed",
    "cancelled",
    "canceled",
    "void",
    "voided",
    "birth",
    "reminder",
    "delivery",
    "shipped",
    "valid",
    "exported",
    "synced",
];
const ISSUERS: &[&str] = &[
    "issuer", "issued", "seller", "supplier", "vendor", "creditor", "sender", "from", "merchant", "biller",
    "payee", "emisor", "provider",
];
const RECEIVERS: &[&str] = &[
    "receiver",
    "recipient",
    "buyer",
    "customer",
    "client",
    "debtor",
    "to",
    "payer",
    "billed",
    "bill",
    "purchaser",
    "receptor",
    "account",
];
const AMOUNTS: &[&str] = &["amount", "total", "gross", "sum", "grand", "importe", "betrag"];
const SMALLER_AMOUNTS: &[&str] = &["net", "value", "price", "subtotal", "usd", "dollars", "cents"];
const OTHER_AMOUNTS: &[&str] = &[
    "tax",
    "vat",
    "discount",
    "paid",
    "open",
    "outstanding",
    "due",
    "rate",
    "fee",
    "shipping",
    "qty",
    "quantity",
    "count",
    "balance",
    "percent",
    "exchange",
    "fx",
    "rounding",
];

/// Lower-case words of a name: `InvoiceNo`, `invoice_no` and `INVOICE-NO` are the same.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in name.chars() {
        let begins = letter.is_uppercase() && before.is_lowercase();
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

pub fn has(words: &[String], list: &[&str]) -> bool {
    words.iter().any(|word| list.contains(&word.as_str()))
}

/// The tables that may be the invoices, the likeliest first; only the one that is named, if one is.
pub fn ranked<'a>(relations: &'a [Relation], named: Option<&str>) -> Vec<Candidate<'a>> {
    let meant = |relation: &&Relation| named.is_none_or(|name| relation.is(name));
    let mut candidates: Vec<_> = relations.iter().filter(meant).filter_map(candidate).collect();
    // Of equal ones the larger, then in the order of their names.
    candidates.sort_by_key(|candidate| (-candidate.score, -candidate.relation.rows));
    candidates
}

fn candidate(relation: &Relation) -> Option<Candidate<'_>> {
    let id = best(relation, &[], |column| fit(Role::Id, column))?;
    let date = best(relation, &[], |column| fit(Role::Date, column))?;
    let amount = best(relation, &[id.column], |column| fit(Role::Amount, column))?;
    let issuer = best(relation, &[id.column, amount.column], |column| fit(Role::Issuer, column));
    let taken: Vec<&Column> =
        [Some(id), Some(amount), issuer].iter().flatten().map(|fit| fit.column).collect();
    let receiver = best(relation, &taken, |column| fit(Role::Receiver, column));
    let name = words(&relation.table);
    let mut score = id.score + date.score + amount.score;
    score += [issuer, receiver].iter().flatten().map(|fit| fit.score).sum::<i32>();
    score += if has(&name, INVOICE) {
        8
    } else if has(&name, DOCUMENT) {
        3
    } else {
        0
    };
    score -= if has(&name, PART_OF) { 12 } else { 0 };
    Some(Candidate { relation, score, id, date, amount, issuer, receiver })
}

/// The best column that is not taken; none when no one fits.
fn best<'a>(relation: &'a Relation, taken: &[&Column], score: impl Fn(&Column) -> i32) -> Option<Fit<'a>> {
    let free = relation.columns.iter().filter(|column| !taken.contains(column));
    let fits = free.map(|column| Fit { column, score: score(column) }).filter(|fit| fit.score > 0);
    // Of equal ones the first.
    fits.rev().max_by_key(|fit| fit.score)
}

/// How well a column fits a role.
pub fn fit(role: Role, column: &Column) -> i32 {
    let name = words(&column.name);
    let is = |list: &[&str]| has(&name, list);
    let some = |condition: bool, points: i32| if condition { points } else { 0 };
    match role {
        Role::Id => match column.kind {
            Kind::Integer | Kind::Uuid | Kind::Text | Kind::Decimal if column.refers_to.is_none() => {
                some(is(NUMBER) || is(INVOICE), 1)
                    + some(column.is_key, 6)
                    + some(is(NUMBER) && (is(INVOICE) || is(DOCUMENT)), 3)
                    + some(name == ["id"], 2)
                    + some(column.kind == Kind::Integer && (is(NUMBER) || column.is_key), 1)
                    - some(is(ISSUERS) || is(RECEIVERS), 6)
            }
            _ => 0,
        },
        Role::Date => match column.kind {
            Kind::Date | Kind::Text => {
                let says = some(is(WHEN), 2) + some(is(ISSUED), 3) + some(is(&["created"]), 1);
                let is_typed = column.kind == Kind::Date;
                // SQLite keeps dates as texts; elsewhere only a type makes a date.
                some(is_typed || is(WHEN), says + some(is_typed, 2)) - some(is(OTHER_DATES), 8)
            }
            _ => 0,
        },
        Role::Amount => match column.kind {
            Kind::Decimal | Kind::Money | Kind::Integer | Kind::Float | Kind::Text => {
                let says = some(is(AMOUNTS), 4) + some(is(SMALLER_AMOUNTS), 3);
                let points = match column.kind {
                    Kind::Decimal | Kind::Money => says + 2,
                    _ if says == 0 => 0,
                    Kind::Float => says - 2,
                    _ => says,
                };
                points - some(is(OTHER_AMOUNTS), 8) - some(column.is_key || column.refers_to.is_some(), 20)
            }
            _ => 0,
        },
        Role::Issuer | Role::Receiver => match column.kind {
            Kind::Integer | Kind::Uuid | Kind::Text | Kind::Decimal if !column.is_key => {
                let (mine, others) =
                    if role == Role::Issuer { (ISSUERS, RECEIVERS) } else { (RECEIVERS, ISSUERS) };
                let says = some(is(mine), 4) - some(is(others) && !is(mine), 8);
                let is_name =
                    is(&["name", "email", "address", "phone", "city", "country", "street", "notes"]);
                let fits = some(column.refers_to.is_some(), 2) + some(is(NUMBER), 1);
                some(says > 0, says + fits) - some(is_name, 10) - some(is(WHEN) && !is(NUMBER), 6)
            }
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind) -> Column {
        Column { name: name.into(), kind, type_name: String::new(), is_key: false, refers_to: None }
    }

    fn key(name: &str, kind: Kind) -> Column {
        Column { is_key: true, ..column(name, kind) }
    }

    fn to(name: &str, table: &str) -> Column {
        Column { refers_to: Some(table.into()), ..column(name, Kind::Integer) }
    }

    fn relation(table: &str, columns: Vec<Column>) -> Relation {
        Relation { schema: Some("public".into()), table: table.into(), rows: 0, columns }
    }

    fn chosen(candidate: &Candidate<'_>) -> [String; 5] {
        let party = |fit: Option<Fit<'_>>| fit.map_or(String::new(), |fit| fit.column.name.clone());
        [
            candidate.id.column.name.clone(),
            candidate.date.column.name.clone(),
            party(candidate.issuer),
            party(candidate.receiver),
            candidate.amount.column.name.clone(),
        ]
    }

    #[test]
    fn names_fall_into_words() {
        assert_eq!(words("InvoiceNo"), ["invoice", "no"]);
        assert_eq!(words("bill-to id"), ["bill", "to", "id"]);
        assert_eq!(words("USD_total2"), ["usd", "total2"]);
    }

    #[test]
    fn the_sample_table_is_recognised_among_others() {
        let tables = [
            relation(
                "customers",
                vec![key("customer_id", Kind::Integer), column("customer_name", Kind::Text)],
            ),
            relation(
                "invoices",
                vec![
                    key("invoice_id", Kind::Integer),
                    column("issue_date", Kind::Date),
                    to("issuer_id", "customers"),
                    to("receiver_id", "customers"),
                    column("amount_usd", Kind::Decimal),
                ],
            ),
            relation(
                "invoice_lines",
                vec![
                    key("line_id", Kind::Integer),
                    column("created_at", Kind::Date),
                    to("invoice_id", "invoices"),
                    column("amount", Kind::Decimal),
                ],
            ),
        ];
        let found = ranked(&tables, None);
        assert_eq!(found[0].relation.table, "invoices");
        assert_eq!(chosen(&found[0]), ["invoice_id", "issue_date", "issuer_id", "receiver_id", "amount_usd"]);
        assert!(found.iter().all(|candidate| candidate.relation.table != "customers"));
    }

    #[test]
    fn other_companies_names_are_understood() {
        let shop = relation(
            "Documents",
            vec![
                key("DocNo", Kind::Integer),
                column("CreatedAt", Kind::Date),
                column("IssuedOn", Kind::Date),
                column("DueOn", Kind::Date),
                column("DeletedAt", Kind::Date),
                column("SupplierId", Kind::Integer),
                column("SupplierName", Kind::Text),
                column("CustomerId", Kind::Integer),
                column("VatAmount", Kind::Decimal),
                column("GrossTotal", Kind::Decimal),
                column("Status", Kind::Text),
            ],
        );
        let erp = relation(
            "ar_invoices",
            vec![
                key("id", Kind::Integer),
                column("number", Kind::Text),
                column("inv_date", Kind::Text),
                column("vendor", Kind::Integer),
                column("bill_to", Kind::Integer),
                column("total_cents", Kind::Integer),
                column("tax_cents", Kind::Integer),
            ],
        );
        assert_eq!(
            chosen(&ranked(std::slice::from_ref(&shop), None)[0]),
            ["DocNo", "IssuedOn", "SupplierId", "CustomerId", "GrossTotal"]
        );
        assert_eq!(
            chosen(&ranked(std::slice::from_ref(&erp), Some("ar_invoices"))[0]),
            ["id", "inv_date", "vendor", "bill_to", "total_cents"]
        );
        assert!(ranked(&[shop, erp], Some("elsewhere")).is_empty());
    }

    #[test]
    fn a_table_without_an_amount_or_a_date_is_none_of_invoices() {
        let without_amount =
            relation("invoices", vec![key("id", Kind::Integer), column("issue_date", Kind::Date)]);
        let without_date =
            relation("invoices", vec![key("id", Kind::Integer), column("amount", Kind::Decimal)]);
        assert!(ranked(&[without_amount, without_date], None).is_empty());
    }
}
