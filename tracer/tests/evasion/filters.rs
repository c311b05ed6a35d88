//! seccomp filters that a program gives itself.

use super::*;

/// A program with a filter ready in `program`, which does something about `mkdirat` and lets everything else run.
fn with_filter(action: &str, body: &str) -> String {
    format!(
        r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {{
    struct sock_filter code[] = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, {action}),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    struct sock_fprog program = {{sizeof code / sizeof *code, code}};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 1;
    {body}
    return 0;
}}"#
    )
}

/// Of several filters the strictest decides: what a program's own refuses never comes to ours, and
/// everything else does.
#[test]
fn a_program_with_a_filter_of_its_own_is_traced_on() {
    let program = with_filter(
        "SECCOMP_RET_ERRNO | EXDEV",
        r#"
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return 2;
    if (open("made", O_CREAT | O_WRONLY, 0600) < 0) return 3;
    if (mkdirat(AT_FDCWD, "refused", 0700) != -1 || errno != EXDEV) return 4;"#,
    );
    let (record, _) = run("own-filter", "open:write,mkdir", &program);
    assert_eq!(opened(&record, "made"), 1);
    assert_eq!(record.paths(EventType::Mkdir), [] as [&str; 0]);
}

/// What a filter has a program's own tracer asked about, the kernel asks ours about, and lets run. So
/// there is no such filter: a sandbox that is made with one does not stand open.
#[test]
fn a_filter_that_has_another_tracer_asked_is_refused() {
    let program = with_filter(
        "SECCOMP_RET_TRACE | 7",
        r#"
    int first = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) ? errno : 0;
    int second = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? errno : 0;
    printf("%d %d", first == EINVAL, second == EINVAL);
    // Where there is such a filter and nobody to be asked, the kernel says ENOSYS.
    if (first != EINVAL && !mkdirat(AT_FDCWD, "made", 0700)) printf(" made all the same");
    code[2].k = SECCOMP_RET_ERRNO | EXDEV;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 2;
    if (mkdirat(AT_FDCWD, "made", 0700) != -1 || errno != EXDEV) return 3;"#,
    );
    let (record, out) = run("asks-tracer", "prctl,mkdir", &program);
    assert_eq!(out, "1 1");
    let refused = record.of(EventType::Prctl).into_iter();
    let refused = refused.filter(|event| event.outcome == Outcome::Denied(22));
    assert_eq!(refused.count(), 2);
}
