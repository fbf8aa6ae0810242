//! The settings that read a table, and what a person should look at before the first run. Pure.

use super::catalog::{Column, Kind};
use super::guess::{Candidate, Fit, has, words};
use invoices::Result;
use serde_json::{Map, Value};

/// Texts of a status that mark a row as no invoice, or not one yet.
const NO_INVOICE: &[&str] =
    &["draft", "void", "voided", "cancelled", "canceled", "deleted", "proforma", "quote", "storno", "test"];
const DOLLAR: &[&str] = &["USD", "US$", "$"];

/// A column in its role, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub role: &'static str,
    pub column: String,
    pub because: String,
}

/// What to run the tasks with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub table: String,
    pub parts: Vec<Part>,
    /// Names of variables and their values.
    settings: Vec<(&'static str, String)>,
    /// Sentences without their full stop.
    pub look_at: Vec<String>,
}

impl Proposal {
    /// `values` gives the frequent values of a column of texts.
    ///
    /// # Errors
    /// What `values` says.
    pub fn new(best: &Candidate<'_>, mut values: impl FnMut(&Column) -> Result<Vec<String>>) -> Result<Self> {
        let mut proposal = Self {
            table: best.relation.name(),
            parts: Vec::new(),
            settings: vec![("SOURCE_TABLE", best.relation.name())],
            look_at: Vec::new(),
        };
        proposal.part("invoice id", "INVOICE_ID_COLUMN", Some(best.id));
        proposal.part("issue date", "ISSUE_DATE_COLUMN", Some(best.date));
        proposal.part("issuer", "ISSUER_COLUMN", best.issuer);
        proposal.part("receiver", "RECEIVER_COLUMN", best.receiver);
        proposal.part("amount", "AMOUNT_COLUMN", Some(best.amount));
        if !best.id.column.is_key {
            let sentence = format!(
                "nothing keeps {} unique; an id that is there twice counts twice",
                best.id.column.name
            );
            proposal.look_at.push(sentence);
        }
        let ids = [Some(best.id), best.issuer, best.receiver].into_iter().flatten().map(|fit| fit.column);
        proposal.ids(&ids.collect::<Vec<_>>());
        // SQLite has no types of its own for dates and exact amounts; a text there is read as what it says.
        let is_typed = |column: &Column| column.kind != Kind::Text || best.relation.schema.is_none();
        proposal.needs(best.date.column, is_typed(best.date.column), "dates or timestamps");
        proposal.needs(best.amount.column, is_typed(best.amount.column), "exact numbers (numeric)");
        proposal.amounts(best.amount.column);
        proposal.conditions(best, &mut values)?;
        Ok(proposal)
    }

    fn part(&mut self, role: &'static str, variable: &'static str, fit: Option<Fit<'_>>) {
        let Some(Fit { column, .. }) = fit else {
            let sentence = format!(
                "no column looks like the {role}: set {variable}, or name a view that adds such a column, NULL where \
                 nobody knows"
            );
            self.look_at.push(sentence);
            return;
        };
        let mut because = vec![column.type_name.clone()];
        if column.is_key {
            because.push("unique".into());
        }
        because.extend(column.refers_to.iter().map(|table| format!("refers to {table}")));
        self.parts.push(Part { role, column: column.name.clone(), because: because.join(", ") });
        self.settings.push((variable, column.name.clone()));
    }

    /// Says what a column would have to be, unless it is.
    fn needs(&mut self, column: &Column, is_right: bool, wanted: &str) {
        if !is_right {
            let Column { name, type_name, .. } = column;
            self.look_at.push(format!(
                "{name} has type {type_name}, and {wanted} are needed: name a view that makes them"
            ));
        }
    }

    fn ids(&mut self, columns: &[&Column]) {
        let is = |column: &Column, kinds: &[Kind]| kinds.contains(&column.kind);
        for column in columns {
            let is_right = is(column, &[Kind::Integer, Kind::Decimal, Kind::Text, Kind::Uuid]);
            self.needs(column, is_right, "whole numbers, texts or UUIDs");
        }
        let texts = columns.iter().filter(|column| is(column, &[Kind::Text, Kind::Uuid]));
        let texts: Vec<&str> = texts.map(|column| column.name.as_str()).collect();
        if !texts.is_empty() {
            self.look_at.push(format!(
                "ids in {} are texts, which the lake keeps as they are; the API and the stream take whole numbers alone",
                texts.join(", ")
            ));
        }
    }

