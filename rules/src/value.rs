//! What a rule is evaluated against: values of fields, handed in through [`Context`].

use ipnet::IpNet;

/// A field of a [`Catalogue`](crate::Catalogue).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

/// An event type of a [`Catalogue`](crate::Catalogue).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u16);

/// An iterator (a list of records, such as `process.ancestors`) of a
/// [`Catalogue`](crate::Catalogue).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IteratorId(pub u16);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A number; unsigned 64-bit values are given bit for bit.
    Int(i64),
    /// Text.
    Str(&'a str),
    /// An address, or a network.
    Ip(IpNet),
    /// Several booleans.
    Bools(&'a [bool]),
    /// Several numbers.
    Ints(&'a [i64]),
    /// Several texts.
    Strs(&'a [String]),
    /// Several addresses.
    Ips(&'a [IpNet]),
}

/// The type of a field or a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`].
    Int,
    /// [`Value::Str`].
    String,
    /// [`Value::Ip`].
    Ip,
    /// [`Value::Bools`].
    Bools,
    /// [`Value::Ints`].
    Ints,
    /// [`Value::Strs`].
    Strings,
    /// [`Value::Ips`].
    Ips,
}

impl ValueType {
    /// The word used in catalogues and messages.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::Bool => "bool",
            ValueType::Int => "int",
            ValueType::String => "string",
            ValueType::Ip => "ip",
            ValueType::Bools => "bool[]",
            ValueType::Ints => "int[]",
            ValueType::Strings => "string[]",
            ValueType::Ips => "ip[]",
        }
    }

    /// The type with this name (`cidr` is another word for `ip`).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => ValueType::Bool,
            "int" => ValueType::Int,
            "string" => ValueType::String,
            "ip" | "cidr" => ValueType::Ip,
            "bool[]" => ValueType::Bools,
            "int[]" => ValueType::Ints,
            "string[]" => ValueType::Strings,
            "ip[]" | "cidr[]" => ValueType::Ips,
            _ => return None,
        })
    }

    /// The type of one element.
    pub const fn element(self) -> Self {
        match self {
            ValueType::Bools => ValueType::Bool,
            ValueType::Ints => ValueType::Int,
            ValueType::Strings => ValueType::String,
            ValueType::Ips => ValueType::Ip,
            scalar => scalar,
        }
    }

    /// The type of a list of this.
    pub const fn list(self) -> Self {
        match self {
            ValueType::Bool => ValueType::Bools,
            ValueType::Int => ValueType::Ints,
            ValueType::String => ValueType::Strings,
            ValueType::Ip => ValueType::Ips,
            list => list,
        }
    }

    /// True for lists.
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            ValueType::Bools | ValueType::Ints | ValueType::Strings | ValueType::Ips
        )
    }

    /// The value of a field that nobody filled.
    pub fn zero(self) -> Value<'static> {
        match self {
            ValueType::Bool => Value::Bool(false),
            ValueType::Int => Value::Int(0),
            ValueType::String => Value::Str(""),
            ValueType::Ip => Value::Ip(unspecified()),
            ValueType::Bools => Value::Bools(&[]),
            ValueType::Ints => Value::Ints(&[]),
            ValueType::Strings => Value::Strs(&[]),
            ValueType::Ips => Value::Ips(&[]),
        }
    }
}

/// The zero value of an address: `0.0.0.0/32`.
pub fn unspecified() -> IpNet {
    IpNet::from(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// One value for all events of this evaluator.
    Global,
    /// One value for each process.
    Process,
    /// One value for each container. SECL's `cgroup` scope is this one too: on Fargate a
    /// container has one cgroup, which its processes cannot see.
    Container,
}

impl Scope {
    /// The word used in policy files and in `${process.x}`; empty for the global scope.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Global => "",
            Scope::Process => "process",
            Scope::Container => "container",
        }
    }

    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "" | "global" => Some(Scope::Global),
            "process" => Some(Scope::Process),
            "container" | "cgroup" => Some(Scope::Container),
            _ => None,
        }
    }
}

/// The event that a rule is evaluated against.
///
/// A field that the context cannot fill gives the zero value of its type (`""`, 0, false,
/// `0.0.0.0/32`, no elements); a value of another type than the catalogue says is treated
/// like that too.
pub trait Context {
    /// The value of a field that belongs to no iterator.
    fn value(&self, field: FieldId) -> Value<'_>;

    /// How many elements the iterator has.
    fn length(&self, iterator: IteratorId) -> usize;

    /// The value of a field of an iterator's element; `index` is below
    /// [`length`](Self::length). For `process.ancestors`, element 0 is the parent.
    fn element(&self, field: FieldId, index: usize) -> Value<'_>;

    /// The time of the event, nanoseconds since the epoch.
    fn now(&self) -> i64;

    /// Identifies the process or the container of the event for scoped variables. `None`
    /// where there is none: the variable then has its default value and cannot be set. Not
    /// asked for [`Scope::Global`].
    fn scope_key(&self, scope: Scope) -> Option<u64>;

    /// The key of the `generation`-th ancestor (0 is the parent) in a scope, for inherited
    /// variables. `None` ends the chain.
    fn ancestor_key(&self, scope: Scope, generation: usize) -> Option<u64> {
        let _ = (scope, generation);
        None
    }

    /// The process key of a process id, for `scope_field`. `None` when it is not known.
    fn process_key(&self, pid: i64) -> Option<u64> {
        let _ = pid;
        None
    }
}
