//! Changes of which the kernel makes something else than what was asked for.

use super::*;

/// Who is not of a file's group cannot have its programs run as that: the kernel leaves this bit out, and
/// sets the others.
#[test]
fn a_mode_of_which_the_kernel_leaves_a_bit_out_is_told() {
    need_root();
    let record = record("left-out", "chmod", |scratch| {
        let program = scratch.script(
            "program",
            "
import os, sys, time
file = sys.argv[1]
os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)); os.chown(file, 4242, 0)
os.setgroups([]); os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)
time.sleep(0.1)
os.chmod(file, 0o2777)
assert os.stat(file).st_mode & 0o7777 == 0o777
",
        );
        format!("python3 -I -S -B {program} {}", scratch.text("file"))
    });
    let event = record.of(EventType::Chmod)[0];
    assert!(
        matches!(event.kind, EventKind::Chmod { mode: 0o2777, .. }),
        "{event:?}"
    );
}

/// In a user name space of its own a program has other numbers for users and groups.
#[test]
fn an_owner_is_told_by_the_number_that_it_has_here() {
    need_root();
    let record = record("mapped", "chown", |scratch| {
        let program = scratch.script(
            "program",
            "
import ctypes, os, sys, time
file = sys.argv[1]
libc = ctypes.CDLL(None)
is_apart, to_tell = os.pipe(); goes_on, to_go = os.pipe()
os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600)); os.chown(file, 100000, 100000)
child = os.fork()
if child == 0:
    os.setgroups([]); os.setresgid(100000, 100000, 100000); os.setresuid(100000, 100000, 100000)
    libc.prctl(4, 1, 0, 0, 0)
    assert libc.unshare(0x10000000) == 0
    os.write(to_tell, b'x'); os.read(goes_on, 1)
    time.sleep(0.1)
    os.chown(file, 7, 8)
    os._exit(0)
os.read(is_apart, 1)
for map in ['uid_map', 'gid_map']:
    with open(f'/proc/{child}/{map}', 'w') as file_of: file_of.write('0 100000 1000')
os.write(to_go, b'x')
assert os.waitpid(child, 0)[1] == 0
assert (os.stat(file).st_uid, os.stat(file).st_gid) == (100007, 100008)
",
        );
        format!("python3 -I -S -B {program} {}", scratch.text("file"))
    });
    let events = record.of(EventType::Chown);
    let [_, event] = *events else {
        panic!("{events:?}")
    };
    assert!(
        matches!(
            event.kind,
            EventKind::Chown {
                uid: Some(100_007),
                gid: Some(100_008),
                ..
            }
        ),
        "{event:?}"
    );
    assert!(is_seen(event.outcome), "{event:?}");
}
