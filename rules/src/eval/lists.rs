//! Values that are several: list fields, fields of an iterator, list variables.

use ipnet::IpNet;

use super::Frame;
use super::values::root_domain;
use crate::program::{IntList, Source, TextList};
use crate::value::{Context, Value};
use crate::variable::Stored;

impl<C: Context + ?Sized> Frame<'_, C> {
    /// Hands each value of a source to `test` until it says true.
    fn any(&self, source: Source, mut test: impl FnMut(Value<'_>) -> bool) -> bool {
        match source {
            Source::Read(read) => test(self.read(read)),
            Source::Each(field, iterator) => (0..self.context.length(iterator))
                .any(|index| test(self.context.element(field, index))),
            Source::Variable(id) => {
                self.variables
                    .with_list(id, self.context, |stored, live| match stored {
                        Stored::Bools(values) => test(Value::Bools(&values[live])),
                        Stored::Ints(values) => test(Value::Ints(&values[live])),
                        Stored::Texts(values) => test(Value::Strs(&values[live])),
                        Stored::Addresses(values) => test(Value::Ips(&values[live])),
                        _ => false,
                    })
            }
        }
    }

    pub(super) fn any_bool(&self, source: Source, mut test: impl FnMut(bool) -> bool) -> bool {
        self.any(source, |value| match value {
            Value::Bool(value) => test(value),
            Value::Bools(values) => values.iter().any(|value| test(*value)),
            _ => false,
        })
    }

    pub(super) fn any_int(&self, list: IntList, mut test: impl FnMut(i64) -> bool) -> bool {
        match list {
            IntList::Values(source) => self.any(source, |value| match value {
                Value::Int(value) => test(value),
                Value::Ints(values) => values.iter().any(|value| test(*value)),
                _ => false,
            }),
            IntList::TextLengths(source) => self.any(source, |value| match value {
                Value::Str(text) => test(text.len() as i64),
                Value::Strs(texts) => texts.iter().any(|text| test(text.len() as i64)),
                _ => test(0),
            }),
            IntList::Counts(field, iterator) => {
                self.any(Source::Each(field, iterator), |value| test(count(value)))
            }
        }
    }

    pub(super) fn any_text(&self, list: TextList, mut test: impl FnMut(&str) -> bool) -> bool {
        let mut test = |text: &str| match list.root_domain {
            true => test(&root_domain(text)),
            false => test(text),
        };
        self.any(list.source, |value| match value {
            Value::Str(text) => test(text),
            Value::Strs(texts) => texts.iter().any(|text| test(text)),
            // A field that nobody filled, of a type that is one text.
            _ => false,
        })
    }

    pub(super) fn any_address(&self, source: Source, mut test: impl FnMut(IpNet) -> bool) -> bool {
        self.any(source, |value| match value {
            Value::Ip(address) => test(address),
            Value::Ips(addresses) => addresses.iter().any(|address| test(*address)),
            _ => false,
        })
    }

    /// How many elements a list has.
    pub(super) fn count(&self, source: Source) -> i64 {
        let mut total = 0;
        self.any(source, |value| {
            total += count(value);
            false
        });
        total
    }
}

fn count(value: Value<'_>) -> i64 {
    let count = match value {
        Value::Bools(values) => values.len(),
        Value::Ints(values) => values.len(),
        Value::Strs(values) => values.len(),
        Value::Ips(values) => values.len(),
        _ => 1,
    };
    count as i64
}
