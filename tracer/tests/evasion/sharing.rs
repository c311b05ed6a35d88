//! Processes that share memory without being threads of each other.

use super::*;

/// One process swaps the path while another opens it: how many there were is told, and by the ptrace
/// engine which. By notifications, which it was is the limit that `docs/threat-model.md` states.
#[test]
fn opens_whose_path_another_process_swaps_are_all_told() {
    let (record, out) = run(
        "shared-path",
        "open:write",
        r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static char path[8] = "file-a";
static volatile int is_done;
static int swap(void *unused) {
    while (!is_done) { *(volatile char *)(path + 5) = 'a'; *(volatile char *)(path + 5) = 'b'; }
    _exit(0);
}
int main(void) {
    close(open("file-a", O_CREAT | O_RDWR, 0600));
    close(open("file-b", O_CREAT | O_RDWR, 0600));
    int pid = clone(swap, malloc(65536) + 65536, CLONE_VM | SIGCHLD, 0);
    for (int i = 0; i < 60; i++) {
        char link[32], target[256] = "";
        int fd = open(path, O_RDWR);
        sprintf(link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) < 0) return 1;
        puts(target);
        close(fd);
    }
    is_done = 1;
    waitpid(pid, 0, 0);
    return 0;
}"#,
    );
    let opens = record.of(EventType::Open);
    let told: Vec<_> = opens
        .iter()
        .map(|event| event.kind.file().unwrap())
        .filter(|file| file.name.starts_with("file-"))
        .map(|file| file.path.as_str())
        .skip(2)
        .collect();
    let real: Vec<_> = out.lines().collect();
    assert_eq!(told.len(), real.len());
    if engine() == "ptrace" {
        assert_eq!(told, real);
    }
}

/// A child of vfork runs on its parent's memory and leaves another path there: what the parent does
/// next is told as the parent's own.
#[test]
fn what_a_vfork_child_writes_to_its_parents_memory_is_what_the_parent_opens() {
    let (record, _) = run(
        "vfork-writes",
        "open:write",
        r#"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
static char path[16] = "by-parent";
int main(void) {
    for (int i = 0; i < 20; i++) {
        strcpy(path, "by-parent");
        pid_t pid = vfork();
        if (pid == 0) { strcpy(path, "by-child"); _exit(0); }
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    return 0;
}"#,
    );
    assert_eq!(opened(&record, "by-child"), 20);
    assert_eq!(opened(&record, "by-parent"), 0);
}
