//! File systems and memory that do not answer.

use super::*;

/// A file system that takes questions and gives no answers until it is killed.
struct Hanging {
    server: Child,
    at: String,
}

const SERVER: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
device = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={device},rootmode=40000,user_id=0,group_id=0'.encode()
if libc.mount(b'hanging', sys.argv[1].encode(), b'fuse', 0, options): raise OSError(ctypes.get_errno(), 'mount')
print('mounted', flush=True)
INIT, GETATTR, LOOKUP = 26, 3, 1
directory = struct.pack('<6Q10I', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
while True:
    length, operation, unique = struct.unpack('<IIQ', os.read(device, 1 << 20)[:16])
    if operation == LOOKUP: continue
    answer, error = {
        INIT: (struct.pack('<4I2H2I2H32x', 7, 31, 0, 0, 0, 0, 65536, 1, 0, 0), 0),
        GETATTR: (struct.pack('<QII', 3600, 0, 0) + directory, 0),
    }.get(operation, (b'', -38))
    os.write(device, struct.pack('<IiQ', 16 + len(answer), error, unique) + answer)
";

impl Hanging {
    fn mount(scratch: &Scratch) -> Self {
        need_root();
        let at = scratch.text("hanging");
        std::fs::create_dir(&at).unwrap();
        let mut command = Command::new("python3");
        command.args(["-I", "-S", "-c", SERVER, &at]);
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 8];
        std::io::Read::read_exact(&mut server.stdout.take().unwrap(), &mut said)
            .expect("a FUSE file system can be mounted (/dev/fuse)");
        Self { server, at }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Without its server it answers with errors, so that nobody waits any more.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("umount").args(["-l", &self.at]).status();
    }
}

/// Opens something else for as long as it is asked to. It executes nothing: an exec that a worker
/// watches while it comes to hang waits with it (record 34).
const OTHERS: &str = "
import os, subprocess, sys
hanging, enough, read, opens = *sys.argv[1:], 0
subprocess.Popen(['python3', '-I', '-S', '-c', '''
import os, sys, threading, time
# More and more of them wait: what was looked at when a worker hung is only counted.
while not os.path.exists(sys.argv[2]):
    path = f'{sys.argv[1]}/{time.monotonic()}'
    threading.Thread(target=lambda: os.open(path, os.O_WRONLY), daemon=True).start()
    time.sleep(0.3)
os._exit(0)
''', hanging, enough], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while not os.path.exists(enough):
    for _ in range(50): os.close(os.open(read, os.O_RDONLY))
    opens += 50
print(opens, flush=True)
os._exit(7)
";

/// Whoever waits for it cannot even be killed.
#[test]
fn a_file_system_that_hangs_holds_only_its_users_up() {
    let scratch = Scratch::new("hangs");
    let hanging = Hanging::mount(&scratch);
    let agent = Agent::start(&scratch);
    // Of the test's own: interpreters and their launchers read files of the system, too.
    let read = scratch.text("read");
    std::fs::write(&read, "").unwrap();
    let enough = scratch.text("enough");
    let words = [&hanging.at, &enough, &read].map(String::as_str);
    let command = [&["python3", "-I", "-S", "-c", OTHERS], &words[..]].concat();
    let mut child = start(traced(&agent, "exec,open", &command).stdout(Stdio::piped()));
    // Tracing goes on: also of those who use it, whose paths are told as they were written.
    let of_hanging = |event: &&Event| {
        let path = event.kind.file().map(|file| file.path.clone());
        path.is_some_and(|path| path.starts_with(&format!("{}/", hanging.at)))
    };
    let record = agent.until("an open on it, and others after that", |record| {
        let opens = record.of(EventType::Open);
        let at = opens.iter().position(&of_hanging);
        at.is_some_and(|at| opens.len() > at + 100)
    });
    let opens = record.of(EventType::Open).into_iter();
    assert!(
        opens
            .filter(of_hanging)
            .all(|event| event.outcome == Outcome::Unconfirmed)
    );
    let is_restart = |notice: &&Notice| matches!(notice, Notice::Restarted { signal: Some(9) });
    assert!(record.notices().iter().any(is_restart));
    std::fs::write(&enough, "").unwrap();
    // The file system still hangs, and who waits for it: that does not keep the others from ending.
    assert_eq!(wait(&mut child).code(), Some(7));
    let mut made = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut made).unwrap();
    drop(hanging);
    // What was let run before a worker hung is told, or counted.
    let record = agent.finish();
    let told = record.paths(EventType::Open).into_iter();
    let told = told.filter(|path| *path == read).count() as u64;
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    let made: u64 = made.trim().parse().unwrap();
    assert!(told + lost >= made, "{told} and {lost} of {made}");
    let mut by_type = record.lost().into_iter().flat_map(|lost| &lost.by_type);
    let is_counted = by_type.any(|(event, count)| *event == EventType::Open && *count > 0);
    assert!(is_counted, "{:?}", record.lost());
}

