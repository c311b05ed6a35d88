//! Programs that see to it that they are not met where they would be.

use super::*;

/// A filter of the program's own answers `set_tid_address`, so that ours does not stop for it; what it
/// runs then writes over its arguments.
const FILTERS: &str = r#"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **arguments) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_set_tid_address, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, code};
    char *harmless[] = {"perl", "-e", "1", 0};
    char *evil[] = {"perl", "-e", "$0 = 'perl harmless words only'; select undef, undef, undef, 0.2", "evil", 0};
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) { execv("/usr/bin/perl", harmless); _exit(1); }
        wait(0);
    }
    // By prctl, by seccomp, and by the parent of who executes.
    for (int i = 0; i < 3; i++) {
        if (i == 2 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 2;
        if (fork() == 0) {
            if (i == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) _exit(2);
            if (i == 1 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter)) _exit(2);
            execv("/usr/bin/perl", evil);
            _exit(1);
        }
        int status;
        wait(&status);
        if (status) return 1;
    }
    return 0;
}"#;

#[test]
fn a_filter_of_its_own_hides_no_arguments() {
    let scratch = Scratch::new("filtered");
    let program = build(&scratch, "filters", &[], FILTERS);
    let (record, _) = run(&scratch, &program);
    let evil = with_last(&record, "evil");
    assert_eq!(evil.len(), 3, "{:#?}", record.images());
    assert!(evil.iter().all(|(event, _)| event.outcome == DONE));
}
