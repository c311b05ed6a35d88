//! Which credentials are tried, and who gets to see them.

use super::*;

/// A registry that wants a password.
pub(super) async fn picky(user: &'static str, password: &'static str) -> Server {
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
