//! `SUM` that refuses what does not fit: DataFusion's own wraps around at the end of its type.
//!
//! Whatever is summed, totals are `i128` until they are asked for, so that only the result must fit.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Int64Type, MAX_DECIMAL128_FOR_EACH_PRECISION, UInt64Type,
};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use std::collections::HashSet;
use std::sync::Arc;

const PRECISION_MAX: u8 = 38;

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum(Sum);

/// The function to register in the place of DataFusion's.
pub fn checked() -> AggregateUDF {
    AggregateUDF::from(CheckedSum(Sum::new()))
}

/// Types whose sums are ours.
fn is_exact(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..))
}

/// The type of totals on their way.
fn state_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal128(_, scale) => DataType::Decimal128(PRECISION_MAX, *scale),
        _ => DataType::Decimal128(PRECISION_MAX, 0),
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    /// Decimals are summed in all digits that there are.
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(PRECISION_MAX, *scale)),
            _ => self.0.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_exact(args.return_field.data_type()) {
            return self.0.accumulator(args);
        }
        Ok(Box::new(Total {
            total: 0,
            count: 0,
            distinct: args.is_distinct.then(HashSet::new),
            data_type: args.return_field.data_type().clone(),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct || !is_exact(args.return_type()) {
            return self.0.state_fields(args);
        }
        let name = format_state_name(args.name, "sum");
        Ok(vec![Arc::new(Field::new(name, state_type(args.return_type()), true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type().clone();
        if !is_exact(&data_type) {
            return self.0.create_groups_accumulator(args);
        }
        Ok(Box::new(Totals { totals: Vec::new(), seen: Vec::new(), data_type }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_exact(args.return_field.data_type()) && !args.is_distinct {
            self.accumulator(args)
        } else {
            self.0.create_sliding_accumulator(args)
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn overflow() -> DataFusionError {
    DataFusionError::Execution(
        "a SUM has more digits than its type; CAST its values to one with more digits".to_owned(),
    )
}

/// Values without their point.
fn unscaled(values: &ArrayRef) -> Result<Decimal128Array> {
    match values.data_type() {
        DataType::Int64 => Ok(values.as_primitive::<Int64Type>().unary(i128::from)),
        DataType::UInt64 => Ok(values.as_primitive::<UInt64Type>().unary(i128::from)),
        DataType::Decimal128(..) => Ok(values.as_primitive::<Decimal128Type>().clone()),
        other => Err(DataFusionError::Internal(format!("SUM of {other}"))),
    }
}

/// A total in the type of the result.
///
/// # Errors
/// When it has more digits.
fn fitting(total: i128, data_type: &DataType) -> Result<i128> {
    let fits = match data_type {
        DataType::Decimal128(precision, _) => {
            let most = MAX_DECIMAL128_FOR_EACH_PRECISION[usize::from(*precision)];
            total.unsigned_abs() <= most.unsigned_abs()
        }
        DataType::UInt64 => u64::try_from(total).is_ok(),
        _ => i64::try_from(total).is_ok(),
    };
    if fits { Ok(total) } else { Err(overflow()) }
}

/// The sum of all rows.
#[derive(Debug)]
struct Total {
    total: i128,
    /// Values in the total, so that none is NULL.
    count: i64,
    distinct: Option<HashSet<i128>>,
    data_type: DataType,
}

impl Total {
    fn add(&mut self, values: &Decimal128Array) -> Result<()> {
        for value in values.iter().flatten() {
            if self.distinct.as_mut().is_none_or(|seen| seen.insert(value)) {
                self.total = self.total.checked_add(value).ok_or_else(overflow)?;
                self.count += 1;
            }
        }
        Ok(())
    }

    fn scalar(&self, value: Option<i128>) -> Result<ScalarValue> {
        let value = value.map(|value| fitting(value, &self.data_type)).transpose()?;
        Ok(match &self.data_type {
            DataType::Decimal128(precision, scale) => ScalarValue::Decimal128(value, *precision, *scale),
            DataType::UInt64 => ScalarValue::UInt64(value.map(|value| value as u64)),
            _ => ScalarValue::Int64(value.map(|value| value as i64)),
        })
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = unscaled(&values[0])?;
        if self.distinct.is_some() || values.null_count() > 0 {
            return self.add(&values);
        }
        let sum = values.values().iter().try_fold(self.total, |total, value| total.checked_add(*value));
        self.total = sum.ok_or_else(overflow)?;
        self.count += values.len() as i64;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.distinct.is_none() {
            return self.update_batch(states);
        }
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.add(&unscaled(&list)?)?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in unscaled(&values[0])?.iter().flatten() {
            self.total = self.total.checked_sub(value).ok_or_else(overflow)?;
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.distinct.is_none()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let Some(distinct) = &self.distinct else {
            let DataType::Decimal128(precision, scale) = state_type(&self.data_type) else {
                return Err(DataFusionError::Internal("a total is no decimal".to_owned()));
            };
            let total = (self.count > 0).then_some(self.total);
            return Ok(vec![ScalarValue::Decimal128(total, precision, scale)]);
        };
        let values: Vec<ScalarValue> =
            distinct.iter().map(|value| self.scalar(Some(*value))).collect::<Result<_>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.data_type))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.scalar((self.count > 0).then_some(self.total))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.distinct.as_ref().map_or(0, |seen| seen.capacity() * size_of::<i128>())
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct Totals {
    totals: Vec<i128>,
    /// Groups that have a value that is not NULL.
    seen: Vec<bool>,
    data_type: DataType,
}

impl Totals {
    fn taken(&mut self, emit_to: EmitTo) -> (Vec<i128>, Vec<bool>) {
        (emit_to.take_needed(&mut self.totals), emit_to.take_needed(&mut self.seen))
    }

    fn states(&self, values: impl Iterator<Item = Option<i128>>) -> Vec<ArrayRef> {
        let array: Decimal128Array = values.collect();
        vec![Arc::new(array.with_data_type(state_type(&self.data_type)))]
    }
}

/// Whether a row counts for an aggregate with this FILTER.
fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let values = unscaled(&values[0])?;
        self.totals.resize(count, 0);
        self.seen.resize(count, false);
        for (row, (&group, &value)) in groups.iter().zip(values.values()).enumerate() {
            if values.is_valid(row) && passes(filter, row) {
                self.totals[group] = self.totals[group].checked_add(value).ok_or_else(overflow)?;
                self.seen[group] = true;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (totals, seen) = self.taken(emit_to);
        for (&total, _) in totals.iter().zip(&seen).filter(|(_, seen)| **seen) {
            fitting(total, &self.data_type)?;
        }
        let totals = || totals.iter().zip(&seen).map(|(total, seen)| seen.then_some(*total));
        Ok(match &self.data_type {
            DataType::UInt64 => {
                let values = totals().map(|total| total.map(|total| total as u64));
                Arc::new(values.collect::<PrimitiveArray<UInt64Type>>())
            }
            DataType::Int64 => {
                let values = totals().map(|total| total.map(|total| total as i64));
                Arc::new(values.collect::<PrimitiveArray<Int64Type>>())
            }
            _ => Arc::new(totals().collect::<Decimal128Array>().with_data_type(self.data_type.clone())),
        })
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (totals, seen) = self.taken(emit_to);
        Ok(self.states(totals.into_iter().zip(seen).map(|(total, seen)| seen.then_some(total))))
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.update_batch(states, groups, None, count)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = unscaled(&values[0])?;
        Ok(self.states(values.iter().enumerate().map(|(row, value)| value.filter(|_| passes(filter, row)))))
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.seen.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn total() -> Total {
        Total { total: 0, count: 0, distinct: None, data_type: DataType::Decimal128(38, 2) }
    }

    #[test]
    fn a_sum_of_39_digits_is_an_error_and_never_another_number() {
        let most = 10_i128.pow(38) - 1;
        let column = |values: Vec<i128>| -> ArrayRef {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 2).unwrap())
        };
        let mut sum = total();
        sum.update_batch(&[column(vec![most])]).unwrap();
        assert!(sum.evaluate().is_ok());
        let beyond = sum.update_batch(&[column(vec![most])]).and_then(|()| sum.evaluate());
        assert!(beyond.is_err());
    }

    #[test]
    fn only_the_result_must_fit_its_type() {
        let groups = || Totals { totals: Vec::new(), seen: Vec::new(), data_type: DataType::Int64 };
        let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let mut sums = groups();
        sums.update_batch(&[column(vec![i64::MAX, 1])], &[0, 0], None, 2).unwrap();
        let state = sums.state(EmitTo::All).unwrap();
        let mut merged = groups();
        merged.merge_batch(&state, &[0, 1], 2).unwrap();
        merged.update_batch(&[column(vec![-2])], &[0], None, 2).unwrap();
        let found = merged.evaluate(EmitTo::All).unwrap();
        assert_eq!(found.as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(i64::MAX - 1), None]));
        sums.update_batch(&[column(vec![i64::MAX, 1])], &[0, 0], None, 1).unwrap();
        assert!(sums.evaluate(EmitTo::All).is_err());
    }

    #[test]
    fn nothing_is_null() {
        assert!(total().evaluate().unwrap().is_null());
    }
}
