//! What comes at the end of a connection or of the agent, and what the next one knows.

use super::*;

#[tokio::test]
async fn a_restarted_agent_gets_its_lineage_back_from_the_snapshot() {
    let options = Options {
        drain: Duration::from_millis(10),
        ..Options::default()
    };
    let agent = Agent::start(options);
    let first = agent.send(&shell()).await;
    agent.expect(&["web_shell"]).await;
    let Agent {
        directory, server, ..
    } = agent;
    drop(first);
    server.shutdown().await;

    let agent = Agent::start_in(directory, options);
    let snapshot = Script::web()
        .process(2, 1, "/bin/sh", &["sh"])
        .open(2, "/etc/shadow");
    let _tracer = agent.send(&snapshot).await;
    agent.expect(&["secret_read"]).await;
    let findings = agent.findings.lock().unwrap();
    let read = findings
        .iter()
        .find(|finding| finding.agent.rule_id == "secret_read")
        .unwrap();
    assert_eq!(summary(read), "secret_read 2:/bin/sh 1:/usr/sbin/nginx");
}

#[tokio::test]
async fn a_reconnect_in_the_middle_of_a_frame_tells_what_was_lost() {
    let agent = Agent::start(Options::default());
    let mut first = agent.connect().await;
    let bytes = shell().bytes();
    first.write_all(&bytes[..bytes.len() - 3]).await.unwrap();
    drop(first);
    let mut again = shell();
    again.messages.pop();
    let again = again
        .process(2, 1, "/bin/sh", &["sh"])
        .open(2, "/etc/shadow");
    let _second = agent.send(&again).await;
    // The exec was lost on the way: the tracer cannot know, but the numbers tell.
    agent.expect(&["secret_read", "lost_events"]).await;
}

#[tokio::test]
async fn shutdown_takes_in_what_tracers_still_send() {
    let agent = Agent::start(Options::default());
    let mut tracer = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut tracer, 1).await, [ToTracer::Welcome]);
    let Agent {
        server,
        findings,
        directory,
    } = agent;
    let shutdown = tokio::spawn(server.shutdown());
    let mut last = Script::web().open(1, "/etc/shadow").goodbye();
    last.messages.drain(..4);
    tokio::time::sleep(Duration::from_millis(50)).await;
    tracer.write_all(&last.bytes()).await.unwrap();
    drop(tracer);
    let counters = tokio::time::timeout(PATIENCE, shutdown)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((counters.events, counters.findings), (1, 1));
    assert_eq!(counters.cut_off, 0);
    assert!(names(&findings.lock().unwrap()).contains(&"secret_read"));
    assert!(!directory.path().join("run/agent.sock").exists());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let agent = Agent::start(Options {
        drain: Duration::from_millis(100),
        ..Options::default()
    });
    let mut tracer = agent.send(&Script::web()).await;
    assert_eq!(answers(&mut tracer, 1).await, [ToTracer::Welcome]);
    let Agent { server, .. } = agent;
    let counters = tokio::time::timeout(PATIENCE, server.shutdown())
        .await
        .unwrap();
    assert_eq!(counters.cut_off, 1);
    assert_eq!(answers(&mut tracer, 1).await, []);
}
