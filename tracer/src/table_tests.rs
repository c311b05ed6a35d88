//! The table against itself, the documentation and the kernel's headers.

use super::*;

#[test]
fn no_number_is_given_twice_in_one_abi() {
    for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64, Abi::Arm] {
        let mut numbers: Vec<_> = rows().filter_map(|row| row.number(abi)).collect();
        numbers.sort_unstable();
        let before = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), before, "{abi:?}");
    }
}

#[test]
fn every_type_is_served() {
    let everything = Interest::everything();
    assert_eq!(served(&everything), everything);
    for text in [
        "exec,fork,exit,connect,open:plain",
        "exec,fork,exit,connect,open:noctty",
        "exec,fork,exit,mmap:write",
    ] {
        assert_eq!(super::served(&text.parse().unwrap()).to_string(), text);
    }
}

#[test]
fn every_call_is_documented() {
    let text = include_str!("../../docs/tracer.md").replace("\\*", "");
    let words: Vec<_> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .collect();
    for row in rows() {
        assert!(words.contains(&row.name), "{}", row.name);
    }
}

#[test]
fn abis_are_told_apart() {
    assert_eq!(
        Abi::of(0xc000_003e, 0x4000_0000 | 520),
        Some((Abi::X32, 520))
    );
    assert_eq!(Abi::of(0xc000_003e, 59), Some((Abi::X86_64, 59)));
    assert_eq!(Abi::of(0x4000_0003, 11), Some((Abi::I386, 11)));
    assert_eq!(Abi::of(0x4000_0028, 11), Some((Abi::Arm, 11)));
    assert_eq!(Abi::of(0, 11), None);
}

#[test]
fn arms_numbers_are_sorted_and_are_those_of_its_rows() {
    assert!(arm::NUMBERS.is_sorted());
    for row in rows() {
        // What a later kernel added has one number everywhere; what only one ABI ever had
        // (socketcall, and what EABI left out) ARM lacks.
        let number = row.number(Abi::Arm);
        if row.aarch64 >= 424 && row.aarch64 != NO {
            assert_eq!(number, Some(row.aarch64), "{}", row.name);
        }
        if let Some(number) = number {
            assert_eq!(find(Abi::Arm, number).map(|row| row.name), Some(row.name));
        } else {
            const LACKS: [&str; 6] = ["mmap", "old_mmap", "umount", "utime", "socketcall", "ipc"];
            assert!(LACKS.contains(&row.name), "{}", row.name);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn quiet_opens_are_this_kernels() {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_PATH;
    assert_eq!(Abi::NATIVE[0].quiet_opens(), flags as u32);
}

/// The kernel's headers for each ABI.
#[cfg(feature = "test-tools")]
const HEADERS: [(Abi, &str); 5] = [
    (Abi::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    (Abi::X32, "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h"),
    (Abi::I386, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
    (
        Abi::Aarch64,
        "/usr/aarch64-linux-gnu/include/asm-generic/unistd.h",
    ),
    (
        Abi::Arm,
        "/usr/arm-linux-gnueabihf/include/asm/unistd-eabi.h",
    ),
];

/// Numbers of a kernel header, by name.
#[cfg(feature = "test-tools")]
fn header(path: &str) -> std::collections::HashMap<String, u32> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("#define __NR")?;
            let rest = rest
                .strip_prefix("3264")
                .unwrap_or(rest)
                .strip_prefix('_')?;
            let (name, value) = rest.split_once(char::is_whitespace)?;
            let value = value.trim().trim_end_matches(')');
            let value = value.rsplit([' ', '+', '(']).next()?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Calls that have no row, by the reason for it.
#[cfg(feature = "test-tools")]
fn passed() -> Vec<(&'static str, Vec<&'static str>)> {
    let text = include_str!("table/passed.txt");
    let parts = text.split("\n\n").skip(1);
    let part = |part: &'static str| {
        let (reason, names) = part.split_once('\n').expect(part);
        (reason, names.split_whitespace().collect())
    };
    parts.map(part).collect()
}

/// Calls that are newer than the oldest headers that this is tested with (Linux 6.1).
#[cfg(feature = "test-tools")]
const NEWER: [&str; 21] = [
    "cachestat",
    "fchmodat2",
    "map_shadow_stack",
    "futex_wake",
    "futex_wait",
    "futex_requeue",
    "statmount",
    "listmount",
    "lsm_get_self_attr",
    "lsm_set_self_attr",
    "lsm_list_modules",
    "mseal",
    "setxattrat",
    "getxattrat",
    "listxattrat",
    "removexattrat",
    "open_tree_attr",
    "file_getattr",
    "file_setattr",
    "uretprobe",
    "uprobe",
];

#[cfg(feature = "test-tools")]
#[test]
fn every_call_of_the_kernel_has_a_row_or_a_reason_for_none() {
    let of_headers = HEADERS.into_iter().flat_map(|(_, path)| header(path));
    let mut all: Vec<String> = of_headers.map(|(name, _)| name).collect();
    all.extend(NEWER.map(str::to_owned));
    all.sort_unstable();
    all.dedup();
    let mut passed_over = Vec::new();
    for (reason, names) in passed() {
        let is_reason = ["harmless: ", "limit: "]
            .iter()
            .any(|kind| reason.starts_with(kind));
        assert!(is_reason && !names.is_empty(), "{reason}");
        passed_over.extend(names);
    }
    let is_row = |name: &str| rows().any(|row| row.name == name);
    for name in &all {
        let times = passed_over.iter().filter(|other| *other == name).count();
        assert_eq!(times, usize::from(!is_row(name)), "{name}");
    }
    for name in passed_over {
        assert!(all.iter().any(|other| other == name), "there is no {name}");
    }
}

#[cfg(feature = "test-tools")]
#[test]
fn numbers_are_those_of_the_kernels_headers() {
    for (abi, path) in HEADERS {
        let header = header(path);
        let mut compared = 0;
        for row in rows() {
            let number = row.number(abi);
            // i386's first mmap has its arguments in memory, and so a row of its own.
            let name = match (abi, row.name) {
                (Abi::I386, "old_mmap") => "mmap",
                (Abi::I386, "mmap") => "old_mmap",
                (_, name) => name,
            };
            // The generic header has these for 32-bit architectures only.
            let is_elsewhere = abi == Abi::Aarch64 && name.ends_with("_time64");
            match header.get(name).filter(|_| !is_elsewhere) {
                Some(expected) => {
                    assert_eq!(number, Some(*expected), "{} {abi:?}", row.name);
                    compared += 1;
                }
                // Newer than the header, or not there.
                None => assert!(
                    number.is_none_or(|number| number > 445),
                    "{} {abi:?}",
                    row.name
                ),
            }
        }
        assert!(compared > 60, "{compared} {abi:?}");
    }
}
