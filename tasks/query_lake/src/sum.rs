//! `SUM` that refuses what does not fit: DataFusion's own wraps around at the end of its type.

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, FieldRef, Int64Type, MAX_DECIMAL128_FOR_EACH_PRECISION,
};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};
use std::collections::HashSet;

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum(Sum);

/// The function to register in the place of DataFusion's.
pub fn checked() -> AggregateUDF {
    AggregateUDF::from(CheckedSum(Sum::new()))
}

/// Types whose sums are ours.
fn is_exact(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::Decimal128(..))
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
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(38, *scale)),
            _ => self.0.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_exact(args.return_field.data_type()) {
            return self.0.accumulator(args);
        }
        let distinct = args.is_distinct.then(HashSet::new);
        Ok(Box::new(Total { total: 0, count: 0, distinct, data_type: args.return_field.data_type().clone() }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.0.state_fields(args)
    }

    /// A row at a time for the exact types: each addition is checked.
    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !is_exact(args.return_field.data_type()) && self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.0.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_exact(args.return_field.data_type()) {
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

#[derive(Debug)]
struct Total {
    total: i128,
    /// Values in the total, so that none is NULL.
    count: i64,
    distinct: Option<HashSet<i128>>,
    data_type: DataType,
}

fn overflow() -> DataFusionError {
    DataFusionError::Execution(
        "a SUM has more digits than its type; CAST its values to one with more digits".to_owned(),
    )
}

fn each(values: &ArrayRef, mut body: impl FnMut(i128) -> Result<()>) -> Result<()> {
    fn all<T: ArrowPrimitiveType<Native: Into<i128> + ArrowNativeTypeOp>>(
        values: &ArrayRef,
        body: &mut impl FnMut(i128) -> Result<()>,
    ) -> Result<()> {
        values.as_primitive::<T>().iter().flatten().try_for_each(|value| body(value.into()))
    }
    match values.data_type() {
        DataType::Int64 => all::<Int64Type>(values, &mut body),
        DataType::Decimal128(..) => all::<Decimal128Type>(values, &mut body),
        other => Err(DataFusionError::Internal(format!("SUM of {other}"))),
    }
}

impl Total {
    fn add(&mut self, value: i128) -> Result<()> {
        if self.distinct.as_mut().is_some_and(|seen| !seen.insert(value)) {
            return Ok(());
        }
        self.total = self.total.checked_add(value).ok_or_else(overflow)?;
        self.count += 1;
        Ok(())
    }

    fn scalar(&self, value: Option<i128>) -> Result<ScalarValue> {
        match (&self.data_type, value) {
            (DataType::Decimal128(precision, scale), value) => {
                let most = MAX_DECIMAL128_FOR_EACH_PRECISION[usize::from(*precision)];
                if value.is_some_and(|value| value.unsigned_abs() > most.unsigned_abs()) {
                    return Err(overflow());
                }
                Ok(ScalarValue::Decimal128(value, *precision, *scale))
            }
            (_, value) => {
                let value = value.map(i64::try_from).transpose().map_err(|_| overflow())?;
                Ok(ScalarValue::Int64(value))
            }
        }
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(&values[0], |value| self.add(value))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.distinct.is_none() {
            return self.update_batch(states);
        }
        for list in states[0].as_list::<i32>().iter().flatten() {
            each(&list, |value| self.add(value))?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(&values[0], |value| {
            self.total = self.total.checked_sub(value).ok_or_else(overflow)?;
            self.count -= 1;
            Ok(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        self.distinct.is_none()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let Some(distinct) = &self.distinct else { return Ok(vec![self.evaluate()?]) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Decimal128Array;
    use std::sync::Arc;

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
    fn nothing_is_null() {
        assert!(total().evaluate().unwrap().is_null());
    }
}
