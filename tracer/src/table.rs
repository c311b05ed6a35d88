//! The one table of system calls: number per ABI, when to stop for it, decoder, event.
//!
//! To trace another call, add a row to [`rows`] and, if none fits, a decoder in
//! [`crate::decode`].

mod arm;
mod rows;

use std::sync::OnceLock;

use picket_events::{EventType, Interest, OpenInterest};

use crate::decode::Decoder;
pub(crate) use rows::{looks_at_messages, rows};

/// A way in which a program talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X32,
    I386,
    Aarch64,
    /// 32-bit ARM (EABI), on an aarch64 kernel.
    Arm,
}

impl Abi {
    /// What this build's kernel serves.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NATIVE: [Abi; 3] = [Abi::X86_64, Abi::X32, Abi::I386];
    /// What this build's kernel serves.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const NATIVE: [Abi; 2] = [Abi::Aarch64, Abi::Arm];

    /// Set in the number of an x32 call.
    pub(crate) const X32_BIT: u32 = 0x4000_0000;

    /// `AUDIT_ARCH_*`, as the filter sees it.
    pub(crate) const fn arch(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::I386 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// The ABI of a call, and its number there.
    pub(crate) fn of(arch: u32, number: u32) -> Option<(Abi, u32)> {
        let is_x32 = number & Self::X32_BIT != 0;
        match arch {
            0xc000_003e if is_x32 => Some((Abi::X32, number & !Self::X32_BIT)),
            0xc000_003e => Some((Abi::X86_64, number)),
            0x4000_0003 => Some((Abi::I386, number)),
            0xc000_00b7 => Some((Abi::Aarch64, number)),
            0x4000_0028 => Some((Abi::Arm, number)),
            _ => None,
        }
    }

    /// Size of a register, and so of a number or address that a call is given in one: x32's are
    /// those of x86-64, whatever stands in memory.
    pub(crate) const fn register_size(self) -> usize {
        match self {
            Abi::X86_64 | Abi::X32 | Abi::Aarch64 => 8,
            Abi::I386 | Abi::Arm => 4,
        }
    }

    /// Size of a pointer in the memory of a program of this ABI.
    pub(crate) const fn pointer_size(self) -> usize {
        match self {
            Abi::X86_64 | Abi::Aarch64 => 8,
            Abi::X32 | Abi::I386 | Abi::Arm => 4,
        }
    }

    /// Open flags that say nothing of what is done: `O_LARGEFILE`, which C libraries add by
    /// themselves where it means something. x86-64's and x32's never need to, and some do.
    pub(crate) const fn idle_opens(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 | Abi::I386 => 0o100_000,
            Abi::Aarch64 | Abi::Arm => 0o400_000,
        }
    }

    /// Open flags that a person's tool hardly gives: `O_CLOEXEC`, `O_NONBLOCK`, `O_DIRECTORY`,
    /// `O_PATH`.
    pub(crate) const fn quiet_opens(self) -> u32 {
        let directory = match self {
            Abi::X86_64 | Abi::X32 | Abi::I386 => 0o200_000,
            Abi::Aarch64 | Abi::Arm => 0o40_000,
        };
        0o2_000_000 | 0o4_000 | directory | 0o10_000_000
    }
}

