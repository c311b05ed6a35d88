//! The values of variables while rules are evaluated.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ipnet::IpNet;

use crate::eval::truncate;
use crate::value::{Context, Scope, unspecified};
use crate::variable::{Stored, VariableId, VariableInfo, VariableTable};

/// Most values kept at once; beyond it, expired ones are dropped and then new ones refused.
const MAX_VALUES: usize = 65_536;

/// Longest text kept, in bytes; the rest is cut off.
const MAX_TEXT: usize = 4 * 1024;

/// How far up a value is inherited from.
const MAX_GENERATIONS: usize = 256;

/// A value and when it ends.
#[derive(Debug, Clone)]
struct Slot {
    value: Stored,
    /// For a list one for each element, in ascending order; otherwise one. `i64::MAX` is
    /// never.
    expiries: Vec<i64>,
}

/// The values of all variables, by variable and scope key.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    table: Arc<VariableTable>,
    slots: HashMap<(VariableId, u64), Slot>,
}

impl Variables {
    pub(crate) fn new(table: Arc<VariableTable>) -> Self {
        Self {
            table,
            slots: HashMap::new(),
        }
    }

    /// Takes another table; values of variables that are defined alike are kept.
    pub(crate) fn replace(&mut self, table: Arc<VariableTable>) {
        let mut slots = HashMap::new();
        for ((id, key), slot) in std::mem::take(&mut self.slots) {
            let old = self.table.info(id);
            if let Some(new) = table.find(&old.name)
                && table.info(new) == old
            {
                slots.insert((new, key), slot);
            }
        }
        *self = Self { table, slots };
    }

    /// Forgets what belongs to a process or container.
    pub(crate) fn release(&mut self, scope: Scope, key: u64) {
        if self.slots.is_empty() {
            return;
        }
        for (index, info) in self.table.infos.iter().enumerate() {
            if info.scope == scope {
                self.slots.remove(&(VariableId(index as u16), key));
            }
        }
    }

    /// The value in force for this context, if one is set.
    fn slot<C: Context + ?Sized>(&self, id: VariableId, context: &C) -> Option<&Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let info = self.table.info(id);
        let now = context.now();
        let live = |key: u64| self.slots.get(&(id, key)).filter(|slot| slot.is_live(now));
        let key = match info.scope {
            Scope::Global => Some(0),
            scope => context.scope_key(scope),
        };
        if let Some(slot) = key.and_then(live) {
            return Some(slot);
        }
        if !info.inherited {
            return None;
        }
        (0..MAX_GENERATIONS)
            .map_while(|generation| context.ancestor_key(info.scope, generation))
            .find_map(live)
    }

    /// The value or its default.
    fn value<C: Context + ?Sized>(&self, id: VariableId, context: &C) -> Option<&Stored> {
        match self.slot(id, context) {
            Some(slot) => Some(&slot.value),
            None => self.table.info(id).default.as_ref(),
        }
    }

    pub(crate) fn bool<C: Context + ?Sized>(&self, id: VariableId, context: &C) -> bool {
        matches!(self.value(id, context), Some(Stored::Bool(true)))
    }

    pub(crate) fn int<C: Context + ?Sized>(&self, id: VariableId, context: &C) -> i64 {
        match self.value(id, context) {
            Some(Stored::Int(value)) => *value,
            _ => 0,
        }
    }

    pub(crate) fn text<C: Context + ?Sized>(&self, id: VariableId, context: &C) -> &str {
        match self.value(id, context) {
            Some(Stored::Text(value)) => value,
            _ => "",
        }
    }

    pub(crate) fn address<C: Context + ?Sized>(&self, id: VariableId, context: &C) -> IpNet {
        match self.value(id, context) {
            Some(Stored::Address(value)) => *value,
            _ => unspecified(),
        }
    }

    /// Hands a list and the range of its elements that have not expired to `test`.
    pub(crate) fn with_list<C: Context + ?Sized>(
        &self,
        id: VariableId,
        context: &C,
        test: impl FnOnce(&Stored, Range<usize>) -> bool,
    ) -> bool {
        match self.slot(id, context) {
            Some(slot) => {
                let dead = slot.dead(context.now());
                test(&slot.value, dead..slot.value.len())
            }
            None => match &self.table.info(id).default {
                Some(default) => test(default, 0..default.len()),
                None => false,
            },
        }
    }

    /// Every value set for this context, with its variable.
    pub(crate) fn all<'s, C: Context + ?Sized>(
        &'s self,
        context: &'s C,
    ) -> impl Iterator<Item = (&'s VariableInfo, &'s Stored)> {
        self.table
            .infos
            .iter()
            .enumerate()
            .filter_map(move |(index, info)| {
                let slot = self.slot(VariableId(index as u16), context)?;
                Some((info, &slot.value))
            })
    }

    /// Sets a value for one process, container, or all (key 0).
    pub(crate) fn set(&mut self, id: VariableId, key: u64, value: Stored, append: bool, now: i64) {
        let info = self.table.info(id);
        let ttl = info
            .ttl
            .map(|ttl| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
        let expiry = ttl.map_or(i64::MAX, |ttl| now.saturating_add(ttl));
        if self.slots.len() >= MAX_VALUES && !self.slots.contains_key(&(id, key)) {
            self.slots.retain(|_, slot| slot.is_live(now));
            if self.slots.len() >= MAX_VALUES {
                return;
            }
        }
        let size = info.size;
        let mut value = if info.value_type.is_list() {
            value.into_list()
        } else {
            value
        };
        value.shorten(size);
        let empty = || Slot {
            value: value.emptied(),
            expiries: Vec::new(),
        };
        let slot = self.slots.entry((id, key)).or_insert_with(empty);
        if !append || !slot.value.is_list() {
            slot.value = value;
            slot.expiries = vec![expiry; slot.value.len()];
            return;
        }
        let dead = slot.dead(now);
        slot.value.drop_first(dead);
        slot.expiries.drain(..dead);
        slot.value.append(value, &mut slot.expiries, expiry);
        let excess = slot.value.len().saturating_sub(size);
        slot.value.drop_first(excess);
        slot.expiries.drain(..excess);
    }
}

