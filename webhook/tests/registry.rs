//! The resolver against registries that are honest, picky, slow and lying.

mod common;
#[path = "common/registry.rs"]
mod registry;

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

#[tokio::test]
async fn a_public_image_is_asked_for_once() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| content.reply(seen)).await;
    let resolver = resolver(&[&server], Options::default());
    let config = ask(&resolver, &image(&server), &scope("shop", &[]))
        .await
        .unwrap();
    assert_eq!(config.entrypoint, ["/entry"]);
    assert_eq!(config.cmd, ["serve"]);
    assert!(config.digest.starts_with("sha256:"));
    let before = resolver.requests();
    assert_eq!(before, 2, "manifest and configuration");
    for namespace in ["shop", "blog"] {
        ask(&resolver, &image(&server), &scope(namespace, &[]))
            .await
            .unwrap();
    }
    assert_eq!(resolver.requests(), before, "a warm cache asks nobody");
}

#[tokio::test]
async fn an_index_gives_the_platform_s_image() {
    let mut content = Content::default();
    let digests = ["arm64", "amd64"].map(|architecture| {
        (
            architecture,
            content.image(
                "web",
                &format!("only-{architecture}"),
                architecture,
                &[architecture],
            ),
        )
    });
    let manifests: Vec<_> = digests
        .iter()
        .map(|(architecture, digest)| {
            let size = content.0[&format!("/v2/web/manifests/{digest}")].1.len();
            json!({"mediaType": MANIFEST, "digest": digest, "size": size,
                   "platform": {"os": "linux", "architecture": architecture}})
        })
        .collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    let digest = content.manifest(
        "web",
        "1",
        "application/vnd.oci.image.index.v1+json",
        index.into(),
    );
    let server = Server::start(ALLOWED, move |seen| content.reply(seen)).await;
    let resolver = resolver(&[&server], Options::default());
    let by_digest = format!("registry.example.com:{}/web@{digest}", server.port);
    for (image, architecture) in [
        (image(&server), "amd64"),
        (image(&server), "arm64"),
        (by_digest, "arm64"),
    ] {
        let wanted = Wanted {
            image,
            platform: Platform::linux(architecture),
        };
        let images = resolver
            .images(std::slice::from_ref(&wanted), &scope("shop", &[]))
            .await;
        let config = images.get(&wanted).unwrap().clone().unwrap();
        assert_eq!(config.cmd, [architecture]);
        assert_eq!(config.digest, digest, "what is pinned is the index");
    }
    let wanted = Wanted {
        image: image(&server),
        platform: Platform::linux("s390x"),
    };
    let images = resolver
        .images(std::slice::from_ref(&wanted), &scope("shop", &[]))
        .await;
    assert_eq!(
        images.get(&wanted).unwrap().clone().unwrap_err().cause,
        Cause::NoPlatform
    );
}

/// A registry that wants a password.
async fn picky(user: &'static str, password: &'static str) -> Server {
    let content = web();
    Server::start(ALLOWED, move |seen| {
        if seen.authorization == Some(basic(user, password)) {
            content.reply(seen)
        } else {
            Reply::status(401).with("www-authenticate", "Basic realm=\"r\"")
        }
    })
    .await
}

#[tokio::test]
async fn every_credential_is_tried_in_kubelet_s_order() {
    let server = picky("right", "hunter2").await;
    let host = format!("registry.example.com:{}", server.port);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(
        &file,
        json!({"auths": {&host: {"username": "file", "password": "x"}}}).to_string(),
    )
    .unwrap();
    let mut cluster = Cluster::default();
    cluster.secrets.insert(
        "shop/pull",
        vec![
            (host.clone(), "short", "x"),
            (format!("{host}/web"), "long", "x"),
            ("*.example.org".into(), "elsewhere", "x"),
        ],
    );
    cluster.secrets.insert(
        "shop/of-account",
        vec![(format!("*.example.com:{}", server.port), "account", "x")],
    );
    cluster
        .accounts
        .insert("shop/default", vec!["pull", "of-account", "missing"]);
    let mut options = with_cluster(cluster);
    options.keychain.files = vec![file];
    let resolver = resolver(&[&server], options);
    let failure = ask(
        &resolver,
        &image(&server),
        &scope("shop", &["absent", "pull"]),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.cause, Cause::Unauthorized);
    for told in [
        "secret shop/absent does not exist",
        "secret shop/pull: ",
        "secret shop/missing",
        "config.json: ",
        "anonymous access: ",
    ] {
        assert!(failure.detail.contains(told), "{told}: {}", failure.detail);
    }
    let shown: Vec<String> = server
        .seen()
        .into_iter()
        .filter_map(|seen| seen.authorization)
        .collect();
    let expected: Vec<String> = ["long", "short", "account", "file"]
        .map(|user| basic(user, "x"))
        .into();
    assert_eq!(shown, expected);
    assert!(!failure.to_string().contains(&basic("long", "x")));
}

