//! Places where no registry is looked for.

use super::*;

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
