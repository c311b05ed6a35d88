//! Workers that die together with the application.

use super::*;

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// The worker and the main process below a keeper, or a spare, once the program runs.
fn below(keeper: u32) -> Option<[u32; 2]> {
    for child in children(keeper) {
        // It has opened what it waits for, and calls nothing that anybody stops for any more.
        let is_tail = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            let opened = std::fs::read_link(format!("/proc/{pid}/fd/3"));
            name.is_ok_and(|name| name == "tail\n")
                && opened.is_ok_and(|opened| opened.as_os_str() == "/dev/null")
        };
        if let Some(main) = children(child).into_iter().find(is_tail) {
            return Some([child, main]);
        }
        if let Some(found) = below(child) {
            return Some(found);
        }
    }
    None
}

/// As where memory is short, or where process 1 of a container is left alone with the keeper by
/// `kill -9 -1`: the next worker finds nobody, and the keeper ends as the main process did. Whoever speaks to
/// an agent is woken by that; nothing else may be needed.
#[test]
fn a_worker_that_dies_with_the_main_process_keeps_nobody_waiting() {
    let ways: [&[&str]; 3] = [&[], &["--spare"], &["--engine", "ptrace"]];
    for flags in ways {
        for _ in 0..5 {
            let mut command = Command::new(tracer());
            command.arg("trace").args(flags);
            command.args(["--no-agent", "--", "tail", "-f", "/dev/null"]);
            let mut keeper = start(&mut command);
            eventually("the program", || below(keeper.id()).is_some());
            let both = below(keeper.id()).unwrap().map(|pid| pid.to_string());
            let killed = Command::new("/bin/kill").arg("-KILL").args(both).status();
            assert!(killed.unwrap().success());
            use std::os::unix::process::ExitStatusExt;
            let status = wait(&mut keeper);
            assert_eq!(status.signal(), Some(9), "{flags:?}: {status:?}");
        }
    }
}
