//! The features: names, units and formulas, in the order in which decisions store them.
//!
//! All are 64-bit integers, computed exactly; a sum that does not fit stops at the largest integer.
//! "Earlier" means earlier in the partition's log, not withdrawn since. With the invoice dated `t`, a
//! window of length W is the interval `(t - W, t]` of issue dates; the invoice itself is left out.

/// How a feature is written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Cents,
    Seconds,
    /// Hundredths of one: 250 is 2.5.
    Hundredths,
    /// Hundredths of a percent: 250 is 2.5 %.
    BasisPoints,
    Flag,
}

/// One feature's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Meaning {
    pub name: &'static str,
    pub unit: Unit,
    /// Formula, and where the idea comes from.
    pub text: &'static str,
}

macro_rules! features {
    ($($variant:ident $name:literal $unit:ident $text:literal;)*) => {
        /// Index of a feature; the order is part of the model version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Feature { $($variant),* }

        /// All features in their order.
        pub const MEANINGS: &[Meaning] =
            &[$(Meaning { name: $name, unit: Unit::$unit, text: $text }),*];
    };
}

/// Name of the exact features; a change of any formula or of the order is a new version.
pub const EXACT_MODEL: &str = "features-1";
pub const FEATURE_COUNT: usize = MEANINGS.len();

/// Features of the log alone; the score of an ONNX model, if there is one, comes after them.
pub const EXACT_COUNT: usize = Feature::OnnxScore as usize;

/// Values in the order of [`MEANINGS`].
pub type Features = [i64; FEATURE_COUNT];

features! {
    Amount "amount" Cents "amount of the invoice";
    IssuerKnown "issuer_known" Flag "1 when the invoice names an issuer";
    ReceiverKnown "receiver_known" Flag "1 when the invoice names a receiver";
    IssuerCount1h "issuer_count_1h" Count "earlier invoices of the issuer in 1 h (velocity)";
    IssuerCount24h "issuer_count_24h" Count "earlier invoices of the issuer in 24 h";
    IssuerCount30d "issuer_count_30d" Count "earlier invoices of the issuer in 30 d";
    IssuerSum1h "issuer_sum_1h" Cents "their sum in 1 h";
    IssuerSum24h "issuer_sum_24h" Cents "their sum in 24 h";
    IssuerSum30d "issuer_sum_30d" Cents "their sum in 30 d";
    ReceiverCount1h "receiver_count_1h" Count "earlier invoices to the receiver in 1 h";
    ReceiverCount24h "receiver_count_24h" Count "earlier invoices to the receiver in 24 h";
    ReceiverCount30d "receiver_count_30d" Count "earlier invoices to the receiver in 30 d";
    ReceiverSum1h "receiver_sum_1h" Cents "their sum in 1 h";
    ReceiverSum24h "receiver_sum_24h" Cents "their sum in 24 h";
    ReceiverSum30d "receiver_sum_30d" Cents "their sum in 30 d";
    PairCount1h "pair_count_1h" Count "earlier invoices from this issuer to this receiver in 1 h";
    PairCount24h "pair_count_24h" Count "earlier invoices from this issuer to this receiver in 24 h";
    PairCount30d "pair_count_30d" Count "earlier invoices from this issuer to this receiver in 30 d";
    PairSum1h "pair_sum_1h" Cents "their sum in 1 h";
    PairSum24h "pair_sum_24h" Cents "their sum in 24 h";
    PairSum30d "pair_sum_30d" Cents "their sum in 30 d";
    IssuerHistory "issuer_history" Count "n, earlier invoices of the issuer of any date";
    ReceiverHistory "receiver_history" Count "earlier invoices to the receiver of any date";
    PairHistory "pair_history" Count "earlier invoices between the two of any date";
    IssuerMean "issuer_mean" Cents "floor(S / n), S the sum over the issuer's history";
    IssuerDeviation "issuer_deviation" Cents "floor(sqrt((n Q - S^2) / n^2)), Q the sum of squares: the population standard deviation";
    IssuerZ "issuer_z" Hundredths "100 (amount - mean) / deviation toward 0; 0 below 10 invoices or without deviation (standard score)";
    IssuerAge "issuer_age" Seconds "t less the issuer's first issue date, at least 0; -1 when new";
    IssuerIdle "issuer_idle" Seconds "t less the issuer's newest issue date, at least 0; -1 when new (dormancy)";
    ReceiverAge "receiver_age" Seconds "t less the receiver's first date as a receiver, at least 0; -1 when new";
    ReceiverIdle "receiver_idle" Seconds "t less the receiver's newest date as a receiver, at least 0; -1 when new";
    PairAge "pair_age" Seconds "t less the pair's first date, at least 0; -1 when new";
    PairIdle "pair_idle" Seconds "t less the pair's newest date, at least 0; -1 when new";
    TrailingZeros "trailing_zeros" Count "zeros at the end of the amount in cents: 5 for 1,000.00 (round amounts)";
    LimitGap "limit_gap" BasisPoints "floor(10000 (L - amount) / L), L the smallest approval limit above the amount; -1 above all limits";
    PairNearLimit30d "pair_near_limit_30d" Count "the pair's earlier invoices in 30 d whose own limit_gap is at most 500";
    SplitLimit "split_limit" Cents "largest limit L above each of the pair's invoices of 24 h that, this one included, are 3 or more and add up to L or more; 0 if none (structuring, 31 USC 5324)";
    SameAmount30d "same_amount_30d" Count "the pair's earlier invoices of exactly this amount in 30 d (double financing)";
    SelfInvoice "self_invoice" Flag "1 when issuer and receiver are the same business";
    Circle7d "circle_7d" Count "businesses C with B to C and C to A in 7 d, both within 10 % of this amount, for an invoice from A to B (carousel)";
    FirstDigits "first_digits" Hundredths "Pearson's chi-squared of the first digits of the issuer's history against Benford's law, times 100; 0 below 100 invoices";
    Late "late" Seconds "the issuer's newest date less t, at least 0: how far out of order";
    Future "future" Seconds "issue date less commit time, at least 0; the windows take such an invoice at its commit time plus a day at most";
    OnnxScore "onnx_score" BasisPoints "score of the ONNX model in ten-thousandths: 9312 is 0.9312; only with --onnx-model";
}

