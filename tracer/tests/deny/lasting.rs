//! How long a rule is in force.

use super::*;

#[test]
fn what_is_denied_stays_so_when_the_worker_is_killed() {
    let denied = Denied::start_as(
        "outlasts",
        "open",
        &[],
        r#"
seen = set()
count = 0
while not os.path.exists(here + "/enough"):
    seen.add(got(read, here + "/secret")); count += 1
print(seen)
"#,
        |scratch| {
            std::fs::write(scratch.path("here/secret"), "the secret").unwrap();
            vec![rule(EventType::Open, &scratch.text("here/secret"))]
        },
    );
    let mut killed = 0;
    while killed < 3 {
        let before = denied.agent.heard().len();
        if let Some(worker) = worker_of(denied.child.id()) {
            let status = Command::new("/bin/kill")
                .args(["-KILL", &worker.to_string()])
                .status();
            killed += u32::from(status.unwrap().success());
        }
        eventually("the next worker", || denied.agent.heard().len() > before);
        let heard = denied.agent.heard().len();
        denied.agent.until("refusals by it", |_| {
            let last = denied.agent.heard().swap_remove(heard - 1);
            let record = Record(last.messages);
            refused(&record, EventType::Open).len() > 3
        });
    }
    std::fs::write(denied.here("enough"), "").unwrap();
    let (said, _) = denied.end();
    match engine() {
        "notification" => assert_eq!(said, "{'EPERM'}\n"),
        // A call that has stopped for a worker is made when that one dies; others fail until the
        // next one is there.
        _ => assert!(said.contains("EPERM"), "{said}"),
    }
}

#[test]
fn nothing_is_denied_any_more_when_the_rule_is_gone() {
    let mut denied = Denied::start_as(
        "gone",
        "open",
        &[],
        r#"
while got(read, here + "/secret") == "EPERM": time.sleep(0.01)
print(read(here + "/secret"))
"#,
        |scratch| {
            std::fs::write(scratch.path("here/secret"), "no secret any more").unwrap();
            vec![rule(EventType::Open, &scratch.text("here/secret"))]
        },
    );
    denied.agent.until("a refusal", |record| {
        !refused(record, EventType::Open).is_empty()
    });
    assert!(denied.child.try_wait().unwrap().is_none());
    denied.agent.say(&ToTracer::Deny(Vec::new()));
    let (said, _) = denied.end();
    assert_eq!(said, "no secret any more\n");
}
