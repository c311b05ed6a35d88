//! The resolver against registries that are honest, picky, slow and lying.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/registry.rs"]
mod registry;

mod amazon;
mod answers;
mod credentials;
mod guards;
mod reviews;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_webhook::PolicyStore;
use picket_webhook::admission::{AdmissionState, Metrics, router};
use picket_webhook::entrypoint::document::sha256;
use picket_webhook::entrypoint::{
    AwsEnvironment, Cause, Ecr, Keychain, Lifetimes, Options, Platform, Resolver, Wanted,
};
use registry::{
    ALLOWED, CONFIG, Cluster, Content, MANIFEST, REFUSED, Reply, Server, TestNames, all_names, ask,
    http, image, resolver, scope, wanted, web, with_cluster,
};
use serde_json::json;
use tower::ServiceExt;

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn cause_of(server: &Server) -> (Cause, String) {
    let resolver = resolver(&[server], Options::default());
    let failure = ask(&resolver, &image(server), &scope("shop", &[]))
        .await
        .unwrap_err();
    (failure.cause, failure.detail)
}
