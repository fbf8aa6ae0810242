//! Grouping by position: where the ids of businesses lie close together, the statistics of a month are an
//! array in which a business is found by its id, and no invoice needs a hash. No I/O.

use crate::engine::failed;
use crate::merge;
use invoices::money::MoneyType;
use invoices::statistics::{self as names, Scope};
use invoices::{Error, KeyKind, Result};
use polars::prelude::*;
use std::ops::RangeInclusive;

/// Places at most, of 128 bytes each.
const PLACES_MAX: u64 = 1 << 20;
/// So many places are worth their memory, however few the invoices are.
const PLACES_ALWAYS: u64 = 1 << 16;
/// Places for each invoice at most: with more of them, most would stay empty.
const PLACES_PER_INVOICE: u64 = 4;

/// Statistics of every business that an id of the month may name, NULL at place 0.
pub struct Dense {
    /// The id of place 0, the smallest one less one.
    base: i64,
    businesses: Vec<Business>,
}

#[derive(Clone)]
struct Business {
    issued: Side,
    received: Side,
    first_us: i64,
    last_us: i64,
    counterparties: i64,
}

#[derive(Clone)]
struct Side {
    total: i128,
    count: i64,
    min: i64,
    max: i64,
}

const NO_INVOICES: Side = Side { total: 0, count: 0, min: i64::MAX, max: i64::MIN };
const NOTHING: Business = Business {
    issued: NO_INVOICES,
    received: NO_INVOICES,
    first_us: i64::MAX,
    last_us: i64::MIN,
    counterparties: 0,
};

impl Dense {
    /// For so many invoices whose ids all lie in the range; none when they lie too far apart.
    pub fn of(ids: &RangeInclusive<i64>, invoices: u64) -> Option<Self> {
        let base = ids.start().checked_sub(1)?;
        let places = u64::try_from(ids.end().checked_sub(base)?).ok()?.checked_add(1)?;
        let worth = invoices.saturating_mul(PLACES_PER_INVOICE).clamp(PLACES_ALWAYS, PLACES_MAX);
        let places = usize::try_from(places).ok().filter(|_| places <= worth)?;
        Some(Self { base, businesses: vec![NOTHING; places] })
    }

    /// Counts invoices with all their columns.
    ///
    /// # Errors
    /// Refused when a business lies outside the range, or a date or an amount is missing or out of range.
    pub fn add(&mut self, invoices: &DataFrame) -> Result<()> {
        let column =
            |name: &str| invoices.column(name).map(|column| column.as_materialized_series()).map_err(failed);
        let (issuers, receivers) = (column("issuer_id")?, column("receiver_id")?);
        let parties = issuers.i64().map_err(failed)?.iter().zip(receivers.i64().map_err(failed)?.iter());
        let dates = column("issue_date")?.datetime().map_err(failed)?.physical().iter();
        let amounts = column("amount_usd")?.decimal().map_err(failed)?.physical().iter();
        for ((issuer, receiver), (date, amount)) in parties.zip(dates.zip(amounts)) {
            let amount = amount.and_then(|amount| i64::try_from(amount).ok());
            let (Some(date), Some(amount)) = (date, amount) else { return Err(not_invoices()) };
            self.at(issuer, date)?.issued.add(amount);
            self.at(receiver, date)?.received.add(amount);
        }
        Ok(())
    }

    /// The statistics of a party to an invoice of that date.
    fn at(&mut self, business: Option<i64>, date_us: i64) -> Result<&mut Business> {
        let place_of = |id: i64| usize::try_from(id.checked_sub(self.base)?).ok().filter(|place| *place > 0);
        let place = business.map_or(Some(0), place_of);
        let business = place.and_then(|place| self.businesses.get_mut(place)).ok_or_else(not_invoices)?;
        business.first_us = business.first_us.min(date_us);
        business.last_us = business.last_us.max(date_us);
        Ok(business)
    }

    /// Counts a pair of places that dealt with each other, the lower one first. NULL counts for nobody,
    /// and a business counts itself once.
    pub fn meet(&mut self, low: u32, high: u32) {
        self.businesses[low as usize].counterparties += 1;
        if low != high && low != 0 {
            self.businesses[high as usize].counterparties += 1;
        }
    }