/// The feature called `name`.
pub fn position(name: &str) -> Option<usize> {
    MEANINGS.iter().position(|meaning| meaning.name == name)
}

/// A hint at the feature whose name begins and ends most alike.
pub fn nearest(name: &str) -> String {
    let common = |other: &str| {
        let alike = |(a, b): &(u8, u8)| a == b;
        let front = other.bytes().zip(name.bytes()).take_while(alike).count();
        front + other.bytes().rev().zip(name.bytes().rev()).take_while(alike).count()
    };
    let best = MEANINGS.iter().map(|meaning| meaning.name).max_by_key(|other| common(other));
    best.filter(|other| common(other) >= 3)
        .map(|other| format!("; did you mean {other}?"))
        .unwrap_or_default()
}

/// A value as people write it: `1,234.50`, `3 d 4 h`, `2.5 %`.
pub fn display(index: usize, value: i64) -> String {
    let (sign, magnitude) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    match MEANINGS[index].unit {
        Unit::Count => format!("{sign}{}", grouped(magnitude)),
        Unit::Cents => format!("{sign}{}.{:02}", grouped(magnitude / 100), magnitude % 100),
        Unit::Hundredths => format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100),
        Unit::BasisPoints => format!("{sign}{}.{:02} %", magnitude / 100, magnitude % 100),
        Unit::Flag => (if value == 0 { "no" } else { "yes" }).to_owned(),
        Unit::Seconds if value < 0 => "never before".to_owned(),
        Unit::Seconds => duration(magnitude),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, meaning) in MEANINGS.iter().enumerate() {
            assert_eq!(position(meaning.name), Some(index));
        }
        assert_eq!(Feature::OnnxScore as usize, FEATURE_COUNT - 1);
        assert_eq!(position("nothing"), None);
    }

    #[test]
    fn values_are_written_for_people() {
        let show = |feature: Feature, value| display(feature as usize, value);
        assert_eq!(show(Feature::Amount, -123_456_705), "-1,234,567.05");
        assert_eq!(show(Feature::PairIdle, 90_000), "1 d 1 h");
        assert_eq!(show(Feature::PairIdle, -1), "never before");
        assert_eq!(show(Feature::LimitGap, 250), "2.50 %");
        assert_eq!(show(Feature::SelfInvoice, 1), "yes");
    }
}
