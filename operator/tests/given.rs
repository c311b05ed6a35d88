//! Certificates that somebody else keeps: what is read from the Secret, and what API servers
//! will say of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use picket_operator::certificates::{
    Bundle, BundleError, Given, ServerNames, ServingCertificate, overlap,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A Secret as cert-manager writes it: without the authority's key.
fn secret(names: &[&str]) -> BTreeMap<String, ByteString> {
    let names = ServerNames::new(names.iter().map(|name| (*name).to_owned()));
    let bundle = Bundle::generate(&names, now()).expect("bundle");
    let mut data = bundle.to_secret();
    data.remove("ca.key");
    data
}

const NAME: &str = "picket-webhook.picket-system.svc";

#[test]
fn a_secret_of_cert_manager_is_served_as_it_is() {
    let data = secret(&[NAME]);
    let given = Given::from_secret(&data).expect("given");
    assert_eq!(given.accepted_as(NAME, now()), Ok(()));
    assert_eq!(given.trust().as_bytes(), data["ca.crt"].0);
    let serving = ServingCertificate::empty();
    assert!(serving.replace_given(&given).expect("served"));
    assert!(!serving.replace_given(&given).expect("served"), "no news");
    let served = serving.current().expect("served");
    assert_eq!(served.expires, given.expires());
    assert_eq!(served.signed_by, given.trust());
}

#[test]
fn what_api_servers_would_refuse_is_told_before_they_do() {
    let given = Given::from_secret(&secret(&["other.example"])).expect("given");
    let wrong_name = given.accepted_as(NAME, now()).expect_err("refused");
    assert!(wrong_name.to_string().contains(NAME), "{wrong_name}");
    let given = Given::from_secret(&secret(&[NAME])).expect("given");
    let late = given.accepted_as(NAME, now() + 400 * DAY);
    assert!(late.expect_err("refused").reason.contains("xpired"));
    let mut foreign = secret(&[NAME]);
    foreign.insert("ca.crt".to_owned(), secret(&[NAME])["ca.crt"].clone());
    let given = Given::from_secret(&foreign).expect("given");
    assert!(given.accepted_as(NAME, now()).is_err());
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    for entry in ["tls.crt", "tls.key", "ca.crt"] {
        let mut data = secret(&[NAME]);
        data.remove(entry);
        let error = Given::from_secret(&data).expect_err("refused");
        assert!(matches!(error, BundleError::Missing(name) if name == entry));
        if entry != "tls.key" {
            data.insert(entry.to_owned(), ByteString(b"nothing".to_vec()));
            let error = Given::from_secret(&data).expect_err("refused").to_string();
            assert!(error.contains(entry), "{error}");
        }
    }
    let mut data = secret(&[NAME]);
    data.insert("tls.key".to_owned(), secret(&[NAME])["tls.key"].clone());
    let given = Given::from_secret(&data).expect("given");
    let serving = ServingCertificate::empty();
    let error = serving.replace_given(&given).expect_err("refused");
    assert!(error.to_string().contains("tls.key"), "{error}");
    assert!(!format!("{given:?}").contains("PRIVATE"));
}

#[test]
fn the_authority_before_is_kept_once_behind_the_new_one() {
    let text = |data: &BTreeMap<String, ByteString>| {
        String::from_utf8(data["ca.crt"].0.clone()).expect("text")
    };
    let (old, new) = (text(&secret(&[NAME])), text(&secret(&[NAME])));
    let both = overlap(&new, &format!("{old}garbage\n"));
    assert!(both.starts_with(&new) && both.contains(old.trim()));
    assert!(!both.contains("garbage"));
    assert_eq!(overlap(&new, &both), both);
    assert_eq!(overlap(&new, &new), new);
    assert_eq!(overlap(&new, ""), new);
}
