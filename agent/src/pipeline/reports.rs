//! Events about Picket, and how many of them are let out.

use picket_events::Interest;
use picket_events::wire::{Goodbye, Hello, Notice, Unwatched, UnwatchedReason};
use serde_json::{Value, json};

use super::container::{self, Container};
use super::{Output, Outputs, Pipeline, internal};
use crate::finding::{self, UserSessionSection};

impl Pipeline {
    pub(super) fn greet(&mut self, name: &str, hello: &Hello, now: u64, outputs: &mut dyn Outputs) {
        let mut body = container::describe(hello);
        let session = self
            .containers
            .get(name)
            .and_then(|container| container.info.user_session.as_ref());
        let unidentified = session.and_then(|session| session.unidentified);
        if let Some(session) = session {
            body["user_session"] = json!(UserSessionSection::from(session));
        }
        if let Some(reason) = unidentified {
            let mut body = body.clone();
            body["reason"] = json!(reason.word());
            body["detail"] = json!(reason.to_string());
            self.report(
                Some(name),
                internal::UNIDENTIFIED_SESSION,
                body,
                now,
                outputs,
            );
        }
        let untraced = self
            .containers
            .get(name)
            .is_some_and(Container::is_untraced);
        self.report(
            Some(name),
            internal::CONTAINER_CONNECTED,
            body.clone(),
            now,
            outputs,
        );
        if untraced {
            self.report(Some(name), internal::NOT_TRACED, body, now, outputs);
        } else {
            self.check_interest(name, now, outputs);
        }
    }

    pub(super) fn check_interest(&mut self, name: &str, now: u64, outputs: &mut dyn Outputs) {
        let Some(container) = self.containers.get(name) else {
            return;
        };
        let needed = self.loaded.rules.interest();
        let installed = container.interest().to_owned();
        if container.is_untraced()
            || installed
                .parse()
                .is_ok_and(|interest: Interest| interest.covers(&needed))
        {
            return;
        }
        let body =
            json!({"installed": container::shortened(&installed), "needed": needed.to_string()});
        self.report(Some(name), internal::RULES_NEED_RESTART, body, now, outputs);
    }

    pub(super) fn notice(
        &mut self,
        name: &str,
        notice: Notice,
        now: u64,
        outputs: &mut dyn Outputs,
    ) {
        let (event, body) = match notice {
            Notice::Restarted { signal } => (internal::TRACER_RESTARTED, json!({"signal": signal})),
            Notice::Tampering { pid, syscall } => {
                let body = json!({"pid": pid, "syscall": container::shortened(&syscall)});
                (internal::TAMPERING, self.with_process(name, pid, body))
            }
            Notice::ReadsUnwatched {
                are_plain_seen,
                files,
            } => {
                if let Some(container) = self.containers.get_mut(name) {
                    container.reads_are_unwatched(!files.is_empty());
                }
                if files.is_empty() {
                    return;
                }
                let files: Vec<Value> = files
                    .iter()
                    .take(UnwatchedReason::ALL.len())
                    .map(unwatched)
                    .collect();
                let body = json!({"plain_reads_seen": are_plain_seen, "files": files});
                (internal::READS_UNWATCHED, body)
            }
            Notice::PrivilegeLost { pid, path } => {
                let body = json!({"pid": pid, "path": container::shortened(&path)});
                (internal::PRIVILEGE_LOST, self.with_process(name, pid, body))
            }
            Notice::Hidden { pid } => {
                let body = json!({"pid": pid});
                (internal::HIDDEN_PROCESS, self.with_process(name, pid, body))
            }
        };
        self.report(Some(name), event, body, now, outputs);
    }

    /// Adds the executables of a process and of what it descends from.
    fn with_process(&self, name: &str, pid: u32, mut body: Value) -> Value {
        let Some(tree) = self.containers.get(name).map(|container| &container.tree) else {
            return body;
        };
        let Some(key) = tree.find(pid) else {
            return body;
        };
        let ancestors = tree.ancestors(key).map(|(_, node)| node).take(16);
        let lineage: Vec<&str> = tree
            .get(key)
            .into_iter()
            .chain(ancestors)
            .map(|node| node.program.image.file.path.as_str())
            // Before its first exec is told, nobody knows what a process runs.
            .filter(|path| !path.is_empty())
            .collect();
        if !lineage.is_empty() {
            body["lineage"] = json!(lineage);
        }
        body
    }

    pub(super) fn goodbye(
        &mut self,
        name: &str,
        goodbye: Goodbye,
        now: u64,
        outputs: &mut dyn Outputs,
    ) {
        self.flush_losses(name, now, outputs);
        let events = self
            .containers
            .get(name)
            .map_or(0, |container| container.events);
        let body = json!({"code": goodbye.code, "signal": goodbye.signal, "events": events});
        self.report(Some(name), internal::CONTAINER_ENDED, body, now, outputs);
    }

    pub(super) fn flush_losses(&mut self, name: &str, now: u64, outputs: &mut dyn Outputs) {
        let Some(container) = self.containers.get_mut(name) else {
            return;
        };
        // What is held back now stays in the account for the next report.
        if !container.loss.is_unreported() {
            return;
        }
        let Some(suppressed) = self.throttle.admit(internal::LOST_EVENTS, name, now) else {
            return;
        };
        if let Some(body) = container.loss.report() {
            self.emit(
                Some(name),
                internal::LOST_EVENTS,
                body,
                suppressed,
                now,
                outputs,
            );
        }
    }

    /// Reports an event about Picket, unless there were too many of its kind.
    pub(super) fn report(
        &mut self,
        container: Option<&str>,
        name: &'static str,
        body: Value,
        now: u64,
        outputs: &mut dyn Outputs,
    ) -> bool {
        let Some(suppressed) = self
            .throttle
            .admit(name, container.unwrap_or_default(), now)
        else {
            return false;
        };
        self.emit(container, name, body, suppressed, now, outputs);
        true
    }

    fn emit(
        &self,
        container: Option<&str>,
        name: &'static str,
        mut body: Value,
        suppressed: u64,
        now: u64,
        outputs: &mut dyn Outputs,
    ) {
        if suppressed > 0 {
            body["suppressed"] = json!(suppressed);
        }
        let container = container.and_then(|name| self.containers.get(name));
        let context = finding::Context {
            identity: &self.identity,
            container: container.map(|container| &container.info),
        };
        let line = finding::internal(&context, name, internal::meaning(name), body, now);
        outputs.push(Output::Finding(Box::new(line)));
    }
}

/// What is not watched for one reason, for a finding.
fn unwatched(files: &Unwatched) -> Value {
    let paths = files.paths.iter().take(8);
    let paths: Vec<String> = paths.map(|path| container::shortened(path)).collect();
    json!({"reason": files.reason.word(), "count": files.count, "paths": paths})
}
