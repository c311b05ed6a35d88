//! Another thread rewrites what a call was given, while the call is under way.

use super::*;

/// A second thread swaps the arguments while the program is executed.
#[test]
fn an_exec_is_told_with_the_arguments_that_the_kernel_took() {
    let (record, out) = run(
        "swap-argv",
        "exec",
        r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char word[8] = "aaaa";
static void *swap(void *unused) { for (;;) { memset(word, 'a', 4); memset(word, 'b', 4); } return 0; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 12; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread;
            pthread_create(&thread, 0, swap, 0);
            char *argv[] = {"/bin/echo", word, 0};
            execv(argv[0], argv);
            _exit(1);
        }
        waitpid(pid, 0, 0);
    }
    return 0;
}"#,
    );
    let told = record
        .images()
        .into_iter()
        .filter(|(_, image)| image.argv.len() == 2);
    let told: Vec<_> = told.map(|(_, image)| image.argv[1].as_str()).collect();
    assert_eq!(told, out.lines().collect::<Vec<_>>());
}

/// A second thread swaps the address while the connection is made.
#[test]
fn a_connect_is_told_with_the_address_that_the_kernel_took() {
    let (record, out) = run(
        "swap-address",
        "connect",
        r#"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static struct sockaddr_in to = {.sin_family = AF_INET};
static void *swap(void *unused) {
    for (;;) { *(volatile unsigned short *)&to.sin_port = htons(1001); *(volatile unsigned short *)&to.sin_port = htons(1002); }
    return 0;
}
int main(void) {
    pthread_t thread;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(1001);
    pthread_create(&thread, 0, swap, 0);
    int seen[2] = {0, 0};
    time_t end = time(0) + 6;
    static int kept[64];
    for (int i = 0; i < 40 || (time(0) < end && !(seen[0] && seen[1])); i++) {
        // Open for as long as a look may take.
        if (kept[i % 64]) close(kept[i % 64]);
        int fd = kept[i % 64] = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 1;
        struct sockaddr_in peer; socklen_t length = sizeof peer;
        getpeername(fd, (struct sockaddr *)&peer, &length);
        printf("%d\n", ntohs(peer.sin_port));
        seen[ntohs(peer.sin_port) == 1002] = 1;
    }
    fflush(stdout);
    _exit(0);
}"#,
    );
    let events = record.of(EventType::Connect);
    let real: Vec<u16> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(events.len(), real.len());
    for (event, real) in events.iter().zip(&real) {
        let EventKind::Connect {
            address: Address::Ip { port, .. },
            ..
        } = &event.kind
        else {
            panic!("{event:?}")
        };
        assert!(
            port == real || event.outcome == Outcome::Unconfirmed,
            "{event:?}: {real}"
        );
    }
    let seen = events.iter().filter(|event| is_seen(event.outcome));
    assert!(
        2 * seen.count() >= real.len(),
        "the sockets stay open: most can be looked at"
    );
    assert!(
        real.contains(&1001) && real.contains(&1002),
        "the race was run: {real:?}"
    );
}

/// The same with the path of a Unix socket.
#[test]
fn a_connect_to_a_path_that_is_swapped_is_told_truly_or_as_unconfirmed() {
    let (record, out) = run(
        "swap-socket",
        "connect",
        r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
static struct sockaddr_un to = {.sun_family = AF_UNIX};
static volatile char *last;
static void *swap(void *unused) { for (;;) { *last = 'a'; *last = 'b'; } return 0; }
int main(void) {
    char here[64];
    if (!getcwd(here, sizeof here)) return 1;
    sprintf(to.sun_path, "%s/socket-a", here);
    last = to.sun_path + strlen(to.sun_path) - 1;
    for (int i = 0; i < 2; i++) {
        *last = "ab"[i];
        if (bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&to, sizeof to)) return 2;
    }
    pthread_t thread;
    pthread_create(&thread, 0, swap, 0);
    int seen[2] = {0, 0};
    static int kept[64];
    time_t end = time(0) + 6;
    for (int i = 0; i < 40 || (time(0) < end && !(seen[0] && seen[1])); i++) {
        if (kept[i % 64]) close(kept[i % 64]);
        int fd = kept[i % 64] = socket(AF_UNIX, SOCK_DGRAM, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 3;
        struct sockaddr_un peer; socklen_t length = sizeof peer;
        getpeername(fd, (struct sockaddr *)&peer, &length);
        puts(peer.sun_path);
        seen[peer.sun_path[strlen(peer.sun_path) - 1] == 'b'] = 1;
    }
    fflush(stdout);
    _exit(0);
}"#,
    );
    let events = record.of(EventType::Connect);
    let real: Vec<&str> = out.lines().collect();
    assert_eq!(events.len(), real.len());
    for (event, real) in events.iter().zip(&real) {
        let EventKind::Connect {
            address: Address::UnixPath(path),
            ..
        } = &event.kind
        else {
            panic!("{event:?}")
        };
        assert!(
            path == real || event.outcome == Outcome::Unconfirmed,
            "{event:?}: {real}"
        );
    }
    for end in ["socket-a", "socket-b"] {
        assert!(
            real.iter().any(|real| real.ends_with(end)),
            "the race was run: {real:?}"
        );
    }
}