    /// A row per business that has invoices, sorted by business, NULL last.
    ///
    /// # Errors
    /// Refused when a sum has more digits than a decimal.
    pub fn into_frame(self, money: MoneyType) -> Result<DataFrame> {
        let has_invoices = |place: &usize| {
            let business = &self.businesses[*place];
            business.issued.count + business.received.count > 0
        };
        let places: Vec<usize> = (1..self.businesses.len()).chain([0]).filter(has_invoices).collect();
        let id = |place: &usize| (*place != 0).then(|| self.base + *place as i64);
        let ids = Int64Chunked::from_iter_options(names::BUSINESS_ID.into(), places.iter().map(id));
        let mut columns = vec![ids.into_series().into_column()];
        for (name, data_type) in merge::columns(money, Scope::Month, KeyKind::Integer).into_iter().skip(1) {
            let statistic = statistic(&name)?;
            let values = places.iter().map(|place| statistic(&self.businesses[*place]));
            columns.push(series(name, &data_type, values)?.into_column());
        }
        DataFrame::new_infer_height(columns).map_err(failed)
    }
}

impl Side {
    fn add(&mut self, amount: i64) {
        self.total += i128::from(amount);
        self.count += 1;
        self.min = self.min.min(amount);
        self.max = self.max.max(amount);
    }

    fn if_any(&self, value: i64) -> Option<i128> {
        (self.count > 0).then(|| i128::from(value))
    }
}

/// How a column is read from a business that has invoices.
fn statistic(name: &str) -> Result<fn(&Business) -> Option<i128>> {
    Ok(match name {
        names::TOTAL_ISSUED => |business| Some(business.issued.total),
        names::TOTAL_RECEIVED => |business| Some(business.received.total),
        names::ISSUED_COUNT => |business| Some(business.issued.count.into()),
        names::RECEIVED_COUNT => |business| Some(business.received.count.into()),
        names::MIN_ISSUED => |business| business.issued.if_any(business.issued.min),
        names::MAX_ISSUED => |business| business.issued.if_any(business.issued.max),
        names::MIN_RECEIVED => |business| business.received.if_any(business.received.min),
        names::MAX_RECEIVED => |business| business.received.if_any(business.received.max),
        names::FIRST_DATE => |business| Some(business.first_us.into()),
        names::LAST_DATE => |business| Some(business.last_us.into()),
        names::COUNTERPARTIES => |business| Some(business.counterparties.into()),
        other => return Err(Error::bug(format!("column {other} of the statistics is not computed"))),
    })
}

fn series(
    name: PlSmallStr,
    data_type: &DataType,
    values: impl Iterator<Item = Option<i128>>,
) -> Result<Series> {
    if let DataType::Decimal(precision, scale) = data_type {
        let decimals = Int128Chunked::from_iter_options(name, values).into_decimal(*precision, *scale);
        return Ok(decimals.map_err(failed)?.into_series());
    }
    // Counts and times: all of them came from 64 bits.
    let numbers = Int64Chunked::from_iter_options(name, values.map(|value| value.map(|value| value as i64)));
    Ok(match data_type {
        DataType::Datetime(unit, _) => numbers.into_datetime(*unit, None).into_series(),
        _ => numbers.into_series(),
    })
}

fn not_invoices() -> Error {
    Error::refused(
        "an object of the table invoices holds other values than its footer says; run query_source --refresh window",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_lie_too_far_apart_have_no_places() {
        let has_places = |ids: RangeInclusive<i64>, invoices| Dense::of(&ids, invoices).is_some();
        assert!(has_places(1..=100_000, 25_001));
        assert!(!has_places(1..=100_000, 25_000));
        assert!(has_places(-5..=60_000, 1));
        assert!(has_places(i64::MAX - 10..=i64::MAX, 1));
        assert!(!has_places(0..=1 << 20, u64::MAX));
        assert!(!has_places(i64::MIN..=0, 1) && !has_places(i64::MIN + 1..=i64::MAX, u64::MAX));
    }

    #[test]
    fn a_business_that_the_footer_does_not_know_is_refused() {
        let mut dense = Dense::of(&(10..=20), 5).unwrap();
        assert!(dense.at(Some(10), 0).is_ok() && dense.at(Some(20), 0).is_ok() && dense.at(None, 0).is_ok());
        for stranger in [9, 8, 21, i64::MIN, i64::MAX] {
            assert!(dense.at(Some(stranger), 0).is_err(), "{stranger}");
        }
    }
}
