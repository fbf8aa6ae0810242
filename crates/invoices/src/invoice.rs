//! The invoice as the lake keeps it, one by one and in columns.

use crate::key::{Keys, Optional, Texts};

/// One row of the source table, whose ids are `Id`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvoiceOf<Id> {
    pub invoice_id: Id,
    /// Microseconds since 1970-01-01 UTC.
    pub issue_date_us: i64,
    /// Business that issued it; none when the source has NULL.
    pub issuer_id: Option<Id>,
    /// Business that received it; none when the source has NULL.
    pub receiver_id: Option<Id>,
    /// Unscaled amount, see [`crate::money`].
    pub amount: i64,
}

/// An invoice whose ids are integers, as most are.
pub type Invoice = InvoiceOf<i64>;

/// Invoices in columns of equal length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnsOf<Ids> {
    pub invoice_id: Ids,
    pub issue_date_us: Vec<i64>,
    pub issuer_id: Optional<Ids>,
    pub receiver_id: Optional<Ids>,
    pub amount: Vec<i64>,
    /// Columns beside these five as they are sent (see [`crate::more`]): none, or as many rows as the others.
    pub more: Vec<Texts>,
}

/// Invoices whose ids are integers.
pub type InvoiceColumns = ColumnsOf<Vec<i64>>;

impl<Ids: Keys> ColumnsOf<Ids> {
    pub fn push(&mut self, invoice: InvoiceOf<Ids::Key<'_>>) {
        self.invoice_id.push(invoice.invoice_id);
        self.issue_date_us.push(invoice.issue_date_us);
        self.issuer_id.push(invoice.issuer_id);
        self.receiver_id.push(invoice.receiver_id);
        self.amount.push(invoice.amount);
    }

    /// Adds a row with its values of further columns, always as many.
    pub fn push_with(&mut self, invoice: InvoiceOf<Ids::Key<'_>>, more: &[&str]) {
        self.push(invoice);
        if self.more.len() < more.len() {
            self.more.resize_with(more.len(), Texts::default);
        }
        self.more.iter_mut().zip(more).for_each(|(column, value)| column.push(value));
    }

    /// Bytes of the further columns' values.
    pub fn more_bytes(&self) -> usize {
        self.more.iter().map(Texts::bytes).sum()
    }

    pub fn len(&self) -> usize {
        self.issue_date_us.len()
    }

    pub fn is_empty(&self) -> bool {
        self.issue_date_us.is_empty()
    }

    /// The rows, oldest pushed first.
    pub fn iter(&self) -> impl Iterator<Item = InvoiceOf<Ids::Key<'_>>> + '_ {
        (0..self.len()).map(|row| InvoiceOf {
            invoice_id: self.invoice_id.get(row),
            issue_date_us: self.issue_date_us[row],
            issuer_id: self.issuer_id.get(row),
            receiver_id: self.receiver_id.get(row),
            amount: self.amount[row],
        })
    }
}
