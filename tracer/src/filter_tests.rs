use super::*;
use crate::sys::seccomp::Data;

/// Runs a program over a call, as the kernel would.
fn verdict(program: &[Instruction], data: &Data) -> u32 {
    let mut bytes = Vec::new();
    bytes.extend(data.number.to_le_bytes());
    bytes.extend(data.arch.to_le_bytes());
    bytes.extend(data.instruction_pointer.to_le_bytes());
    for argument in data.args {
        bytes.extend(argument.to_le_bytes());
    }
    let (mut accumulator, mut at) = (0u32, 0usize);
    for _ in 0..program.len() {
        let Instruction {
            code,
            jump_true,
            jump_false,
            k,
        } = program[at];
        at += 1;
        let mut branch =
            |taken: bool| at += usize::from(if taken { jump_true } else { jump_false });
        match code {
            LOAD => {
                let k = k as usize;
                accumulator = u32::from_le_bytes(bytes[k..k + 4].try_into().unwrap());
            }
            AND => accumulator &= k,
            JUMP => at += k as usize,
            JUMP_EQUAL => branch(accumulator == k),
            JUMP_GREATER => branch(accumulator > k),
            JUMP_GREATER_OR_EQUAL => branch(accumulator >= k),
            JUMP_SET => branch(accumulator & k != 0),
            RETURN => return k,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
    panic!("no end");
}

fn call(abi: Abi, number: u32, args: [u64; 6]) -> Data {
    let number = if abi == Abi::X32 {
        number | Abi::X32_BIT
    } else {
        number
    };
    Data {
        number: number as i32,
        arch: abi.arch(),
        instruction_pointer: 0,
        args,
    }
}

const X86: [Abi; 3] = [Abi::X86_64, Abi::X32, Abi::I386];
const ARM: [Abi; 2] = [Abi::Aarch64, Abi::Arm];

const OURS: Ours = Ours {
    processes: [1, 1, 7],
    group: 1,
};

fn all() -> [(Vec<Abi>, Vec<Instruction>); 2] {
    let interest = Interest::everything();
    [X86.to_vec(), ARM.to_vec()].map(|abis| {
        let program = compile_for(&abis, &interest, OURS, true);
        (abis, program)
    })
}

/// Arguments for which a test holds.
fn holds(test: &Test) -> [u64; 6] {
    let mut args = [0; 6];
    match *test {
        Test::Always => {}
        Test::IfInterested(inner) | Test::If(_, inner) => args = holds(inner),
        Test::AnyBit(at, mask) => args[usize::from(at)] = 1 << mask.trailing_zeros(),
        Test::AllBits(at, mask) => args[usize::from(at)] = mask.into(),
        Test::OneOf(at, values) => args[usize::from(at)] = values[values.len() - 1].into(),
        Test::Not(at, value) => args[usize::from(at)] = u64::from(value) + 1,
        Test::NotZero(at) => args[usize::from(at)] = 1 << 40,
        Test::Aimed(at) => args[usize::from(at)] = OURS.processes[2].into(),
        Test::AtMost(at, value) => args[usize::from(at)] = value.into(),
        Test::Question(_, at) => args[usize::from(at)] = 1 << 40,
        Test::Duplicates(command, from) => {
            args[usize::from(command)] = crate::table::DUPLICATE[1].into();
            args[usize::from(from)] = 2;
        }
        Test::OpenFlags(_) | Test::Rings(..) => {}
    }
    args
}

/// Arguments for which a test does not hold, where there are any.
fn fails(test: &Test) -> Option<[u64; 6]> {
    let mut args = [0; 6];
    match *test {
        Test::Always | Test::OpenFlags(_) => return None,
        Test::IfInterested(inner) | Test::If(_, inner) => return fails(inner),
        Test::AnyBit(at, mask) => args[usize::from(at)] = u64::from(!mask) | 0xffff_ffff_0000_0000,
        Test::AllBits(at, mask) => args[usize::from(at)] = u64::from(mask & (mask - 1)),
        Test::OneOf(at, _) => args[usize::from(at)] = 0x7fff_1234,
        Test::Not(at, value) => args[usize::from(at)] = value.into(),
        Test::Aimed(at) => args[usize::from(at)] = 9,
        Test::NotZero(_) | Test::Question(..) => {}
        Test::Duplicates(command, from) => {
            args[usize::from(command)] = crate::table::DUPLICATE[0].into();
            args[usize::from(from)] = 3;
        }
        Test::AtMost(at, value) => args[usize::from(at)] = u64::from(value) + 1,
        Test::Rings(_, former) => args[usize::from(former)] = 0x7fff_1234,
    }
    Some(args)
}

#[test]
fn every_row_stops_in_every_abi_where_its_test_holds_and_only_there() {
    for (abis, program) in all() {
        for abi in abis {
            for row in rows() {
                let Some(number) = row.number(abi) else {
                    continue;
                };
                for test in row.tests {
                    let data = call(abi, number, holds(test));
                    assert_eq!(
                        verdict(&program, &data),
                        RETURN_USER_NOTIF,
                        "{} {abi:?}",
                        row.name
                    );
                }
                if let [test] = row.tests
                    && let Some(args) = fails(test)
                {
                    let data = call(abi, number, args);
                    assert_eq!(
                        verdict(&program, &data),
                        RETURN_ALLOW,
                        "{} {abi:?}",
                        row.name
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_not_in_the_table_is_allowed() {
    for (abis, program) in all() {
        for abi in abis {
            for number in 0..600 {
                let is_known = rows().any(|row| {
                    row.number(abi) == Some(number)
                        // The filter serves both from one tree: a number of the one is at
                        // worst one notification too many in the other.
                        || abi == Abi::X32 && row.number(Abi::X86_64) == Some(number)
                        || abi == Abi::X86_64 && row.number(Abi::X32) == Some(number)
                });
                if !is_known {
                    let data = call(abi, number, [u64::MAX; 6]);
                    assert_eq!(verdict(&program, &data), RETURN_ALLOW, "{number} {abi:?}");
                }
            }
        }
        let other = Data {
            arch: 0x1234,
            number: 59,
            ..Data::default()
        };
        assert_eq!(verdict(&program, &other), RETURN_ALLOW);
    }
}

#[test]
fn opens_stop_as_the_interest_asks() {
    const O_CLOEXEC: u64 = 0o2_000_000;
    for (interest, stops) in [
        // O_RDONLY, O_RDONLY|O_NOCTTY, O_RDONLY|O_CLOEXEC, O_WRONLY|O_NOCTTY, O_RDWR|O_CLOEXEC,
        // O_CREAT, O_NOCTTY|O_NOFOLLOW
        ("exec", [false; 7]),
        ("open:write", [false, false, false, true, true, true, false]),
        ("open:plain", [true, false, false, true, true, true, true]),
        ("open:noctty", [true, true, false, true, true, true, true]),
        ("open", [true; 7]),
    ] {
        let program = compile_for(&X86, &interest.parse().unwrap(), OURS, true);
        let flags = [0, 0o400, O_CLOEXEC, 0o401, 2 | O_CLOEXEC, 0o100, 0o400_400];
        for (flags, stop) in flags.into_iter().zip(stops) {
            for (abi, number, at) in [(Abi::X86_64, 257, 2), (Abi::I386, 5, 1), (Abi::X32, 2, 1)] {
                let mut args = [u64::MAX << 32; 6];
                args[at] |= flags;
                let stopped = verdict(&program, &call(abi, number, args)) == RETURN_USER_NOTIF;
                assert_eq!(stopped, stop, "{interest} {flags:o} {abi:?}");
            }
        }
    }
}

#[test]
fn quiet_opens_are_told_by_the_flags_of_each_architecture() {
    // `O_DIRECTORY` of the one is `O_DIRECT` of the other.
    let interest = "open:plain".parse().unwrap();
    let (x86, arm) = (
        compile_for(&X86, &interest, OURS, true),
        compile_for(&ARM, &interest, OURS, true),
    );
    for (flags, on_x86, on_arm) in [
        (0o200_000, false, true),
        (0o40_000, true, false),
        // With `O_NOCTTY`, what the one has for `O_LARGEFILE`, and the other for `O_NOFOLLOW`.
        (0o100_400, false, true),
        (0o400_400, true, false),
    ] {
        for (program, abi, number, at, stops) in [
            (&x86, Abi::X86_64, 257, 2, on_x86),
            (&x86, Abi::I386, 295, 2, on_x86),
            (&arm, Abi::Aarch64, 56, 2, on_arm),
            (&arm, Abi::Arm, 322, 2, on_arm),
            (&arm, Abi::Arm, 5, 1, on_arm),
        ] {
            let mut args = [0; 6];
            args[at] = flags;
            let stopped = verdict(program, &call(abi, number, args)) == RETURN_USER_NOTIF;
            assert_eq!(stopped, stops, "{flags:o} {abi:?} {number}");
        }
    }
}

#[test]
fn datagrams_stop_where_they_may_be_questions_and_in_quarantine() {
    let notified = |interest: &str, length: u64, address: u64| {
        let program = compile_for(&X86, &interest.parse().unwrap(), OURS, true);
        let number = rows().find(|row| row.name == "sendto");
        let number = number.unwrap().number(Abi::X86_64).unwrap();
        let data = call(Abi::X86_64, number, [3, 0x1000, length, 0, address, 16]);
        verdict(&program, &data) == RETURN_USER_NOTIF
    };
    let longest = u64::from(QUESTION_MAX);
    for (interest, length, address, expected) in [
        ("exec", 40, 0x7fff_0000_0000, false),
        ("dns", 40, 0, false),
        ("dns", 40, 0x7fff_0000_0000, true),
        ("dns", longest, 0x2000, true),
        ("dns", longest + 1, 0x2000, false),
        ("dns", 40 + (1 << 32), 0x2000, false),
        ("dns,quarantine", longest + 1, 0x2000, true),
        ("quarantine", 40, 0, false),
        ("imds", longest + 1, 0, true),
    ] {
        assert_eq!(
            notified(interest, length, address),
            expected,
            "{interest} {length} {address}"
        );
    }
}

#[test]
fn signals_stop_where_they_may_reach_us_or_are_asked_for() {
    let minus = |id: i32| u64::from(-id as u32);
    for (target, expected) in [
        (1, true),
        (7, true),
        (0, true),
        (minus(1), true),
        (minus(7), true),
        (9, false),
        (minus(9), false),
    ] {
        for name in ["kill", "tkill", "tgkill", "rt_sigqueueinfo"] {
            let row = rows().find(|row| row.name == name).unwrap();
            for abi in X86 {
                let data = call(abi, row.number(abi).unwrap(), [target, 15, 15, 0, 0, 0]);
                let stops = |interest: &str| {
                    let program = compile_for(&X86, &interest.parse().unwrap(), OURS, true);
                    verdict(&program, &data) == RETURN_USER_NOTIF
                };
                assert_eq!(stops("exec"), expected, "{name} {target:#x} {abi:?}");
                assert!(stops("signal"), "{name} {target:#x} {abi:?}");
            }
        }
    }
}

#[test]
fn lineage_and_safety_stay_whatever_the_interest() {
    let program = compile_for(&X86, &Interest::lineage(), OURS, true);
    for name in [
        "execve",
        "execveat",
        "exit_group",
        "kill",
        "process_vm_writev",
        "io_uring_setup",
        "connect",
        "setuid",
    ] {
        let row = rows().find(|row| row.name == name).unwrap();
        for abi in X86 {
            let data = call(abi, row.number(abi).unwrap(), [1; 6]);
            assert_eq!(
                verdict(&program, &data),
                RETURN_USER_NOTIF,
                "{name} {abi:?}"
            );
        }
    }
    // A limit of the caller's own is nobody's business then; another's may be ours.
    let own = call(Abi::X86_64, 302, [0, 7, 1, 0, 0, 0]);
    assert_eq!(verdict(&program, &own), RETURN_ALLOW);
    assert_eq!(
        verdict(&program, &call(Abi::X86_64, 302, [9, 0, 0, 0, 0, 0])),
        RETURN_USER_NOTIF
    );
}

#[test]
fn the_program_fits_the_kernel_and_finds_a_call_in_few_steps() {
    for (_, program) in all() {
        assert!(program.len() < 4096, "{}", program.len());
    }
}

/// What is asked of the filter in words, and what it does.
#[test]
fn opens_are_stopped_for_as_it_is_said_of_their_flags() {
    use picket_events::OpenInterest as O;
    for wanted in [O::None, O::Write, O::Plain, O::NoTerminal, O::All] {
        let mut interest = Interest::lineage();
        interest.insert_open(wanted);
        for abis in [X86.as_slice(), ARM.as_slice()] {
            let program = compile_for(abis, &interest, OURS, true);
            for &abi in abis {
                let Some(number) = rows()
                    .find(|row| row.name == "openat")
                    .and_then(|row| row.number(abi))
                else {
                    continue;
                };
                // Every flag by itself, and any two of them.
                for flags in (0..32 * 32).map(|both| 1u32 << (both / 32) | 1 << (both % 32)) {
                    for flags in [0, flags] {
                        let data = call(abi, number, [0, 0, u64::from(flags), 0, 0, 0]);
                        assert_eq!(
                            verdict(&program, &data) == RETURN_USER_NOTIF,
                            crate::table::stops_for_open(&interest, abi, flags),
                            "{wanted:?} {abi:?} {flags:o}"
                        );
                    }
                }
            }
        }
    }
}
