//! Mounts, by the old calls and by the new.

use super::*;

/// `(source, mountpoint, fs_type, seen)` of each mount.
fn mounts(record: &Record) -> Vec<(String, String, String, bool)> {
    let told = record.of(EventType::Mount);
    told.iter()
        .map(|event| match &event.kind {
            EventKind::Mount {
                source,
                mountpoint,
                fs_type,
            } => (
                source.clone(),
                mountpoint.clone(),
                fs_type.clone(),
                is_seen(event.outcome),
            ),
            _ => unreachable!(),
        })
        .collect()
}

fn told(source: &str, mountpoint: &str, fs_type: &str) -> (String, String, String, bool) {
    let text = str::to_owned;
    (text(source), text(mountpoint), text(fs_type), true)
}

/// In a mount name space of its own.
fn run_apart(name: &str, program: &str) -> (Record, Scratch) {
    need_root();
    let scratch = Scratch::new(name);
    let agent = Agent::start(&scratch);
    let path = scratch.script("mounts.py", program);
    for folder in ["from", "a b", "to"] {
        std::fs::create_dir(scratch.path(folder)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    let attributes = match kernel_is_from(5, 12) {
        true => "with-attributes",
        false => "without",
    };
    let inner = traced(
        &agent,
        "mount,umount,open:write",
        &["python3", &path, &scratch.text(""), attributes],
    );
    command.arg(inner.get_program()).args(inner.get_args());
    let output = output(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    (agent.finish(), scratch)
}

#[test]
fn mounts_are_seen_where_they_appear() {
    const PROGRAM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
def check(result): assert result == 0, os.strerror(ctypes.get_errno())
check(libc.mount(b'one', b'a b', b'tmpfs', 0, None))
check(libc.mount(b'from', b'to', None, 0x1000, None))
check(libc.umount2(b'to', 0))
assert libc.mount(b'two', b'to', b'no-such-type', 0, None) == -1
";
    let (record, scratch) = run_apart("mounts", PROGRAM);
    let mut expected = vec![
        told("one", &scratch.text("a b"), "tmpfs"),
        told("from", &scratch.text("to"), "bind"),
    ];
    if engine() == "notification" {
        // A failure cannot be told from a success that does not show; an attempt is worth
        // telling.
        let (source, at, kind, _) = told("two", &scratch.text("to"), "no-such-type");
        expected.push((source, at, kind, false));
    }
    assert_eq!(mounts(&record), expected);
    let umounts = record.of(EventType::Umount);
    assert!(
        umounts.len() == 1 && is_seen(umounts[0].outcome),
        "{umounts:?}"
    );
}

/// What shows nowhere: told as an attempt, but by the engine that knows what calls return.
fn loose(source: &str, at: &str) -> (String, String, String, bool) {
    let (source, at, kind, _) = told(source, at, "");
    (source, at, kind, engine() == "ptrace")
}

#[test]
fn mounts_by_descriptors_are_seen_before_and_when_they_are_attached() {
    const PROGRAM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
def call(*args):
    result = libc.syscall(*args)
    assert result >= 0, (args, os.strerror(ctypes.get_errno()))
    return result
AT_FDCWD, CREATE, CLONE, EMPTY = -100, 6, 1, 4
context = call(430, b'tmpfs', 0)
call(431, context, 1, b'source', b'made-of', 0)
call(431, context, 1, b'size', b'1M', 0)
call(431, context, CREATE, None, None, 0)
mount = call(432, context, 0, 0)
os.close(os.open('made', os.O_CREAT | os.O_WRONLY, dir_fd=mount))
call(429, mount, b'', AT_FDCWD, b'a b', EMPTY)
tree = call(428, AT_FDCWD, b'from', CLONE)
call(429, tree, b'', AT_FDCWD, b'to', EMPTY)
READ_ONLY = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
if sys.argv[2] == 'with-attributes': call(442, AT_FDCWD, b'to', 0, READ_ONLY, 32)
call(433, AT_FDCWD, b'a b', 0)
";
    let (record, scratch) = run_apart("detached", PROGRAM);
    let mut expected = vec![
        loose("made-of", ""),
        told("", "", "tmpfs"),
        told("", &scratch.text("a b"), "tmpfs"),
        told(&scratch.text("from"), "", "bind"),
        mounts(&record)[4].clone(),
        loose("", &scratch.text("to")),
        loose("", &scratch.text("a b")),
    ];
    if !kernel_is_from(5, 12) {
        println!("this kernel has no mount_setattr");
        expected.remove(5);
    }
    assert_eq!(mounts(&record), expected);
    let (source, at, kind, seen) = mounts(&record)[4].clone();
    assert_eq!((source.as_str(), at), ("", scratch.text("to")));
    assert!(!kind.is_empty() && seen);
    assert_eq!(opened(&record, "made"), 1);
}

/// A file has the name by which it was opened: rules see both only where they are about both.
#[test]
fn a_file_below_a_bind_mount_is_told_by_its_name_there() {
    const PROGRAM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
assert libc.mount(b'from', b'to', None, 0x1000, None) == 0
os.open('from/made', os.O_CREAT | os.O_WRONLY)
os.open('to/made', os.O_WRONLY)
";
    let (record, scratch) = run_apart("bound", PROGRAM);
    let file = |path: &str| {
        let event = record.about(EventType::Open, &scratch.text(path));
        event.kind.file().unwrap().clone()
    };
    let (from, to) = (file("from/made"), file("to/made"));
    assert_eq!((from.inode, from.device), (to.inode, to.device));
}

/// A mount's id is given anew once it is gone: what was known of it does not serve for the next.
#[test]
fn a_file_system_under_the_id_of_one_that_is_gone_is_told_by_its_own_type() {
    const PROGRAM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
def check(result): assert result == 0, os.strerror(ctypes.get_errno())
types_by_id = {}
def one(kind, name):
    check(libc.mount(b'one', b'to', kind.encode(), 0, None))
    number = open('/proc/self/mountinfo').read().splitlines()[-1].split()[0]
    types_by_id.setdefault(number, set()).add(kind)
    os.close(os.open('to/' + name, os.O_WRONLY | os.O_CREAT))
    check(libc.umount2(b'to', 0))
for number in range(200):
    one('tmpfs', f'tmpfs-{number}'); one('ramfs', f'ramfs-{number}')
    if number > 20 and any(len(types) > 1 for types in types_by_id.values()): sys.exit(0)
sys.exit('no id was given twice')
";
    let (record, scratch) = run_apart("mount-ids", PROGRAM);
    let below = scratch.text("to/");
    let mut told = 0;
    for event in record.of(EventType::Open) {
        let file = event.kind.file().unwrap();
        if let Some(name) = file.path.strip_prefix(&below) {
            let (kind, _) = name.split_once('-').unwrap();
            assert_eq!(file.filesystem, kind, "{event:?}");
            told += 1;
        }
    }
    assert!(told > 40, "{told}");
}

/// However many there are, the next is seen; who can make a user name space of its own can make them.
#[test]
fn a_mount_on_top_of_very_many_is_seen() {
    const PROGRAM: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
def check(result): assert result == 0, os.strerror(ctypes.get_errno())
check(libc.unshare(0x20000))
for _ in range(1000): check(libc.mount(b'from', b'to', None, 0x1000, None))
for _ in range(1000): check(libc.umount2(b'to', 0))
";
    let (record, scratch) = run_apart("many-mounts", PROGRAM);
    let expected = vec![told("from", &scratch.text("to"), "bind"); 1000];
    assert_eq!(mounts(&record), expected);
    let umounts = record.of(EventType::Umount);
    assert_eq!(umounts.len(), 1000);
    assert!(umounts.iter().all(|event| is_seen(event.outcome)));
}
