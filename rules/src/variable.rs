//! Variables: what rules remember.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

use crate::value::{Scope, Value, ValueType};

/// A variable of a rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VariableId(pub(crate) u16);

/// What is known about a variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VariableInfo {
    /// As in `${process.x}`.
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) value_type: ValueType,
    /// A process without a value of its own has its nearest ancestor's.
    pub(crate) inherited: bool,
    pub(crate) ttl: Option<Duration>,
    /// Most elements of a list; the oldest go first.
    pub(crate) size: usize,
    /// Not shown in findings.
    pub(crate) private: bool,
    pub(crate) default: Option<Stored>,
}

/// All variables of a rule set.
#[derive(Debug, Clone, Default)]
pub(crate) struct VariableTable {
    pub(crate) infos: Vec<VariableInfo>,
    by_name: HashMap<String, VariableId>,
}

impl VariableTable {
    pub(crate) fn find(&self, name: &str) -> Option<VariableId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn info(&self, id: VariableId) -> &VariableInfo {
        &self.infos[usize::from(id.0)]
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Adds a variable; `None` when there are too many.
    pub(crate) fn insert(&mut self, info: VariableInfo) -> Option<VariableId> {
        let id = u16::try_from(self.infos.len()).map(VariableId).ok()?;
        self.by_name.insert(info.name.clone(), id);
        self.infos.push(info);
        Some(id)
    }
}

/// A value that is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stored {
    Bool(bool),
    Int(i64),
    Text(String),
    Address(IpNet),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Addresses(Vec<IpNet>),
}

impl Stored {
    /// The value as rules see it.
    pub(crate) fn borrow(&self) -> Value<'_> {
        match self {
            Stored::Bool(value) => Value::Bool(*value),
            Stored::Int(value) => Value::Int(*value),
            Stored::Text(value) => Value::Str(value),
            Stored::Address(value) => Value::Ip(*value),
            Stored::Bools(values) => Value::Bools(values),
            Stored::Ints(values) => Value::Ints(values),
            Stored::Texts(values) => Value::Strs(values),
            Stored::Addresses(values) => Value::Ips(values),
        }
    }

    pub(crate) fn value_type(&self) -> ValueType {
        match self {
            Stored::Bool(_) => ValueType::Bool,
            Stored::Int(_) => ValueType::Int,
            Stored::Text(_) => ValueType::String,
            Stored::Address(_) => ValueType::Ip,
            Stored::Bools(_) => ValueType::Bools,
            Stored::Ints(_) => ValueType::Ints,
            Stored::Texts(_) => ValueType::Strings,
            Stored::Addresses(_) => ValueType::Ips,
        }
    }

    /// A single value as a list of it.
    pub(crate) fn into_list(self) -> Self {
        match self {
            Stored::Bool(value) => Stored::Bools(vec![value]),
            Stored::Int(value) => Stored::Ints(vec![value]),
            Stored::Text(value) => Stored::Texts(vec![value]),
            Stored::Address(value) => Stored::Addresses(vec![value]),
            list => list,
        }
    }
}