#[tokio::test]
async fn one_tenant_s_credentials_never_answer_another() {
    let server = picky("right", "hunter2").await;
    let host = format!("registry.example.com:{}", server.port);
    let mut cluster = Cluster::default();
    cluster
        .secrets
        .insert("shop/pull", vec![(host, "right", "hunter2")]);
    let resolver = resolver(&[&server], with_cluster(cluster));
    let mine = scope("shop", &["pull"]);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap().cmd,
        ["serve"]
    );
    let by_digest = {
        let digest = ask(&resolver, &image(&server), &mine)
            .await
            .unwrap()
            .digest
            .clone();
        format!("registry.example.com:{}/web@{digest}", server.port)
    };
    for image in [image(&server), by_digest] {
        for other in [scope("blog", &["pull"]), scope("shop", &[])] {
            let failure = ask(&resolver, &image, &other).await.unwrap_err();
            assert_eq!(failure.cause, Cause::Unauthorized);
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
        }
    }
    let before = resolver.requests();
    ask(&resolver, &image(&server), &mine).await.unwrap();
    assert_eq!(
        resolver.requests(),
        before,
        "those who have them are answered from the cache"
    );
}

/// A registry that sends to a token service, and that service.
async fn with_tokens(realm_host: &'static str) -> (Server, Server) {
    let tokens = Server::start(ALLOWED, |seen| match seen.authorization.as_deref() {
        Some(shown) if shown == basic("right", "hunter2") => Reply::ok(r#"{"token": "t0k3n"}"#),
        None if seen.body.contains("refresh_token=r3fr3sh") => {
            Reply::ok(r#"{"access_token": "t0k3n"}"#)
        }
        None => Reply::ok(r#"{"token": "nobody"}"#),
        Some(_) => Reply::status(401),
    })
    .await;
    let realm = format!("https://{realm_host}:{}/token", tokens.port);
    let content = web();
    let server = Server::start(ALLOWED, move |seen| match seen.authorization.as_deref() {
        Some("Bearer t0k3n") => content.reply(seen),
        _ => Reply::status(401).with(
            "www-authenticate",
            format!(
                "Bearer realm=\"{realm}\",service=\"registry & co\",scope=\"repository:web:pull\""
            ),
        ),
    })
    .await;
    (server, tokens)
}

#[tokio::test]
async fn tokens_are_fetched_from_the_service_that_the_registry_names() {
    let (server, tokens) = with_tokens("auth.example.com").await;
    let host = format!("registry.example.com:{}", server.port);
    let mut cluster = Cluster::default();
    cluster
        .secrets
        .insert("shop/pull", vec![(host.clone(), "right", "hunter2")]);
    let both = resolver(&[&server, &tokens], with_cluster(cluster));
    ask(&both, &image(&server), &scope("shop", &["pull"]))
        .await
        .unwrap();
    let asked = tokens.seen();
    assert_eq!(asked.len(), 1, "one token serves the whole look-up");
    assert_eq!(
        asked[0].path,
        "/token?service=registry%20%26%20co&scope=repository%3Aweb%3Apull"
    );
    let failure = ask(&both, &image(&server), &scope("blog", &[]))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::Unauthorized);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(
        &file,
        json!({"auths": {host: {"identitytoken": "r3fr3sh"}}}).to_string(),
    )
    .unwrap();
    let keychain = Keychain {
        files: vec![file],
        ..Keychain::default()
    };
    let options = Options {
        keychain,
        ..Options::default()
    };
    let refreshing = resolver(&[&server, &tokens], options);
    ask(&refreshing, &image(&server), &scope("shop", &[]))
        .await
        .unwrap();
}

#[tokio::test]
async fn credentials_do_not_go_to_a_stranger_s_token_service() {
    let (server, tokens) = with_tokens("evil.com").await;
    let mut cluster = Cluster::default();
    let host = format!("registry.example.com:{}", server.port);
    cluster
        .secrets
        .insert("shop/pull", vec![(host, "right", "hunter2")]);
    let resolver = resolver(&[&server, &tokens], with_cluster(cluster));
    let failure = ask(&resolver, &image(&server), &scope("shop", &["pull"]))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::TokenHostRefused);
    assert!(
        tokens
            .seen()
            .iter()
            .all(|seen| seen.authorization.is_none()),
        "{:?}",
        tokens.seen()
    );
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials() {
    let content = web();
    let blobs = content.clone();
    let cdn = Server::start(ALLOWED, move |seen| {
        blobs.reply(&registry::Seen {
            path: seen.path.replace("/cdn?sig=s3cret&path=", ""),
            ..seen.clone()
        })
    })
    .await;
    let port = cdn.port;
    let server = Server::start(ALLOWED, move |seen| {
        if seen.authorization != Some(basic("right", "hunter2")) {
            Reply::status(401).with("www-authenticate", "Basic realm=\"r\"")
        } else if seen.path.contains("/blobs/") {
            Reply::redirect(format!(
                "https://cdn.other.com:{port}/cdn?sig=s3cret&path={}",
                seen.path
            ))
        } else {
            content.reply(seen)
        }
    })
    .await;
    let mut cluster = Cluster::default();
    let host = format!("registry.example.com:{}", server.port);
    cluster
        .secrets
        .insert("shop/pull", vec![(host, "right", "hunter2")]);
    let resolver = resolver(&[&server, &cdn], with_cluster(cluster));
    ask(&resolver, &image(&server), &scope("shop", &["pull"]))
        .await
        .unwrap();
    let asked = cdn.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, None);
    assert_eq!(asked[0].host, format!("cdn.other.com:{port}"));
}

#[tokio::test]
async fn redirects_lead_to_no_forbidden_place() {
    let forbidden = Server::start(REFUSED, |_| Reply::ok("secrets")).await;
    for (location, expected) in [
        (
            "https://169.254.169.254/latest/meta-data/".to_owned(),
            Cause::AddressRefused,
        ),
        (
            format!("https://{REFUSED}:{}/", forbidden.port),
            Cause::AddressRefused,
        ),
        (
            format!("https://[::ffff:7f00:2]:{}/", forbidden.port),
            Cause::AddressRefused,
        ),
        ("https://[fd00:ec2::254]/".to_owned(), Cause::AddressRefused),
        ("http://169.254.169.254/".to_owned(), Cause::RedirectRefused),
        (
            "https://user:password@evil.com/".to_owned(),
            Cause::RedirectRefused,
        ),
        ("file:///etc/passwd".to_owned(), Cause::RedirectRefused),
        (String::new(), Cause::RedirectRefused),
        ("/v2/web/manifests/1".to_owned(), Cause::RedirectRefused),
    ] {
        let to = location.clone();
        let server = Server::start(ALLOWED, move |_| Reply::redirect(to.clone())).await;
        assert_eq!(cause_of(&server).await.0, expected, "{location}");
    }
    assert!(forbidden.seen().is_empty());
}

#[tokio::test]
async fn names_and_addresses_of_forbidden_places_are_refused() {
    let forbidden = Server::start(REFUSED, |_| Reply::ok("secrets")).await;
    let names = TestNames::new(&[("registry.example.com", &[REFUSED])]);
    let options = Options {
        patience: Duration::from_secs(20),
        ..Options::default()
    };
    let resolver = Resolver::new(http(&[&forbidden], names), options);
    for image in [
        format!("registry.example.com:{}/web", forbidden.port),
        format!("{REFUSED}:{}/web", forbidden.port),
        format!("[::ffff:7f00:2]:{}/web", forbidden.port),
        "169.254.169.254/latest/meta-data".to_owned(),
        "0.0.0.0:80/web".to_owned(),
        // What some name services read as 127.0.0.2; here it is a name that does not exist.
        "2130706434:80/web".to_owned(),
    ] {
        let failure = ask(&resolver, &image, &scope("shop", &[]))
            .await
            .unwrap_err();
        let expected = if image.starts_with("213") {
            Cause::Unreachable
        } else {
            Cause::AddressRefused
        };
        assert_eq!(failure.cause, expected, "{image}: {failure}");
    }
    assert!(forbidden.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_again() {
    let content = web();
    let forbidden = Server::start(REFUSED, |_| Reply::ok("secrets")).await;
    let port = forbidden.port;
    let server = Server::start(ALLOWED, move |seen| {
        if seen.path.contains("/blobs/") {
            Reply::redirect(format!("https://rebound.example.org:{port}/"))
        } else {
            content.reply(seen)
        }
    })
    .await;
    // Looked at once the name is harmless; the second answer is what is connected to.
    let names = TestNames::new(&[
        ("registry.example.com", &[ALLOWED]),
        ("rebound.example.org", &[REFUSED, ALLOWED]),
    ]);
    let options = Options {
        patience: Duration::from_secs(20),
        ..Options::default()
    };
    let resolver = Resolver::new(http(&[&server, &forbidden], names), options);
    let failure = ask(&resolver, &image(&server), &scope("shop", &[]))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::AddressRefused);
    assert!(forbidden.seen().is_empty());
}

#[tokio::test]
async fn lies_are_found_out() {
    type Lie = fn(&Content, &registry::Seen) -> Reply;
    let lies: [(&str, Lie, Cause); 9] = [
        (
            "another manifest than its digest",
            |content, seen| {
                let mut reply = content.reply(seen);
                reply.body.push(b' ');
                reply
            },
            Cause::DigestMismatch,
        ),
        (
            "another configuration",
            |content, seen| {
                let mut reply = content.reply(seen);
                if seen.path.contains("/blobs/") {
                    *reply.body.last_mut().unwrap() = b' ';
                }
                reply
            },
            Cause::DigestMismatch,
        ),
        (
            "a huge manifest",
            |_, _| Reply::ok(vec![b' '; 5 << 20]),
            Cause::TooLarge,
        ),
        (
            "a longer configuration than announced",
            |content, seen| {
                let mut reply = content.reply(seen);
                if seen.path.contains("/blobs/") {
                    reply.body.extend(vec![b' '; 100 << 10]);
                }
                reply
            },
            Cause::TooLarge,
        ),
        ("no JSON", |_, _| Reply::ok("<html>"), Cause::InvalidAnswer),
        (
            "a head that does not end",
            |_, _| Reply::ok("").with("x-long", "x".repeat(200 << 10)),
            Cause::Unreachable,
        ),
        (
            "an endless error page",
            |_, _| Reply {
                status: 404,
                ..Reply::ok(vec![b' '; 5 << 20])
            },
            Cause::TooLarge,
        ),
        ("a failure", |_, _| Reply::status(503), Cause::RegistryError),
        (
            "too many requests",
            |_, _| Reply::status(429),
            Cause::RateLimited,
        ),
    ];
    for (lie, tell, expected) in lies {
        let content = web();
        let server = Server::start(ALLOWED, move |seen| tell(&content, seen)).await;
        let (cause, detail) = cause_of(&server).await;
        assert_eq!(cause, expected, "{lie}: {detail}");
    }
}

#[tokio::test]
async fn a_configuration_that_claims_to_be_huge_is_not_fetched() {
    let mut content = Content::default();
    let digest = format!("sha256:{}", "a".repeat(64));
    let manifest = json!({"config": {"mediaType": CONFIG, "digest": digest, "size": 1u64 << 40}});
    content.manifest("web", "1", MANIFEST, manifest.to_string().into());
    let server = Server::start(ALLOWED, move |seen| content.reply(seen)).await;
    assert_eq!(cause_of(&server).await.0, Cause::TooLarge);
    assert_eq!(server.count("/blobs/"), 0);
}

#[tokio::test]
async fn a_stranger_s_certificate_is_not_trusted() {
    let server = Server::start(ALLOWED, |_| Reply::ok("")).await;
    let resolver = resolver(&[], Options::default());
    let failure = ask(&resolver, &image(&server), &scope("shop", &[]))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::UntrustedTls);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn nobody_waits_longer_than_patience_and_the_answer_helps_the_next() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| {
        content.reply(seen).after(Duration::from_millis(400))
    })
    .await;
    let options = Options {
        patience: Duration::from_millis(50),
        ..Options::default()
    };
    let impatient = Resolver::new(http(&[&server], all_names()), options);
    let mine = scope("shop", &[]);
    let failure = ask(&impatient, &image(&server), &mine).await.unwrap_err();
    assert_eq!(failure.cause, Cause::TimedOut);
    impatient
        .warm(&wanted(&image(&server)), &mine, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        ask(&impatient, &image(&server), &mine).await.unwrap().cmd,
        ["serve"]
    );
    assert_eq!(impatient.requests(), 2, "the first look-up went on");
}