/// A second thread swaps the path while a file is opened: what is told as done was done.
#[test]
fn an_open_that_may_have_been_another_is_not_said_to_be_seen() {
    let (record, out) = run(
        "swap-path",
        "open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static char path[8] = "file-a";
static void *swap(void *unused) { for (;;) { *(volatile char *)(path + 5) = 'a'; *(volatile char *)(path + 5) = 'b'; } return 0; }
int main(void) {
    // Both are there, and open.
    if (open("file-a", O_CREAT | O_RDWR, 0600) < 0 || open("file-b", O_CREAT | O_RDWR, 0600) < 0) return 1;
    pthread_t thread;
    pthread_create(&thread, 0, swap, 0);
    int seen[2] = {0, 0};
    time_t end = time(0) + 6;
    for (int i = 0; i < 60 || (time(0) < end && !(seen[0] && seen[1])); i++) {
        char link[32], target[256] = "";
        int fd = open(path, O_RDWR);
        sprintf(link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) < 0) return 1;
        puts(strrchr(target, '/') + 1);
        seen[strrchr(target, '/')[6] == 'b'] = 1;
        close(fd);
    }
    fflush(stdout);
    _exit(0);
}"#,
    );
    let opens: Vec<_> = record
        .of(EventType::Open)
        .into_iter()
        .filter(|event| event.kind.file().unwrap().name.starts_with("file-"))
        .skip(2)
        .collect();
    let real: Vec<_> = out.lines().collect();
    assert_eq!(opens.len(), real.len());
    for (event, real) in opens.iter().zip(&real) {
        let name = &event.kind.file().unwrap().name;
        assert!(
            name == real || event.outcome == Outcome::Unconfirmed,
            "{event:?}: {real}"
        );
    }
    assert!(
        real.contains(&"file-a") && real.contains(&"file-b"),
        "the race was run"
    );
}

/// A second thread swaps the path while a file is removed: that something was tried is told.
#[test]
fn a_removal_of_something_else_is_not_passed_over() {
    let (record, _) = run(
        "swap-removal",
        "unlink",
        r#"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static char path[8] = "file-a";
static void *swap(void *unused) { for (;;) { *(volatile char *)(path + 5) = 'a'; *(volatile char *)(path + 5) = 'b'; } return 0; }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, swap, 0);
    for (int i = 0; i < 30; i++) {
        close(open("file-a", O_CREAT | O_RDWR, 0600));
        close(open("file-b", O_CREAT | O_RDWR, 0600));
        if (unlink(path)) return 1;
    }
    _exit(0);
}"#,
    );
    assert_eq!(record.of(EventType::Unlink).len(), 30);
}

/// A thread's own descriptors are those that its calls are about, not the ones that its process's first
/// thread has by the same numbers.
#[test]
fn a_connect_by_a_thread_with_descriptors_of_its_own_is_told_with_where_it_went() {
    let (record, out) = run(
        "own-descriptors",
        "connect",
        r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
enum { NUMBER = 50 };
static pthread_barrier_t both;
static volatile int goes;
static struct sockaddr_in at(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}
static void *thread(void *unused) {
    struct sockaddr_in to = at(1002);
    if (unshare(CLONE_FILES)) _exit(1);
    for (int i = 1; i <= 20; i++) {
        dup2(socket(AF_INET, SOCK_DGRAM, 0), NUMBER + i);
        pthread_barrier_wait(&both);
        goes = i;
        if (connect(NUMBER + i, (struct sockaddr *)&to, sizeof to)) _exit(2);
        pthread_barrier_wait(&both);
    }
    return 0;
}
int main(void) {
    struct sockaddr_in to = at(1001);
    pthread_t other;
    pthread_barrier_init(&both, 0, 2);
    pthread_create(&other, 0, thread, 0);
    for (int i = 1; i <= 20; i++) {
        dup2(socket(AF_INET, SOCK_DGRAM, 0), NUMBER + i);
        pthread_barrier_wait(&both);
        while (goes != i) {}
        if (connect(NUMBER + i, (struct sockaddr *)&to, sizeof to)) _exit(3);
        pthread_barrier_wait(&both);
    }
    pthread_join(other, 0);
    puts("done");
    fflush(stdout);
    _exit(0);
}"#,
    );
    assert_eq!(out, "done\n");
    let events = record.of(EventType::Connect);
    let of = |wanted: u16| {
        let to = events.iter().filter(move |event| match &event.kind {
            EventKind::Connect {
                address: Address::Ip { port, .. },
                ..
            } => *port == wanted,
            _ => false,
        });
        to.map(|event| is_seen(event.outcome)).collect::<Vec<_>>()
    };
    assert_eq!((of(1001).len(), of(1002).len()), (20, 20));
    let seen = of(1002).into_iter().filter(|is_seen| *is_seen).count();
    // Threads have pidfds since Linux 6.9; before, what they have apart cannot be looked at.
    match kernel_is_from(6, 9) {
        true => assert!(seen >= 10, "the sockets stay open: most can be looked at"),
        false => assert_eq!(seen, 0),
    }
}
