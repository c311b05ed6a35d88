//! As many of something as a machine bears, and what that costs the tracer: `make extremes`. It takes
//! a minute and most of the machine's process ids, so it is not among the tests that always run.
#![allow(missing_docs)]

mod support;

use picket_events::EventType;
use support::*;

/// Makes processes that live until all are there, and says what an open takes before and after.
const CROWD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double now(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static long kilobytes(int pid) {
    char path[64], line[256]; long found = 0;
    sprintf(path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (fgets(line, sizeof line, file)) if (!strncmp(line, "VmRSS:", 6)) found = atol(line + 6);
    fclose(file);
    return found;
}
static double opens(void) {
    double begun = now();
    for (int i = 0; i < 3000; i++) close(open("/dev/zero", O_WRONLY));
    return (now() - begun) / 3000 * 1e6;
}
static int pids[100000];
int main(int argc, char **argv) {
    int count = atoi(argv[1]), ready[2], worker = getppid();
    if (pipe(ready)) return 1;
    long before = kilobytes(worker); double alone = opens();
    for (int i = 0; i < count; i++) {
        if ((pids[i] = fork()) == 0) { close(open("/dev/null", O_WRONLY)); write(ready[1], "x", 1); for (;;) pause(); }
        char byte;
        if (pids[i] < 0 || read(ready[0], &byte, 1) != 1) return 2;
    }
    printf("%d processes: %.0f us an open, %.0f before; the worker has %ld KiB, %ld before\n",
           count, opens(), alone, kilobytes(worker), before);
    fflush(stdout);
    for (int i = 0; i < count; i++) kill(pids[i], 9);
    for (int i = 0; i < count; i++) if (wait(0) < 0) return 3;
    return 0;
}"#;

/// More than the tracer may have descriptors; each is told, and that it has ended.
#[test]
#[ignore = "make extremes"]
fn tens_of_thousands_of_processes_are_told_one_by_one() {
    const COUNT: usize = 25_000;
    let scratch = Scratch::new(&format!("extremes-{}", engine()));
    let agent = Agent::start(&scratch);
    let program = build(&scratch, "crowd", &[], CROWD);
    let count = COUNT.to_string();
    let mut run = traced(&agent, "exec,fork,exit,open:write", &[&program, &count]);
    let ran = run.output().expect("the tracer");
    assert!(ran.status.success(), "{:?} {}", ran.status, stderr(&ran));
    println!("{}", stdout(&ran));
    let record = agent.finish();
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    let opens = record.paths(EventType::Open).into_iter();
    let opens = opens.filter(|path| path == "/dev/null").count();
    let (forks, exits) = (
        record.of(EventType::Fork).len(),
        record.of(EventType::Exit).len(),
    );
    println!("told: {forks} forks, {opens} opens, {exits} ends; {lost} counted as lost");
    assert!(forks + opens + exits + lost as usize >= 3 * COUNT);
    assert!(forks <= COUNT && opens <= COUNT && exits <= COUNT + 1);
}
