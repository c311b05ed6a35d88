//! Compiles the table to a BPF program: for each ABI a balanced tree over the call numbers,
//! with argument tests at the leaves. What is not in the table, or what its test does not
//! want, is allowed.

use picket_events::{Interest, OpenInterest};

use crate::sys::seccomp::{Instruction, RETURN_ALLOW, RETURN_TRACE, RETURN_USER_NOTIF};
use crate::table::{Abi, DUPLICATE, OPEN_NO_TERMINAL, QUESTION_MAX, Row, Test, rows};

// Classic BPF, as `linux/bpf_common.h` numbers it.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;

/// Offset of the low half of an argument in `struct seccomp_data`, on a little-endian machine.
const fn low(argument: u8) -> u32 {
    16 + 8 * argument as u32
}

const fn high(argument: u8) -> u32 {
    low(argument) + 4
}

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        k,
    }
}

/// The tracer's own processes, as far as they are known when the filter is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ours {
    /// Keeper, spare and worker.
    pub(crate) processes: [u32; 3],
    /// The keeper's process group, which the application starts in.
    pub(crate) group: u32,
}

impl Ours {
    /// What a signal may be aimed at to reach one of them: their ids, their groups, the
    /// caller's own group, and everybody.
    fn aims(self) -> impl Iterator<Item = u32> {
        let groups = self.processes.into_iter().chain([self.group]);
        let groups = groups.map(u32::wrapping_neg);
        let everybody = [0, u32::MAX];
        let mut aims: Vec<u32> = self
            .processes
            .into_iter()
            .chain(groups)
            .chain(everybody)
            .collect();
        aims.sort_unstable();
        aims.dedup();
        aims.into_iter()
    }
}

/// What a filter is made for.
struct Wanted<'a> {
    interest: &'a Interest,
    ours: Ours,
    /// Stops are notifications, not ptrace's.
    is_notified: bool,
}

/// The program for this machine's ABIs.
/// `action` is what it answers for a call of interest.
pub(crate) fn compile(interest: &Interest, ours: Ours, action: u32) -> Vec<Instruction> {
    let is_notified = action != RETURN_TRACE;
    let mut program = compile_for(&Abi::NATIVE, interest, ours, is_notified);
    for instruction in &mut program {
        if instruction.code == RETURN && instruction.k == RETURN_USER_NOTIF {
            instruction.k = action;
        }
    }
    program
}

/// The program for a set of ABIs that one kernel serves, for notifications or for ptrace.
fn compile_for(
    abis: &[Abi],
    interest: &Interest,
    ours: Ours,
    is_notified: bool,
) -> Vec<Instruction> {
    let wanted = Wanted {
        interest,
        ours,
        is_notified,
    };
    let mut program = vec![instruction(LOAD, ARCH_OFFSET)];
    let mut arches: Vec<u32> = Vec::new();
    for abi in abis {
        if !arches.contains(&abi.arch()) {
            arches.push(abi.arch());
        }
    }
    for arch in arches {
        let mut body = vec![instruction(LOAD, NUMBER_OFFSET)];
        if abis.contains(&Abi::X32) && arch == Abi::X32.arch() {
            // x32 calls are x86-64's numbers with one bit set, and a few of their own.
            body.push(instruction(AND, !Abi::X32_BIT));
        }
        let mut leaves = leaves(
            abis.iter().copied().filter(|abi| abi.arch() == arch),
            &wanted,
        );
        leaves.sort_by_key(|(number, _)| *number);
        body.extend(tree(&leaves));
        program.push(branch(JUMP_EQUAL, arch, 1, 0));
        program.push(instruction(JUMP, body.len() as u32));
        program.extend(body);
    }
    program.push(instruction(RETURN, RETURN_ALLOW));
    program
}

type Leaf = (u32, Vec<Instruction>);

fn leaves(abis: impl Iterator<Item = Abi>, wanted: &Wanted<'_>) -> Vec<Leaf> {
    let mut leaves: Vec<Leaf> = Vec::new();
    for abi in abis {
        let is_wanted =
            |row: &&Row| row.is_active(wanted.interest) && (wanted.is_notified || !row.is_start());
        for row in rows().filter(is_wanted) {
            let Some(number) = row.number(abi) else {
                continue;
            };
            if leaves.iter().all(|(other, _)| *other != number) {
                leaves.push((number, leaf(row, abi, wanted)));
            }
        }
    }
    leaves
}

fn leaf(row: &Row, abi: Abi, wanted: &Wanted<'_>) -> Vec<Instruction> {
    let mut code = Vec::new();
    let interested = wanted.interest.contains(row.event);
    for test in row.tests {
        emit(test, abi, wanted, interested, &mut code);
    }
    code.push(instruction(RETURN, RETURN_ALLOW));
    code
}