    fn amounts(&mut self, amount: &Column) {
        let name = words(&amount.name);
        match amount.kind {
            Kind::Integer if has(&name, &["cents", "cent"]) => {
                self.settings.push(("AMOUNT_UNIT", "cents".into()))
            }
            Kind::Integer => self.look_at.push(format!(
                "{} holds whole numbers: are they dollars? AMOUNT_UNIT=cents takes them for cents",
                amount.name
            )),
            Kind::Float => {
                self.settings.push(("ROUND_FLOATS", "2".into()));
                self.look_at.push(format!(
                    "{} holds floating-point numbers, which can't be money exactly; ROUND_FLOATS=2 rounds each to cents",
                    amount.name
                ));
            }
            _ => {}
        }
    }

    /// Which rows are no invoices, and in which currencies they are.
    fn conditions(
        &mut self,
        best: &Candidate<'_>,
        values: &mut impl FnMut(&Column) -> Result<Vec<String>>,
    ) -> Result<()> {
        let mut conditions = Vec::new();
        for column in &best.relation.columns {
            let name = words(&column.name);
            let quoted = format!("\"{}\"", column.name.replace('"', "\"\""));
            let is_removal = has(&name, &["deleted", "removed", "voided", "void", "cancelled", "canceled"]);
            match column.kind {
                Kind::Date if is_removal => conditions.push(format!("{quoted} is null")),
                Kind::Bool if is_removal => conditions.push(format!("{quoted} is not true")),
                Kind::Text if has(&name, &["status", "state", "kind", "type"]) => {
                    let found = values(column)?;
                    let out: Vec<String> = found
                        .iter()
                        .filter(|value| NO_INVOICE.contains(&value.to_lowercase().as_str()))
                        .map(|value| literal(value))
                        .collect();
                    if !out.is_empty() {
                        // A row without a status stays in.
                        conditions
                            .push(format!("({quoted} is null or {quoted} not in ({}))", out.join(", ")));
                    }
                }
                Kind::Text if has(&name, &["currency", "ccy", "curr", "waehrung", "moneda"]) => {
                    let found = values(column)?;
                    let dollar = found.iter().find(|value| DOLLAR.contains(&value.trim()));
                    match (dollar, found.len()) {
                        (Some(dollar), 2..) => {
                            conditions.push(format!("{quoted} = {}", literal(dollar)));
                            self.look_at.push(format!(
                                "amounts are in {}; the condition takes those in {dollar} alone",
                                found.join(", ")
                            ));
                        }
                        (None, 1..) => self.look_at.push(format!(
                            "amounts are in {}, and are taken for dollars as they are",
                            found.join(", ")
                        )),
                        (Some(_), _) => {}
                        (None, _) => self.look_at.push(format!(
                            "{} may name several currencies, whose amounts would be added up; see what is in it",
                            column.name
                        )),
                    }
                }
                _ => {}
            }
        }
        if !conditions.is_empty() {
            self.settings.push(("SOURCE_WHERE", conditions.join(" and ")));
        }
        Ok(())
    }

    /// Lines for a shell, which all tasks then find in their environment.
    pub fn shell(&self) -> String {
        self.settings
            .iter()
            .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
            .collect()
    }

    pub fn settings_json(&self) -> Value {
        let pairs =
            self.settings.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    /// The extra of Airflow's connection `invoice_source`.
    pub fn airflow_extra(&self) -> Value {
        let pairs =
            self.settings.iter().map(|(name, value)| (name.to_lowercase(), Value::from(value.as_str())));
        Value::Object(pairs.collect::<Map<_, _>>())
    }
}

/// A text in SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Relation;
    use super::super::guess::ranked;
    use super::*;

    fn column(name: &str, kind: Kind) -> Column {
        Column { name: name.into(), kind, type_name: "type".into(), is_key: name == "id", refers_to: None }
    }

