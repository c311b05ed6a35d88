//! What an exec leaves of the credentials of a process.

use std::collections::HashMap;

use picket_events::Credentials;

use super::*;

/// Ways to come to other credentials before an exec, or at it. Each child says what it has after it.
const CHANGES: &str = r#"
#define _GNU_SOURCE
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static gid_t groups[65536];
int main(void) {
    for (int i = 0; i < 18; i++) {
        int way = i / 2;
        // CLONE_NEWUSER without a stop: all capabilities, in a name space of its own.
        pid_t pid = syscall(SYS_clone, SIGCHLD | (way == 7 ? CLONE_NEWUSER : 0), 0, 0, 0, 0);
        if (pid == 0) {
            switch (way) {
            case 2: setresgid(5, 6, 7); setresuid(1000, 1001, 1002); break;
            case 3: setresuid(1000, 0, 1001); break;
            case 4: setresuid(0, 1000, 0); break;
            case 5: prctl(PR_CAPBSET_DROP, 21); break;
            case 6: prctl(PR_SET_SECUREBITS, 1); break; // SECBIT_NOROOT
            case 8: // As many groups as there can be, with numbers as long as can be.
                for (int at = 0; at < 65536; at++) groups[at] = 4000000000u + at;
                setgroups(65536, groups);
                break;
            }
            char *argv[] = {"cat", "/proc/self/status", 0};
            execv("/bin/cat", argv);
            _exit(1);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status) return 1;
    }
    return 0;
}"#;

/// The values of a line of `/proc/PID/status`.
fn values<'a>(status: &'a str, key: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().split_whitespace().collect()
}

#[test]
fn what_an_exec_leaves_of_credentials_is_told() {
    need_root();
    let scratch = Scratch::new("credentials");
    let program = build(&scratch, "changes", &[], CHANGES);
    let (record, out) = run(&scratch, &program);
    let mut told: HashMap<u32, Credentials> = HashMap::new();
    for message in &record.0 {
        let process = match message {
            ToAgent::Process(process) => process,
            ToAgent::Event(event) => match &event.kind {
                EventKind::Fork(process) => process,
                _ => continue,
            },
            _ => continue,
        };
        told.insert(process.pid, process.credentials.clone());
    }
    let statuses: Vec<_> = out.split("Name:").skip(1).collect();
    assert_eq!(statuses.len(), 18);
    for (at, status) in statuses.into_iter().enumerate() {
        let pid = values(status, "Pid:")[0].parse().unwrap();
        let is = &told[&pid];
        // In a user name space of its own it sees its ids as others.
        if at / 2 != 7 {
            let uids = [is.uid, is.euid, is.suid, is.fsuid].map(|id| id.to_string());
            let gids = [is.gid, is.egid, is.sgid, is.fsgid].map(|id| id.to_string());
            assert_eq!(uids[..], values(status, "Uid:"), "way {}", at / 2);
            assert_eq!(gids[..], values(status, "Gid:"), "way {}", at / 2);
        }
        let capabilities = [is.cap_permitted, is.cap_effective].map(|set| format!("{set:016x}"));
        let keys = ["CapPrm:", "CapEff:"].map(|key| values(status, key)[0]);
        assert_eq!(capabilities, keys, "way {}", at / 2);
    }
}
