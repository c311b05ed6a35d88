//! The conversation with the relay.
//!
//! One connection carries heartbeats and the wait for orders in turns. News and findings, which
//! must not wait for that, go over a second one that is opened when there are some.

use std::future::Future;
use std::time::Duration;

use hyper::{Method, StatusCode};
use picket_events::relay::{
    FINDINGS_PATH, HEARTBEAT_PATH, Heartbeat, MAX_BUNDLE, MAX_ORDERS, ORDERS_PATH, Orders,
    RULES_PATH, RejectedBundle,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use super::access::Access;
use super::connection::{Ask, Connection, RelayError};
use super::outbox::Outbox;
use super::rules::{self, BadBundle};
use crate::pipeline::LoadedRules;
use crate::server::Server;

/// How long a short answer may take.
const SHORT: Duration = Duration::from_secs(15);
/// How long orders are waited for; the relay answers before.
const LONG: Duration = Duration::from_secs(45);
/// How long a bundle may take.
const BUNDLE: Duration = Duration::from_secs(60);
/// How often it is looked whether there is something to tell at once.
const LOOK: Duration = Duration::from_secs(1);
/// First pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Takes rules into use.
pub trait Rules {
    /// The rules that the agent has of its own, for a pod that has no others.
    fn own(&self) -> LoadedRules;

    /// Tells tracers of containers that start later what these rules have to see.
    fn announce(&self, loaded: &LoadedRules);
}

/// What both parts of the conversation know.
#[derive(Debug, Default)]
struct Told {
    /// The bundle in use; empty for the agent's own rules.
    bundle: String,
    rejected: Option<RejectedBundle>,
    /// The last heartbeat that arrived.
    heartbeat: Option<Heartbeat>,
}

/// Speaks with the relay.
pub struct Client {
    access: watch::Sender<Access>,
    told: Mutex<Told>,
    outbox: Mutex<Outbox>,
    random: SystemRandom,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("access", &*self.access.borrow())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client that sends what is in this outbox.
    pub fn new(access: Access, outbox: Outbox) -> Self {
        Self {
            access: watch::Sender::new(access),
            told: Mutex::default(),
            outbox: Mutex::new(outbox),
            random: SystemRandom::new(),
        }
    }

    /// Speaks for this server, for ever.
    pub async fn run(&self, server: &Server, rules: &impl Rules) {
        tokio::select! {
            () = self.again("orders", || self.converse(server, rules)) => {}
            () = self.again("news", || self.tell(server)) => {}
        }
    }

    /// Whether rules from the relay are in use.
    pub async fn has_rules(&self) -> bool {
        !self.told.lock().await.bundle.is_empty()
    }

    /// Sends what is left, for a moment: the last heartbeat and findings.
    pub async fn last_words(&self, heartbeat: Heartbeat) {
        let send = async {
            let access = self.access.borrow().clone();
            let mut connection = Connection::open(&access).await?;
            self.findings(&mut connection).await?;
            self.heartbeat(&mut connection, heartbeat).await
        };
        // There is nobody left who could do anything about it.
        let _ = timeout(LAST_WORDS, send).await;
    }

    /// Does something again and again, with pauses that grow while it fails.
    async fn again<F>(&self, what: &str, mut attempt: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), RelayError>>,
    {
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        loop {
            let started = Instant::now();
            if let Err(error) = attempt().await {
                // What went well for a while was no failure to get there.
                if started.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                    complained = false;
                }
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(what, %error, "the relay cannot be used; trying again");
                }
            }
            sleep(pause.mul_f64(self.jitter())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Between 0.5 and 1.5: a thousand agents do not come back at the same moment.
    fn jitter(&self) -> f64 {
        let mut byte = [128];
        // Without randomness they do.
        let _ = self.random.fill(&mut byte);
        0.5 + f64::from(byte[0]) / 255.0
    }

    /// Heartbeats and orders in turns, until the connection breaks.
    async fn converse(&self, server: &Server, rules: &impl Rules) -> Result<(), RelayError> {
        let access = self.access.borrow().clone();
        let mut connection = Connection::open(&access).await?;
        let mut seen = None;
        loop {
            let report = self.report(server).await;
            self.heartbeat(&mut connection, report).await?;
            let Some(orders) = self.orders(&mut connection, seen.as_deref()).await? else {
                continue;
            };
            let renewed = self.obey(&mut connection, &orders, server, rules).await?;
            seen = Some(orders.tag);
            if renewed {
                // The next connection is made with the new authorities: if they do not fit, that
                // shows now and not when nobody looks.
                connection = Connection::open(&self.access.borrow().clone()).await?;
            }
        }
    }

    /// What is new is told at once, and findings as they come.
    async fn tell(&self, server: &Server) -> Result<(), RelayError> {
        let mut connection = None;
        loop {
            sleep(LOOK).await;
            let report = self.report(server).await;
            let news = {
                let told = self.told.lock().await;
                let before = told.heartbeat.as_ref();
                before.is_some_and(|before| !before.says_the_same(&report))
            };
            if !news && self.outbox.lock().await.is_empty() {
                continue;
            }
            let mut open = match connection.take() {
                Some(open) if !Connection::is_closed(&open) => open,
                _ => Connection::open(&self.access.borrow().clone()).await?,
            };
            if news {
                self.heartbeat(&mut open, report).await?;
            }
            self.findings(&mut open).await?;
            connection = Some(open);
        }
    }

    async fn report(&self, server: &Server) -> Heartbeat {
        let mut report = server.report().await;
        let told = self.told.lock().await;
        report.rules.bundle.clone_from(&told.bundle);
        report.rules.rejected.clone_from(&told.rejected);
        report.losses.relayed = self.outbox.lock().await.dropped();
        report
    }

    async fn heartbeat(
        &self,
        connection: &mut Connection,
        heartbeat: Heartbeat,
    ) -> Result<(), RelayError> {
        let ask = Ask {
            method: Method::POST,
            path: HEARTBEAT_PATH.to_owned(),
            body: serde_json::to_vec(&heartbeat)?,
            largest: 0,
            patience: SHORT,
        };
        connection.ask(ask, &self.access.borrow().clone()).await?;
        self.told.lock().await.heartbeat = Some(heartbeat);
        Ok(())
    }

    async fn findings(&self, connection: &mut Connection) -> Result<(), RelayError> {
        loop {
            let Some(body) = self.outbox.lock().await.batch() else {
                return Ok(());
            };
            let ask = Ask {
                method: Method::POST,
                path: FINDINGS_PATH.to_owned(),
                body,
                largest: 0,
                patience: SHORT,
            };
            let sent = connection.ask(ask, &self.access.borrow().clone()).await;
            let mut outbox = self.outbox.lock().await;
            match sent {
                Ok(_) => outbox.delivered(),
                Err(error) => {
                    // What is malformed to the relay stays so.
                    if let RelayError::Refused {
                        status: StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE,
                        ..
                    } = error
                    {
                        outbox.refused();
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The orders, once they differ from those that were seen; `None` when they do not for long.
    async fn orders(
        &self,
        connection: &mut Connection,
        seen: Option<&str>,
    ) -> Result<Option<Orders>, RelayError> {
        let ask = Ask {
            method: Method::GET,
            path: match seen {
                Some(seen) => format!("{ORDERS_PATH}?seen={seen}"),
                None => ORDERS_PATH.to_owned(),
            },
            body: Vec::new(),
            largest: MAX_ORDERS,
            patience: LONG,
        };
        let body = connection.ask(ask, &self.access.borrow().clone()).await?;
        if body.is_empty() {
            return Ok(None);
        }
        let mut orders: Orders = serde_json::from_slice(&body)?;
        // It goes into a path.
        orders
            .tag
            .retain(|character| character.is_ascii_alphanumeric());
        Ok(Some(orders))
    }

    /// Does what is ordered; true when there are new authorities to trust.
    async fn obey(
        &self,
        connection: &mut Connection,
        orders: &Orders,
        server: &Server,
        rules: &impl Rules,
    ) -> Result<bool, RelayError> {
        let reason = orders
            .quarantine
            .as_ref()
            .map(|order| order.reason.as_str());
        server.order_quarantine(reason).await;
        let mut access = self.access.borrow().clone();
        let renewed = match access.trust(&orders.trust) {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::warn!(%error, "the relay's new authorities cannot be used");
                false
            }
        };
        if renewed {
            self.access.send_replace(access);
        }
        self.take_bundle(connection, &orders.bundle, server, rules)
            .await?;
        Ok(renewed)
    }

    async fn take_bundle(
        &self,
        connection: &mut Connection,
        hash: &str,
        server: &Server,
        rules: &impl Rules,
    ) -> Result<(), RelayError> {
        {
            let told = self.told.lock().await;
            let rejected = told.rejected.as_ref().map(|rejected| &rejected.bundle);
            if told.bundle == hash || rejected.is_some_and(|rejected| rejected == hash) {
                return Ok(());
            }
        }
        let loaded = if hash.is_empty() {
            Ok(rules.own())
        } else if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let ask = Ask {
                method: Method::GET,
                path: format!("{RULES_PATH}{hash}"),
                body: Vec::new(),
                largest: MAX_BUNDLE,
                patience: BUNDLE,
            };
            let bytes = connection.ask(ask, &self.access.borrow().clone()).await?;
            rules::load(hash, &bytes)
        } else {
            Err(BadBundle::Hash("never that".to_owned()))
        };
        let mut told = self.told.lock().await;
        match loaded {
            Ok(loaded) => {
                rules.announce(&loaded);
                server.replace_rules(loaded).await;
                hash.clone_into(&mut told.bundle);
                told.rejected = None;
            }
            Err(error) => {
                tracing::error!(bundle = hash, %error, "rules from the relay cannot be used; those of before stay in use");
                let mut reason = error.to_string();
                reason.truncate(reason.floor_char_boundary(512.min(reason.len())));
                told.rejected = Some(RejectedBundle {
                    bundle: hash.to_owned(),
                    reason,
                });
            }
        }
        Ok(())
    }
}