/// Gives a path that lies in memory which another thread has yet to fill in, and waits with that
/// until it may.
const UNFILLED: &str = "
import ctypes, fcntl, mmap, os, struct, subprocess, sys, threading, time
go, opened = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
USERFAULTFD, PAGE, API, REGISTER, COPY = 323, 4096, 0xc018aa3f, 0xc020aa00, 0xc028aa03
fd = libc.syscall(USERFAULTFD, 0)
if fd < 0: raise OSError(ctypes.get_errno(), 'userfaultfd')
fcntl.ioctl(fd, API, bytearray(struct.pack('<3Q', 0xaa, 0, 0)))
memory = mmap.mmap(-1, PAGE)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
fcntl.ioctl(fd, REGISTER, bytearray(struct.pack('<4Q', at, PAGE, 1, 0)))
def fill():
    while not os.path.exists(go): time.sleep(0.01)
    page = ctypes.create_string_buffer(opened.encode(), PAGE)
    fcntl.ioctl(fd, COPY, bytearray(struct.pack('<5Q', at, ctypes.addressof(page), PAGE, 0, 0)))
threading.Thread(target=fill).start()
O_CREAT_WRONLY = 0o101
if libc.openat(-100, ctypes.c_void_p(at), O_CREAT_WRONLY, 0o600) < 0: raise OSError(ctypes.get_errno(), 'open')
os.execv('/bin/echo', ['echo', 'after'])
";

/// What the tracer cannot read is told, as that.
#[test]
fn a_path_that_never_gets_there_is_told_as_unreadable() {
    need_root();
    let scratch = Scratch::new("unfilled");
    let agent = Agent::start(&scratch);
    let (go, opened) = (scratch.text("go"), scratch.text("opened"));
    let command = ["python3", "-I", "-S", "-c", UNFILLED, &go, &opened];
    let mut run = traced(&agent, "exec,open:write", &command);
    let mut child = start(run.stdout(Stdio::null()));
    agent.until("the open", |record| {
        record.of(EventType::Open).iter().any(|event| {
            matches!(&event.kind, EventKind::Open { file, .. }
                if file.fault == Some(picket_events::file::FileFault::Unreadable))
        })
    });
    std::fs::write(&go, "").unwrap();
    assert!(wait(&mut child).success());
    assert!(std::path::Path::new(&opened).exists());
    // A new program is read again.
    assert_eq!(agent.finish().exec("echo").1.argv, ["echo", "after"]);
}

/// There is always another worker, if not at once.
#[test]
fn killing_workers_one_after_the_other_does_not_end_tracing() {
    let scratch = Scratch::new("killed");
    let agent = Agent::start(&scratch);
    let enough = scratch.text("enough");
    let program = "
import os, sys
while not os.path.exists(sys.argv[1]):
    if os.spawnv(os.P_WAIT, '/bin/true', ['true']) != 0: raise SystemExit('a program failed')
os._exit(7)
";
    let command = ["python3", "-I", "-S", "-c", program, &enough];
    let mut child = start(&mut traced(&agent, "exec", &command));
    agent.until("the program", |record| record.images().len() > 1);
    let mut killed = std::collections::HashSet::new();
    while killed.len() < 22 {
        let new = worker_of(child.id()).filter(|worker| !killed.contains(worker));
        if let Some(worker) = new {
            let kill = Command::new("/bin/kill")
                .args(["-KILL", &worker.to_string()])
                .status();
            assert!(kill.unwrap().success());
            killed.insert(worker);
        }
        assert!(child.try_wait().unwrap().is_none(), "the program goes on");
    }
    let generation = killed.len() as u32;
    agent.until("what is done after the last", |_| {
        let last = agent.heard().pop().unwrap_or_default();
        let is_last = last
            .hello
            .is_some_and(|hello| hello.generation >= generation);
        is_last && Record(last.messages).of(EventType::Exec).len() > 1
    });
    std::fs::write(&enough, "").unwrap();
    assert_eq!(wait(&mut child).code(), Some(7));
}
