//! What the invoices themselves look like: nothing that a run refuses, but what people mean otherwise. Pure.

use super::check::Finding;
use crate::text;
use invoices::money::MoneyType;

/// The year before which, and the year after which, a date often stands for something else.
pub const YEAR_MIN: i32 = 1900;
pub const YEAR_MAX: i32 = 2100;

/// Invoices before [`YEAR_MIN`] and after [`YEAR_MAX`].
pub fn sentinel_dates(before: u64, after: u64, column: &str) -> Finding {
    if before + after == 0 {
        return Finding::ok(format!("none before {YEAR_MIN} or after {YEAR_MAX}"));
    }
    let (before, after) = (text::grouped(before), text::grouped(after));
    Finding::warn(
        format!("invoices by their {column}: {before} before {YEAR_MIN}, {after} after {YEAR_MAX}"),
        "such dates often stand for unknown; they are taken as they are, into months of their own, so correct them in \
         the source, or leave them out by a view",
    )
}

/// Amounts that were looked at, those of them that are whole numbers, and their type when the column doesn't
/// say how many decimals it has.
pub fn whole_amounts(looked_at: u64, whole: u64, column: &str, money: MoneyType) -> Finding {
    let looked = text::grouped(looked_at);
    if whole < looked_at || looked_at == 0 {
        return Finding::ok(format!(
            "{} of {looked} looked at have decimals",
            text::grouped(looked_at - whole)
        ));
    }
    Finding::warn(
        format!(
            "all of {looked} looked at are whole numbers and {column} declares no decimals: are they cents?"
        ),
        format!(
            "they are taken for {money}, 1234 for {}; if that is 12.34, use --amount-unit cents",
            invoices::money::format(1234 * 10_i128.pow(u32::from(money.scale)), money.scale)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Outcome;

    #[test]
    fn dates_that_stand_for_something_else_are_counted_on_both_sides() {
        assert_eq!(sentinel_dates(0, 0, "issue_date").outcome, Outcome::Ok);
        let found = sentinel_dates(1200, 3, "issue_date");
        assert_eq!(found.outcome, Outcome::Warn);
        assert_eq!(found.detail, "invoices by their issue_date: 1,200 before 1900, 3 after 2100");
    }

    #[test]
    fn whole_amounts_are_a_question_unless_one_has_decimals() {
        let plain = MoneyType { precision: 18, scale: 2 };
        assert_eq!(whole_amounts(0, 0, "amount_usd", plain).outcome, Outcome::Ok);
        assert_eq!(whole_amounts(900, 899, "amount_usd", plain).detail, "1 of 900 looked at have decimals");
        let found = whole_amounts(1000, 1000, "amount_usd", plain);
        assert_eq!(found.outcome, Outcome::Warn);
        assert!(found.advice.unwrap().contains("1234 for 1234.00; if that is 12.34"));
        let integers = whole_amounts(1, 1, "amount_usd", MoneyType { precision: 18, scale: 0 });
        assert!(integers.advice.unwrap().contains("1234 for 1234; if"));
    }
}