#[tokio::test]
async fn many_who_want_the_same_ask_once() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| {
        content.reply(seen).after(Duration::from_millis(100))
    })
    .await;
    let resolver = resolver(&[&server], Options::default());
    let image = image(&server);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (resolver, image) = (resolver.clone(), image.clone());
            tokio::spawn(async move { ask(&resolver, &image, &scope("shop", &[])).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert_eq!(resolver.requests(), 2);
}

#[tokio::test]
async fn one_namespace_cannot_keep_all_others_waiting() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| match seen.path.contains("slow") {
        true => Reply::status(404).after(Duration::from_secs(60)),
        false => content.reply(seen),
    })
    .await;
    let options = Options {
        patience: Duration::from_millis(100),
        ..Options::default()
    };
    let impatient = Resolver::new(http(&[&server], all_names()), options);
    let slow: Vec<Wanted> = (0..20)
        .map(|number| {
            wanted(&format!(
                "registry.example.com:{}/slow-{number}",
                server.port
            ))
        })
        .collect();
    let images = impatient.images(&slow, &scope("greedy", &[])).await;
    let count = |cause: Cause| {
        let is = |wanted: &&Wanted| {
            images
                .get(wanted)
                .unwrap()
                .as_ref()
                .is_err_and(|error| error.cause == cause)
        };
        slow.iter().filter(is).count()
    };
    assert_eq!(
        (count(Cause::TimedOut), count(Cause::TooManyLookups)),
        (8, 12)
    );
    impatient
        .warm(
            &wanted(&image(&server)),
            &scope("shop", &[]),
            Duration::ZERO,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_missing_image_is_not_asked_for_again_and_again() {
    let there = Arc::new(AtomicBool::new(false));
    let (content, pushed) = (web(), Arc::clone(&there));
    let server = Server::start(ALLOWED, move |seen| match pushed.load(Ordering::Relaxed) {
        true => content.reply(seen),
        false => Reply::status(404),
    })
    .await;
    let lifetimes = Lifetimes {
        failure: Duration::from_millis(300),
        ..Lifetimes::default()
    };
    let resolver = resolver(
        &[&server],
        Options {
            lifetimes,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    let failure = ask(&resolver, &image(&server), &mine).await.unwrap_err();
    assert_eq!(failure.cause, Cause::ImageNotFound);
    // Long enough that the failure has surely been forgotten.
    there.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(400)).await;
    ask(&resolver, &image(&server), &mine).await.unwrap();

    let patient = registry::resolver(&[&server], Options::default());
    there.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        ask(&patient, &image(&server), &mine).await.unwrap_err();
    }
    assert_eq!(patient.requests(), 1);
}

#[tokio::test]
async fn a_tag_that_did_not_move_costs_one_small_question_and_an_outage_nothing() {
    let down = Arc::new(AtomicBool::new(false));
    let (content, broken) = (web(), Arc::clone(&down));
    let server = Server::start(ALLOWED, move |seen| match broken.load(Ordering::Relaxed) {
        true => Reply::status(500),
        false => content.reply(seen),
    })
    .await;
    let lifetimes = Lifetimes {
        tag: Duration::ZERO,
        ..Lifetimes::default()
    };
    let resolver = resolver(
        &[&server],
        Options {
            lifetimes,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    let first = ask(&resolver, &image(&server), &mine).await.unwrap();
    assert_eq!(ask(&resolver, &image(&server), &mine).await.unwrap(), first);
    let methods: Vec<String> = server.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET", "GET", "HEAD"]);
    down.store(true, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap(),
        first,
        "what was right before"
    );
}

#[tokio::test]
async fn a_moved_tag_is_noticed() {
    let moved = Arc::new(AtomicUsize::new(0));
    let mut second = Content::default();
    second.image("web", "1", "amd64", &["moved"]);
    let (contents, which) = ([web(), second], Arc::clone(&moved));
    let server = Server::start(ALLOWED, move |seen| {
        contents[which.load(Ordering::Relaxed)].reply(seen)
    })
    .await;
    let lifetimes = Lifetimes {
        tag: Duration::ZERO,
        ..Lifetimes::default()
    };
    let resolver = resolver(
        &[&server],
        Options {
            lifetimes,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap().cmd,
        ["serve"]
    );
    moved.store(1, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap().cmd,
        ["moved"]
    );
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_then() {
    let mut content = Content::default();
    content.image("hub/library/web", "1", "amd64", &["mirrored"]);
    let mirror = Server::start(ALLOWED, move |seen| content.reply(seen)).await;
    let own = web();
    let server = Server::start(ALLOWED, move |seen| own.reply(seen)).await;
    let mirrors = vec![
        format!("docker.io=mirror.example.net:{}/hub", mirror.port)
            .parse()
            .unwrap(),
        format!(
            "registry.example.com:{}=mirror.example.net:{}",
            server.port, mirror.port
        )
        .parse()
        .unwrap(),
    ];
    let resolver = resolver(
        &[&mirror, &server],
        Options {
            mirrors,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    assert_eq!(
        ask(&resolver, "web:1", &mine).await.unwrap().cmd,
        ["mirrored"]
    );
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap().cmd,
        ["serve"]
    );
    assert_eq!(mirror.count("/v2/web/manifests/1"), 1);
}

/// Not AWS: a mock that answers as its documentation says, and insists on what it says.
async fn mock_of_aws() -> Server {
    Server::start(ALLOWED, |seen| {
        if seen.body.contains("Action=AssumeRoleWithWebIdentity") {
            assert!(seen.body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpicket"), "{}", seen.body);
            assert!(seen.body.contains("WebIdentityToken=projected.token&") || seen.body.ends_with("WebIdentityToken=projected.token"));
            return Reply::ok(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                 <AccessKeyId>ASIAMOCK</AccessKeyId><SecretAccessKey>mock</SecretAccessKey>\
                 <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
                 </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            );
        }
        let signed = seen.authorization.clone().unwrap_or_default();
        let by_role = signed.starts_with("AWS4-HMAC-SHA256 Credential=ASIAMOCK/")
            && signed.contains("/eu-west-1/ecr/aws4_request")
            && signed.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
        if !by_role {
            return Reply { status: 400, ..Reply::ok(r#"{"__type": "IncompleteSignatureException"}"#) };
        }
        let token = STANDARD.encode("AWS:ecr-password");
        Reply::ok(json!({"authorizationData": [{"authorizationToken": token, "expiresAt": 4.0e9}]}).to_string())
    })
    .await
}

#[tokio::test]
async fn amazon_s_registries_by_web_identity() {
    let aws = mock_of_aws().await;
    let server = picky("AWS", "ecr-password").await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "projected.token\n").unwrap();
    let endpoint = format!("https://aws.test:{}", aws.port);
    let environment = AwsEnvironment::read(|name| match name {
        "AWS_ROLE_ARN" => Some("arn:aws:iam::123456789012:role/picket".into()),
        "AWS_WEB_IDENTITY_TOKEN_FILE" => Some(token.display().to_string()),
        "AWS_REGION" => Some("eu-west-1".into()),
        "AWS_ENDPOINT_URL_STS" | "AWS_ENDPOINT_URL_ECR" => Some(endpoint.clone()),
        _ => None,
    });
    assert!(environment.is_usable());
    let client = http(&[&aws, &server], all_names());
    let keychain = Keychain {
        ecr: Some(Arc::new(Ecr::new(Arc::clone(&client), environment.clone()))),
        ..Keychain::default()
    };
    let patience = Duration::from_secs(20);
    let resolver = Resolver::new(
        client,
        Options {
            keychain,
            patience,
            ..Options::default()
        },
    );
    let of_amazon = format!(
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:{}/web",
        server.port
    );
    for tag in ["1", "missing", "also-missing"] {
        let answer = ask(
            &resolver,
            &format!("{of_amazon}:{tag}"),
            &scope("shop", &[]),
        )
        .await;
        assert_eq!(answer.is_ok(), tag == "1", "{answer:?}");
    }
    assert_eq!(
        aws.seen().len(),
        2,
        "the password is kept: one call to STS, one to ECR"
    );
    let elsewhere = ask(&resolver, &image(&server), &scope("shop", &[]))
        .await
        .unwrap_err();
    assert!(
        !elsewhere.detail.contains("ECR"),
        "only Amazon's registries: {elsewhere}"
    );

    std::fs::remove_file(&token).unwrap();
    let lost = Ecr::new(http(&[&aws, &server], all_names()), environment);
    let failure = lost
        .credential("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
        .await
        .unwrap();
    assert!(
        failure
            .unwrap_err()
            .to_string()
            .starts_with("the web identity token cannot be read")
    );
}

#[tokio::test]
async fn digests_that_were_asked_for_are_held_to() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| {
        let honest = registry::Seen {
            path: seen
                .path
                .replace(&"c".repeat(64), "1")
                .replace("sha256:1", "1"),
            ..seen.clone()
        };
        content.reply(&honest)
    })
    .await;
    let resolver = resolver(&[&server], Options::default());
    let digest = format!("sha256:{}", "c".repeat(64));
    let image = format!("registry.example.com:{}/web@{digest}", server.port);
    let failure = ask(&resolver, &image, &scope("shop", &[]))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::DigestMismatch);
    assert_ne!(sha256(b""), digest);
}

/// A webhook that asks this resolver, with a policy for every pod of `shop`.
fn webhook(resolver: Resolver) -> axum::Router {
    let store = PolicyStore::new();
    store.replace([common::everything("shop")]);
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let settings = Arc::new(common::settings());
    router(AdmissionState::new(store, settings, metrics).with_resolver(resolver))
}

async fn post(webhook: axum::Router, container: serde_json::Value) -> serde_json::Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": {"metadata": {"name": "web"}, "spec": {"containers": [container]}},
        },
    });
    let request = axum::http::Request::post("/mutate")
        .body(axum::body::Body::from(review.to_string()))
        .unwrap();
    let response = webhook.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn pods_that_wait_for_registries_do_not_keep_others_waiting() {
    let server = Server::start(ALLOWED, |_| {
        Reply::status(404).after(Duration::from_secs(60))
    })
    .await;
    let options = Options {
        patience: Duration::from_secs(30),
        ..Options::default()
    };
    let webhook = webhook(Resolver::new(http(&[&server], all_names()), options));
    let image = image(&server);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(post(
                webhook.clone(),
                json!({"name": "web", "image": &image}),
            ))
        })
        .collect();
    while server.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let other = post(
        webhook,
        json!({"name": "web", "image": "x", "command": ["/web"]}),
    )
    .await;
    assert!(other["response"]["patch"].is_string(), "{other}");
    assert!(
        waiting.iter().all(|task| !task.is_finished()),
        "the others still wait"
    );
}

#[tokio::test]
async fn a_review_is_answered_with_what_the_registry_says() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| content.reply(seen)).await;
    let webhook = webhook(resolver(&[&server], Options::default()));
    let answer = post(
        webhook,
        json!({"name": "web", "image": image(&server), "args": ["-v"]}),
    )
    .await;
    let patch = STANDARD
        .decode(answer["response"]["patch"].as_str().unwrap())
        .unwrap();
    let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap();
    let args = patch
        .as_array()
        .unwrap()
        .iter()
        .find(|operation| operation["path"] == "/spec/containers/0/args");
    assert_eq!(args.unwrap()["value"], json!(["/entry", "-v"]));
}
