//! What honest registries answer, and what lying ones do.

use super::*;

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
