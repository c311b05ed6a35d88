//! Workers that die before they could say what those before them have left untold.

use std::io::{BufRead, BufReader};

use super::*;

/// Opens a file again and again; says so after each five.
const OPENS: &str = "
import os, sys, time
read, enough, opens = sys.argv[1], sys.argv[2], 0
while not os.path.exists(enough):
    for _ in range(5): os.close(os.open(read, os.O_RDONLY))
    opens += 5
    print(opens, flush=True)
    time.sleep(0.01)
";

/// No agent is there meanwhile: none of the workers can tell anything.
#[test]
fn what_one_worker_after_the_other_has_left_untold_is_counted_by_the_last() {
    let scratch = Scratch::new("uncounted");
    let (read, enough) = (scratch.text("read"), scratch.text("enough"));
    std::fs::write(&read, "").unwrap();
    let socket = scratch.path("agent.sock");
    let mut command = Command::new(tracer());
    command.args(["trace", "--container", "test", "--interest", "open"]);
    command.arg("--socket").arg(&socket).arg("--");
    command.args(["python3", "-I", "-S", "-c", OPENS, &read, &enough]);
    let mut child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut goes_on = || {
        let line = lines.nth(4).expect("a line").unwrap();
        line.parse::<u64>().unwrap()
    };
    goes_on();
    for _ in 0..3 {
        let before = worker_of(child.id()).expect("a worker");
        signal(before, "KILL");
        let start = std::time::Instant::now();
        while worker_of(child.id()).is_none_or(|now| now == before) {
            assert!(start.elapsed() < LIMIT, "there is another worker");
            std::thread::sleep(Duration::from_millis(5));
        }
        goes_on(); // the new one has let it
    }
    let agent = Agent::start_at(socket);
    agent.until("the last worker", |record| !record.notices().is_empty());
    let made = goes_on();
    std::fs::write(&enough, "").unwrap();
    for line in lines {
        line.unwrap();
    }
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let last = record.goodbye().unwrap().last_sequence;
    assert!(last >= made, "{last} of {made}");
    let lost: u64 = record.lost().iter().map(|lost| lost.count).sum();
    assert_eq!(record.events().len() as u64 + lost, last);
}

/// After twenty deaths in a row there is no worker for a while. A program that ends in it is missed by
/// nobody: one more worker says how much was not looked at, and goodbye.
#[test]
fn what_ends_while_there_is_no_worker_is_counted() {
    let scratch = Scratch::new("pause");
    let agent = Agent::start(&scratch);
    let (read, enough) = (scratch.text("read"), scratch.text("enough"));
    std::fs::write(&read, "").unwrap();
    let command = ["python3", "-I", "-S", "-c", OPENS, &read, &enough];
    let mut command = traced(&agent, "open", &command);
    let mut child = start(command.stdout(Stdio::piped()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.nth(4).expect("a line").unwrap();
    let mut killed = std::collections::HashSet::new();
    while killed.len() < 21 {
        assert!(child.try_wait().unwrap().is_none(), "the program goes on");
        match worker_of(child.id()).filter(|worker| !killed.contains(worker)) {
            Some(worker) => {
                signal(worker, "KILL");
                killed.insert(worker);
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    std::fs::write(&enough, "").unwrap();
    let made = lines.last().expect("a line").unwrap();
    let made: u64 = made.parse().unwrap();
    assert!(wait(&mut child).success());
    let record = agent.finish();
    let last = record.goodbye().unwrap().last_sequence;
    assert!(last >= made, "{last} of {made}");
}