/// Appends code that ends in a notification when the test holds, and goes on otherwise.
fn emit(test: &Test, abi: Abi, wanted: &Wanted<'_>, interested: bool, code: &mut Vec<Instruction>) {
    let interest = wanted.interest;
    let notify = instruction(RETURN, RETURN_USER_NOTIF);
    match *test {
        Test::Always => code.push(notify),
        Test::IfInterested(inner) => {
            if interested {
                emit(inner, abi, wanted, interested, code);
            }
        }
        Test::If(applies, inner) => {
            if applies(interest) {
                emit(inner, abi, wanted, interested, code);
            }
        }
        Test::AnyBit(argument, mask) => code.extend([
            instruction(LOAD, low(argument)),
            branch(JUMP_SET, mask, 0, 1),
            notify,
        ]),
        Test::AllBits(argument, mask) => code.extend([
            instruction(LOAD, low(argument)),
            instruction(AND, mask),
            branch(JUMP_EQUAL, mask, 0, 1),
            notify,
        ]),
        Test::OneOf(argument, values) => {
            code.push(instruction(LOAD, low(argument)));
            for value in values {
                code.extend([branch(JUMP_EQUAL, *value, 0, 1), notify]);
            }
        }
        Test::Not(argument, value) => code.extend([
            instruction(LOAD, low(argument)),
            branch(JUMP_EQUAL, value, 1, 0),
            notify,
        ]),
        Test::Aimed(argument) => {
            code.push(instruction(LOAD, low(argument)));
            for aim in wanted.ours.aims() {
                code.extend([branch(JUMP_EQUAL, aim, 0, 1), notify]);
            }
        }
        Test::NotZero(argument) => code.extend([
            instruction(LOAD, low(argument)),
            branch(JUMP_EQUAL, 0, 1, 0),
            notify,
            instruction(LOAD, high(argument)),
            branch(JUMP_EQUAL, 0, 1, 0),
            notify,
        ]),
        Test::Question(length, address) => {
            let mut with_address = Vec::new();
            emit(
                &Test::NotZero(address),
                abi,
                wanted,
                interested,
                &mut with_address,
            );
            if !interest.quarantine {
                let rest = with_address.len() as u8;
                code.extend([
                    instruction(LOAD, high(length)),
                    branch(JUMP_EQUAL, 0, 0, rest + 2),
                    instruction(LOAD, low(length)),
                    branch(JUMP_GREATER, QUESTION_MAX, rest, 0),
                ]);
            }
            code.extend(with_address);
        }
        Test::AtMost(argument, value) => code.extend([
            instruction(LOAD, low(argument)),
            branch(JUMP_GREATER, value, 1, 0),
            notify,
        ]),
        Test::Duplicates(command, from) => code.extend([
            instruction(LOAD, low(command)),
            branch(JUMP_EQUAL, DUPLICATE[0], 1, 0),
            branch(JUMP_EQUAL, DUPLICATE[1], 0, 3),
            instruction(LOAD, low(from)),
            branch(JUMP_GREATER, 2, 1, 0),
            notify,
        ]),
        Test::Rings(timer, former) => code.extend([
            instruction(LOAD, low(timer)),
            branch(JUMP_EQUAL, libc::ITIMER_REAL as u32, 0, 3),
            instruction(LOAD, low(former)),
            branch(JUMP_EQUAL, 0, 0, 1),
            notify,
        ]),
        Test::OpenFlags(argument) => {
            let writing = Test::AnyBit(argument, crate::table::OPEN_WRITING);
            match interest.open {
                OpenInterest::None => {}
                OpenInterest::All => code.push(notify),
                OpenInterest::Write => emit(&writing, abi, wanted, interested, code),
                OpenInterest::Plain => {
                    emit(&writing, abi, wanted, interested, code);
                    code.extend([
                        branch(JUMP_SET, abi.quiet_opens(), 3, 0),
                        instruction(AND, !abi.idle_opens()),
                        branch(JUMP_EQUAL, OPEN_NO_TERMINAL, 1, 0),
                        notify,
                    ]);
                }
                OpenInterest::NoTerminal => {
                    emit(&writing, abi, wanted, interested, code);
                    code.extend([branch(JUMP_SET, abi.quiet_opens(), 1, 0), notify]);
                }
            }
        }
    }
}

/// A balanced tree of comparisons; the accumulator holds the number.
fn tree(leaves: &[Leaf]) -> Vec<Instruction> {
    match leaves {
        [] => vec![instruction(RETURN, RETURN_ALLOW)],
        [(number, code)] => {
            let length = code.len() as u8;
            let mut body = vec![branch(JUMP_EQUAL, *number, 0, length)];
            body.extend(code);
            body.push(instruction(RETURN, RETURN_ALLOW));
            body
        }
        _ => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            let pivot = right[0].0;
            let (left, right) = (tree(left), tree(right));
            let mut body = match u8::try_from(left.len()) {
                Ok(length) => vec![branch(JUMP_GREATER_OR_EQUAL, pivot, length, 0)],
                Err(_) => vec![
                    branch(JUMP_GREATER_OR_EQUAL, pivot, 0, 1),
                    instruction(JUMP, left.len() as u32),
                ],
            };
            body.extend(left);
            body.extend(right);
            body
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