/// When to stop for a call, by its arguments (counted from 0). Numbers are compared in their
/// low 32 bits. A row's tests are alternatives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    /// Always.
    Always,
    /// The inner test, and only where the row's event is wanted (for rows that also keep the
    /// tracer itself safe).
    IfInterested(&'static Test),
    /// The inner test, and only where the interest is such.
    If(fn(&Interest) -> bool, &'static Test),
    /// Any bit of the mask is set.
    AnyBit(u8, u32),
    /// All bits of the mask are set.
    AllBits(u8, u32),
    /// It is one of these.
    OneOf(u8, &'static [u32]),
    /// It is anything but this.
    Not(u8, u32),
    /// It is the id of a process to send a signal to, or of a group, and may reach the tracer.
    Aimed(u8),
    /// It is not zero, in all 64 bits.
    NotZero(u8),
    /// It is this or less (unsigned).
    AtMost(u8, u32),
    /// A datagram that may be a question: no longer than this, by the first argument, and with
    /// an address, which is the second. Where a quarantine needs them, every one with an address.
    Question(u8, u8),
    /// `fcntl`'s command and its argument: a duplicate of a descriptor, which may become standard
    /// input, output or error.
    Duplicates(u8, u8),
    /// `setitimer`'s timer is the one that sends SIGALRM, and its former setting, which is to be put to
    /// where the other argument says, is not asked for.
    Rings(u8, u8),
    /// Open flags, as the interest in opens asks.
    OpenFlags(u8),
}

/// A DNS question is no longer: a name of 255 bytes and what goes with it.
pub(crate) const QUESTION_MAX: u32 = 512;

/// Flag of opens whose file may not become the controlling terminal: `O_NOCTTY`, on all
/// architectures.
pub(crate) const OPEN_NO_TERMINAL: u32 = 0o400;

/// `F_DUPFD`, `F_DUPFD_CLOEXEC` of `fcntl`: duplicates to the first number that is free, from a given
/// one on.
pub(crate) const DUPLICATE: [u32; 2] = [0, 1030];

/// Open flags that can change something: `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC`.
pub(crate) const OPEN_WRITING: u32 = 0o1 | 0o2 | 0o100 | 0o1000;

/// Whether the filter stops for an open with these flags ([`Test::OpenFlags`]).
pub(crate) fn stops_for_open(interest: &Interest, abi: Abi, flags: u32) -> bool {
    let writes = flags & OPEN_WRITING != 0;
    let is_quiet = flags & abi.quiet_opens() != 0;
    match interest.open {
        OpenInterest::None => false,
        OpenInterest::All => true,
        OpenInterest::Write => writes,
        OpenInterest::NoTerminal => writes || !is_quiet,
        OpenInterest::Plain => writes || !is_quiet && flags & !abi.idle_opens() != OPEN_NO_TERMINAL,
    }
}

/// One system call.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    x86_64: u32,
    /// x32's own number, where it is not x86-64's.
    x32: u32,
    i386: u32,
    aarch64: u32,
    /// The event it is for.
    pub(crate) event: EventType,
    /// Other events that it may be for.
    also: &'static [EventType],
    /// A quarantine refuses it.
    reaches_out: bool,
    /// It tells no event, but that a new program starts. Under ptrace, the kernel tells that.
    is_start: bool,
    /// Stopped for whatever the interest: lineage, the tracer's own picture of a process
    /// (ids, root), or its safety depends on it.
    always: bool,
    pub(crate) tests: &'static [Test],
    pub(crate) decode: Decoder,
}

impl Row {
    /// Number in an ABI.
    pub(crate) fn number(&self, abi: Abi) -> Option<u32> {
        let number = match abi {
            Abi::X86_64 => self.x86_64,
            Abi::X32 => self.x32,
            Abi::I386 => self.i386,
            Abi::Aarch64 => self.aarch64,
            Abi::Arm => return arm::number(self.name),
        };
        (number != NO).then_some(number)
    }

    /// The events that it may be for.
    pub(crate) fn events(&self) -> impl Iterator<Item = EventType> {
        std::iter::once(self.event).chain(self.also.iter().copied())
    }

    /// Whether it tells nothing but that a new program starts.
    pub(crate) fn is_start(&self) -> bool {
        self.is_start
    }

    /// Whether the filter has to stop for it at all.
    pub(crate) fn is_active(&self, interest: &Interest) -> bool {
        self.always
            || self.events().any(|event| interest.contains(event))
            || (self.reaches_out && interest.quarantine)
    }

    /// Whether the filter stops for it whatever its arguments.
    pub(crate) fn is_always_stopped_for(&self, interest: &Interest) -> bool {
        self.is_active(interest) && self.is_unconditional(interest)
    }

    /// Whether the filter, where it stops for it at all, does so whatever its arguments.
    pub(crate) fn is_unconditional(&self, interest: &Interest) -> bool {
        self.tests.iter().any(|test| match test {
            Test::Always => true,
            Test::OpenFlags(_) => interest.open == OpenInterest::All,
            _ => false,
        })
    }
}

/// What of an interest the table can serve at all.
pub(crate) fn served(interest: &Interest) -> Interest {
    let mut served = Interest::lineage();
    served.insert_open(interest.open);
    served.quarantine = interest.quarantine;
    if interest.contains(EventType::Mmap) && !interest.every_mapping {
        served.insert_writable_mappings();
    }
    for row in rows() {
        for event in row.events() {
            let is_whole = event != EventType::Mmap || interest.every_mapping;
            if event != EventType::Open && is_whole && interest.contains(event) {
                served.insert(event);
            }
        }
    }
    served
}

/// The row of a call. The native table is looked up by number, once per notification.
pub(crate) fn find(abi: Abi, number: u32) -> Option<&'static Row> {
    if abi == Abi::Arm {
        let name = arm::name(number)?;
        return rows().find(|row| row.name == name);
    }
    static NATIVE: OnceLock<Vec<Option<&Row>>> = OnceLock::new();
    if abi == Abi::NATIVE[0] {
        let native = NATIVE.get_or_init(|| by_number(abi));
        return *native.get(number as usize)?;
    }
    rows().find(|row| row.number(abi) == Some(number))
}

/// The rows of an ABI, each at its number.
fn by_number(abi: Abi) -> Vec<Option<&'static Row>> {
    let mut found = Vec::new();
    for row in rows() {
        if let Some(number) = row.number(abi) {
            let at = number as usize;
            if found.len() <= at {
                found.resize(at + 1, None);
            }
            found[at] = Some(row);
        }
    }
    found
}

/// The call does not exist there.
const NO: u32 = u32::MAX;

const fn row(
    name: &'static str,
    numbers: [u32; 3],
    event: EventType,
    tests: &'static [Test],
    decode: Decoder,
) -> Row {
    let [x86_64, i386, aarch64] = numbers;
    Row {
        name,
        x86_64,
        x32: x86_64,
        i386,
        aarch64,
        event,
        also: &[],
        reaches_out: false,
        is_start: false,
        always: false,
        tests,
        decode,
    }
}

impl Row {
    const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    const fn start(mut self) -> Self {
        self.is_start = true;
        self
    }

    const fn also(mut self, events: &'static [EventType]) -> Self {
        self.also = events;
        self
    }

    const fn reaches_out(mut self) -> Self {
        self.reaches_out = true;
        self
    }

    const fn x32(mut self, number: u32) -> Self {
        self.x32 = number;
        self
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