    fn proposed(more: Vec<Column>, values: &[&str]) -> Proposal {
        let mut columns = vec![
            column("id", Kind::Integer),
            column("issue_date", Kind::Date),
            column("seller_id", Kind::Integer),
            column("buyer_id", Kind::Integer),
        ];
        columns.extend(more);
        let relation = Relation { schema: Some("s".into()), table: "Bills".into(), rows: 0, columns };
        let relations = [relation];
        let best = ranked(&relations, None).remove(0);
        Proposal::new(&best, |_| Ok(values.iter().map(|value| (*value).to_owned()).collect())).unwrap()
    }

    #[test]
    fn a_plain_table_needs_its_names_alone() {
        let proposal = proposed(vec![column("total", Kind::Decimal)], &[]);
        assert_eq!(
            proposal.shell(),
            "export SOURCE_TABLE='s.Bills'\nexport INVOICE_ID_COLUMN='id'\nexport ISSUE_DATE_COLUMN='issue_date'\n\
             export ISSUER_COLUMN='seller_id'\nexport RECEIVER_COLUMN='buyer_id'\nexport AMOUNT_COLUMN='total'\n"
        );
        assert!(proposal.look_at.is_empty(), "{:?}", proposal.look_at);
        assert_eq!(proposal.airflow_extra()["issuer_column"], "seller_id");
    }

    #[test]
    fn rows_that_are_no_invoices_and_cents_are_seen() {
        let more = vec![
            column("total_cents", Kind::Integer),
            column("Deleted At", Kind::Date),
            column("is_void", Kind::Bool),
            column("status", Kind::Text),
        ];
        let proposal = proposed(more, &["Draft", "sent", "o'clock", "void"]);
        let settings = proposal.settings_json();
        assert_eq!(settings["AMOUNT_UNIT"], "cents");
        assert_eq!(
            settings["SOURCE_WHERE"],
            "\"Deleted At\" is null and \"is_void\" is not true and (\"status\" is null or \"status\" not in ('Draft', 'void'))"
        );
        assert!(proposal.shell().contains("not in ('\\''Draft'\\'', '\\''void'\\'')"));
    }

    #[test]
    fn currencies_are_never_added_up_in_silence() {
        let with = |values: &[&str]| {
            proposed(vec![column("total", Kind::Decimal), column("currency", Kind::Text)], values)
        };
        let two = with(&["EUR", "USD"]);
        assert_eq!(two.settings_json()["SOURCE_WHERE"], "\"currency\" = 'USD'");
        assert!(two.look_at[0].contains("in EUR, USD"));
        assert!(with(&["EUR"]).look_at[0].contains("taken for dollars"));
        assert!(with(&["USD"]).look_at.is_empty());
        assert!(with(&[]).look_at[0].contains("several currencies"));
    }

    #[test]
    fn what_the_tasks_would_refuse_is_said() {
        let columns = vec![
            column("id", Kind::Uuid),
            column("invoice_date", Kind::Text),
            column("seller", Kind::Text),
            column("total", Kind::Text),
        ];
        let relation = |schema: Option<&str>| {
            let columns = columns.clone();
            Relation { schema: schema.map(str::to_owned), table: "bills".into(), rows: 0, columns }
        };
        let told = |schema| {
            let relations = [relation(schema)];
            Proposal::new(&ranked(&relations, None)[0], |_| Ok(Vec::new())).unwrap().look_at.join("\n")
        };
        let postgres = told(Some("public"));
        for part in [
            "no column looks like the receiver: set RECEIVER_COLUMN",
            "ids in id, seller are texts",
            "invoice_date has type type, and dates or timestamps",
            "total has type type, and exact numbers",
        ] {
            assert!(postgres.contains(part), "{part}: {postgres}");
        }
        let sqlite = told(None);
        assert!(sqlite.contains("ids in id, seller") && !sqlite.contains("invoice_date has"), "{sqlite}");
    }

    #[test]
    fn doubts_are_said() {
        let floats = proposed(vec![column("total", Kind::Float)], &[]);
        assert_eq!(floats.settings_json()["ROUND_FLOATS"], "2");
        assert!(floats.look_at[0].contains("floating-point"));
        let whole = proposed(vec![column("total", Kind::Integer)], &[]);
        assert!(whole.look_at[0].contains("are they dollars"));
    }
}