impl Slot {
    /// How many elements at the front have expired.
    fn dead(&self, now: i64) -> usize {
        self.expiries.partition_point(|expiry| *expiry <= now)
    }

    fn is_live(&self, now: i64) -> bool {
        self.expiries.last().is_some_and(|expiry| *expiry > now)
    }
}

macro_rules! each_list {
    ($stored:expr, $values:ident => $list:expr, $otherwise:expr) => {
        match $stored {
            Stored::Bools($values) => $list,
            Stored::Ints($values) => $list,
            Stored::Texts($values) => $list,
            Stored::Addresses($values) => $list,
            Stored::Bool(_) | Stored::Int(_) | Stored::Text(_) | Stored::Address(_) => $otherwise,
        }
    };
}

impl Stored {
    fn is_list(&self) -> bool {
        self.value_type().is_list()
    }

    fn len(&self) -> usize {
        each_list!(self, values => values.len(), 1)
    }

    fn drop_first(&mut self, count: usize) {
        each_list!(self, values => drop(values.drain(..count)), ());
    }

    fn emptied(&self) -> Self {
        match self {
            Stored::Bools(_) => Stored::Bools(Vec::new()),
            Stored::Ints(_) => Stored::Ints(Vec::new()),
            Stored::Texts(_) => Stored::Texts(Vec::new()),
            Stored::Addresses(_) => Stored::Addresses(Vec::new()),
            single => single.clone(),
        }
    }

    fn shorten(&mut self, size: usize) {
        match self {
            Stored::Text(text) => truncate(text, MAX_TEXT),
            Stored::Texts(texts) => texts.iter_mut().for_each(|text| truncate(text, MAX_TEXT)),
            _ => {}
        }
        each_list!(self, values => values.truncate(size), ());
    }

    /// Appends elements; one that is there already moves to the end.
    fn append(&mut self, other: Stored, expiries: &mut Vec<i64>, expiry: i64) {
        match (self, other) {
            (Stored::Bools(values), Stored::Bools(new)) => append(values, new, expiries, expiry),
            (Stored::Ints(values), Stored::Ints(new)) => append(values, new, expiries, expiry),
            (Stored::Texts(values), Stored::Texts(mut new)) => {
                new.iter_mut().for_each(|text| truncate(text, MAX_TEXT));
                append(values, new, expiries, expiry);
            }
            (Stored::Addresses(values), Stored::Addresses(new)) => {
                append(values, new, expiries, expiry);
            }
            // The loader saw to it that types agree.
            _ => {}
        }
    }
}

fn append<T: PartialEq>(values: &mut Vec<T>, new: Vec<T>, expiries: &mut Vec<i64>, expiry: i64) {
    for value in new {
        if let Some(at) = values.iter().position(|other| *other == value) {
            values.remove(at);
            expiries.remove(at);
        }
        values.push(value);
        expiries.push(expiry);
    }
}
