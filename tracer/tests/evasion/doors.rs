//! Doors of the kernel by which what the table has rows for can be had in another way.

use super::*;

/// A pidfd need not be one: a process's folder in `/proc` serves the kernel as well.
#[test]
fn signals_by_a_process_s_folder_are_told_and_ours_is_out_of_reach() {
    let scratch = Scratch::new(&format!("folder-{}", engine()));
    let agent = Agent::start(&scratch);
    let program = "
import ctypes, os, signal
worker = os.getppid()
keeper = int(open(f'/proc/{worker}/stat').read().rsplit(') ')[1].split()[1])
os.mkdir('proc')
for aim in (worker, keeper):
    for way in (f'/proc/{aim}', f'/proc/self/../{aim}', f'/proc/{aim}/task/../'):
        folder = os.open(way, os.O_RDONLY)
        try: signal.pidfd_send_signal(folder, signal.SIGKILL)
        except PermissionError: continue
        raise SystemExit('not refused')
child = os.fork()
if child == 0:
    while True: signal.pause()
signal.pidfd_send_signal(os.open(f'/proc/{child}', os.O_RDONLY), signal.SIGTERM)
assert os.waitpid(child, 0)[1] == signal.SIGTERM
# PIDFD_SELF_THREAD_GROUP, where there is that
ctypes.CDLL(None).syscall(424, -20000, signal.SIGWINCH, None, 0)
print(child, os.getpid())
";
    let command = traced(&agent, "exec,signal", &["python3", "-c", program]);
    let (record, out) = finished(&scratch, &agent, command);
    assert_eq!(record.notices().len(), 6, "{:?}", record.notices());
    let sent: Vec<String> = record
        .of(EventType::Signal)
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Signal { signal: 15, target } => Some(target.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(
        sent,
        [out.split(' ').next().unwrap()],
        "{:#?}",
        record.of(EventType::Signal)
    );
}

/// TCP connects with the first data that is sent, without `connect`.
#[test]
fn connects_by_what_is_sent_are_told() {
    let (record, out) = run(
        "fastopen",
        "connect",
        r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in to = {.sin_family = AF_INET}; socklen_t length = sizeof to;
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (void *)&to, sizeof to) || listen(server, 5)) return 1;
    getsockname(server, (void *)&to, &length);
    struct iovec data = {"hello", 5};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &data, .msg_iovlen = 1};
    struct mmsghdr many = {.msg_hdr = message};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (sendto(s, "hello", 5, MSG_FASTOPEN, (void *)&to, sizeof to) != 5) return 2;
    if (send(s, "again", 5, 0) != 5) return 3;
    if (sendmsg(socket(AF_INET, SOCK_STREAM, 0), &message, MSG_FASTOPEN) != 5) return 4;
    if (sendmmsg(socket(AF_INET, SOCK_STREAM, 0), &many, 1, MSG_FASTOPEN) != 1) return 5;
    // A datagram connects nothing, whatever it says.
    if (sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, MSG_FASTOPEN, (void *)&to, sizeof to) != 1) return 6;
    printf("127.0.0.1:%d", ntohs(to.sin_port));
    return 0;
}"#,
    );
    let connects = record.of(EventType::Connect);
    let told: Vec<_> = connects
        .iter()
        .map(|event| match &event.kind {
            EventKind::Connect {
                address: Address::Ip { ip, port },
                ..
            } => (format!("{ip}:{port}"), is_told_as_sent(event.outcome)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, vec![(out, true); 3]);
}

/// It was seen that the socket has the peer; under ptrace, that so many bytes or messages were sent.
fn is_told_as_sent(outcome: Outcome) -> bool {
    match engine() {
        "ptrace" => matches!(outcome, Outcome::Returned(1 | 5)),
        _ => outcome == Outcome::Succeeded,
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn memory_that_comes_to_be_executable_without_being_asked_for_is_told() {
    let (record, _) = run(
        "implied",
        "mmap:write,mprotect",
        r#"
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>
static int runs(void *at) { memcpy(at, "\xb8\x07\x00\x00\x00\xc3", 6); return ((int (*)(void))at)() == 7; }
int main(void) {
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0700);
    void *at = shmat(id, 0, SHM_EXEC);
    if (at == (void *)-1 || !runs(at)) return 1;
    shmctl(id, IPC_RMID, 0);
    personality(0xffffffff);
    if (personality(READ_IMPLIES_EXEC) == -1) return 2;
    at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return !runs(at);
}"#,
    );
    let kinds = |wanted| -> Vec<_> {
        let of = record.of(wanted);
        of.into_iter().map(|event| event.kind.clone()).collect()
    };
    let attached = EventKind::Mmap {
        file: picket_events::File::default(),
        protection: 7,
        flags: 1,
    };
    assert_eq!(kinds(EventType::Mmap), [attached]);
    let implied = EventKind::Mprotect {
        before: 3,
        requested: 7,
    };
    // The loader makes no code writable, and so tells of none.
    assert_eq!(kinds(EventType::Mprotect), [implied]);
}

/// A file can be made without being opened.
#[test]
fn files_that_are_made_and_not_opened_are_told() {
    let (record, _) = run(
        "made",
        "open:plain",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
int main(void) {
    umask(0);
    if (mknod("empty", S_IFREG | 0644, 0) || mknodat(AT_FDCWD, "fifo", S_IFIFO | 0600, 0)) return 1;
    return mknod("empty", S_IFREG | 0644, 0) == 0;
}"#,
    );
    let made = record.of(EventType::Open).into_iter();
    let made: Vec<_> = made
        .filter_map(|event| match &event.kind {
            EventKind::Open { file, flags, mode } if *flags == 0o300 => {
                assert!(is_seen(event.outcome), "{event:?}");
                Some((&*file.name, *mode, file.mode))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        made,
        [
            ("empty", 0o100_644, 0o100_644),
            ("fifo", 0o10_600, 0o10_600)
        ]
    );
}

/// As a reverse shell may have it: a number is freed, and what comes next gets it.
#[test]
fn duplicates_that_become_standard_input_and_output_are_told() {
    let (record, _) = run(
        "duplicates",
        "dup",
        r#"
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (dup(s) < 3 || fcntl(s, F_DUPFD, 0) < 3 || fcntl(s, F_DUPFD_CLOEXEC, 10) < 10) return 1;
    close(0); if (dup(s) != 0) return 2;
    close(1); if (fcntl(s, F_DUPFD, 0) != 1) return 3;
    close(2); return fcntl(s, F_DUPFD_CLOEXEC, 1) != 2;
}"#,
    );
    let told = record.of(EventType::Dup).into_iter();
    let told: Vec<_> = told.map(|event| event.kind.clone()).collect();
    let become_ = |descriptor| EventKind::Dup {
        descriptor,
        is_socket: true,
        peer: None,
    };
    assert_eq!(told, [0, 1, 2].map(become_));
}

/// `AT_EXECVE_CHECK` (Linux 6.14) asks whether a program could be executed, and executes none.
#[test]
fn a_question_whether_a_program_may_be_executed_is_not_told_as_an_exec() {
    let (record, _) = run(
        "asked-for",
        "exec,open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    char *asked[] = {"asked", "x", 0}, *real[] = {"real", "y", 0};
    for (int i = 0; i < 5; i++) {
        syscall(SYS_execveat, AT_FDCWD, "/bin/true", asked, 0, 0x10000);
        close(open("made", O_WRONLY | O_CREAT, 0600));
    }
    execv("/bin/true", real);
    return 1;
}"#,
    );
    // A kernel that lacks it refuses it.
    let told = record.images().into_iter();
    let told: Vec<_> = told.map(|(_, image)| image.argv.concat()).collect();
    assert!(
        told[0].ends_with("/program") && told[1..] == ["realy"],
        "{told:?}"
    );
    assert_eq!(opened(&record, "made"), 5);
}
