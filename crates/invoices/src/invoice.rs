//! The invoice as the lake keeps it, one by one and in columns.

/// One row of the source table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invoice {
    pub invoice_id: i64,
    /// Microseconds since 1970-01-01 UTC.
    pub issue_date_us: i64,
    /// Business that issued it; none when the source has NULL.
    pub issuer_id: Option<i64>,
    /// Business that received it; none when the source has NULL.
    pub receiver_id: Option<i64>,
    /// Unscaled amount, see [`crate::money`].
    pub amount: i64,
}

/// Invoices in columns of equal length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceColumns {
    pub invoice_id: Vec<i64>,
    pub issue_date_us: Vec<i64>,
    pub issuer_id: Vec<Option<i64>>,
    pub receiver_id: Vec<Option<i64>>,
    pub amount: Vec<i64>,
}

impl InvoiceColumns {
    pub fn push(&mut self, invoice: Invoice) {
        self.invoice_id.push(invoice.invoice_id);
        self.issue_date_us.push(invoice.issue_date_us);
        self.issuer_id.push(invoice.issuer_id);
        self.receiver_id.push(invoice.receiver_id);
        self.amount.push(invoice.amount);
    }

    pub fn len(&self) -> usize {
        self.invoice_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.invoice_id.is_empty()
    }

    /// The rows, oldest pushed first.
    pub fn iter(&self) -> impl Iterator<Item = Invoice> + '_ {
        (0..self.len()).map(|row| Invoice {
            invoice_id: self.invoice_id[row],
            issue_date_us: self.issue_date_us[row],
            issuer_id: self.issuer_id[row],
            receiver_id: self.receiver_id[row],
            amount: self.amount[row],
        })
    }
}
