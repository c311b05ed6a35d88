//! Certificates by wall clock: what is generated, when what is replaced, and
//! that nobody who trusts the published bundle is ever refused.

use std::time::{Duration, SystemTime};

use picket_operator::certificates::{
    AUTHORITY_RENEW_BEFORE, AUTHORITY_VALIDITY, Bundle, BundleError, DROP_PREVIOUS_AFTER, Facts,
    LEAF_RENEW_BEFORE, LEAF_VALIDITY, PUBLICATION_GRACE, ServerNames, ServingCertificate, Step,
    next_step, take,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn names() -> ServerNames {
    ServerNames::of_service("picket", "picket-system", ["127.0.0.1".to_owned()])
}

/// Facts of a bundle made at [`start`].
fn fresh() -> Facts {
    Facts {
        authority_made: start(),
        authority_expires: start() + AUTHORITY_VALIDITY,
        has_previous_authority: false,
        leaf_made: start(),
        leaf_expires: start() + LEAF_VALIDITY,
        leaf_names: names(),
        leaf_signed_by_authority: true,
        leaf_trusted: true,
    }
}

#[test]
fn steps_follow_the_wall_clock() {
    let renew_leaf = start() + LEAF_VALIDITY - LEAF_RENEW_BEFORE;
    let renew_authority = start() + AUTHORITY_VALIDITY - AUTHORITY_RENEW_BEFORE;
    // A serving certificate made late in the authority's life.
    let late = Facts {
        leaf_made: renew_authority - DAY,
        leaf_expires: renew_authority - DAY + LEAF_VALIDITY,
        ..fresh()
    };
    // A new authority was just made; the old one's certificate is still served.
    let overlap = Facts {
        has_previous_authority: true,
        leaf_signed_by_authority: false,
        ..fresh()
    };
    // The new authority has signed.
    let switched = Facts {
        has_previous_authority: true,
        ..fresh()
    };
    let foreign = Facts {
        leaf_signed_by_authority: false,
        leaf_trusted: false,
        ..fresh()
    };
    let renamed = Facts {
        leaf_names: ServerNames::new(["other".to_owned()]),
        ..fresh()
    };
    let renamed_in_overlap = Facts {
        leaf_names: renamed.leaf_names.clone(),
        ..overlap.clone()
    };
    let grace = start() + PUBLICATION_GRACE;
    let drop = start() + DROP_PREVIOUS_AFTER;

    let cases = [
        ("nothing stored", None, false, start(), Step::Create),
        (
            "fresh",
            Some(&late),
            true,
            late.leaf_made,
            Step::Wait(renew_authority),
        ),
        (
            "fresh leaf",
            Some(&switched),
            true,
            start(),
            Step::Wait(drop),
        ),
        (
            "a second early",
            Some(&fresh()),
            true,
            renew_leaf - SECOND,
            Step::Wait(renew_leaf),
        ),
        (
            "leaf half way",
            Some(&fresh()),
            true,
            renew_leaf,
            Step::NewLeaf,
        ),
        (
            "leaf half way, unpublished",
            Some(&fresh()),
            false,
            renew_leaf,
            Step::NewLeaf,
        ),
        (
            "leaf expired",
            Some(&fresh()),
            true,
            start() + LEAF_VALIDITY,
            Step::NewLeaf,
        ),
        (
            "authority old",
            Some(&late),
            true,
            renew_authority,
            Step::NewAuthority,
        ),
        (
            "authority expired",
            Some(&fresh()),
            true,
            start() + AUTHORITY_VALIDITY,
            Step::Create,
        ),
        (
            "overlap, unpublished",
            Some(&overlap),
            false,
            grace,
            Step::Wait(grace + PUBLICATION_GRACE),
        ),
        (
            "overlap, just published",
            Some(&overlap),
            true,
            start() + MINUTE,
            Step::Wait(start() + MINUTE + PUBLICATION_GRACE),
        ),
        (
            "overlap, published",
            Some(&overlap),
            true,
            grace,
            Step::NewLeaf,
        ),
        (
            "overlap, leaf expired",
            Some(&overlap),
            false,
            start() + LEAF_VALIDITY,
            Step::NewLeaf,
        ),
        (
            "switched, a second early",
            Some(&switched),
            true,
            drop - SECOND,
            Step::Wait(drop),
        ),
        ("switched", Some(&switched), true, drop, Step::DropPrevious),
        (
            "signed by a stranger",
            Some(&foreign),
            true,
            start(),
            Step::NewLeaf,
        ),
        (
            "other names wanted",
            Some(&renamed),
            true,
            start(),
            Step::NewLeaf,
        ),
        (
            "other names wanted, overlap, unpublished",
            Some(&renamed_in_overlap),
            false,
            start(),
            Step::Wait(grace),
        ),
        (
            "other names wanted, overlap, published",
            Some(&renamed_in_overlap),
            true,
            grace,
            Step::NewLeaf,
        ),
        (
            "clock set back",
            Some(&fresh()),
            true,
            start() - DAY,
            Step::Wait(renew_leaf),
        ),
    ];
    for (name, stored, published, now, expected) in cases {
        assert_eq!(
            next_step(stored, &names(), (published, PUBLICATION_GRACE), now),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_generated_bundle_survives_its_secret() {
    let bundle = Bundle::generate(&names(), start()).expect("generate");
    let stored = bundle.to_secret();
    assert_eq!(
        stored.keys().collect::<Vec<_>>(),
        ["ca.crt", "ca.key", "tls.crt", "tls.key"]
    );
    assert_eq!(Bundle::from_secret(&stored).expect("read back"), bundle);
    let facts = bundle.facts().expect("facts");
    assert_eq!(facts, fresh());
}

#[test]
fn a_damaged_secret_names_the_entry() {
    let whole = Bundle::generate(&names(), start())
        .expect("generate")
        .to_secret();
    for entry in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
        let mut missing = whole.clone();
        missing.remove(entry);
        assert!(
            matches!(Bundle::from_secret(&missing), Err(BundleError::Missing(name)) if name == entry),
            "{entry} missing"
        );
        for garbage in [&b""[..], b"garbage", b"\xff\xfe"] {
            let mut damaged = whole.clone();
            damaged.get_mut(entry).expect("entry").0 = garbage.to_vec();
            assert!(
                matches!(Bundle::from_secret(&damaged), Err(BundleError::Malformed { entry: name, .. }) if name == entry),
                "{entry} = {garbage:?}"
            );
        }
    }
}

#[test]
fn no_debug_form_shows_a_key() {
    let bundle = Bundle::generate(&names(), start()).expect("generate");
    let serving = ServingCertificate::of(&bundle).expect("serve");
    for text in [
        format!("{bundle:?}"),
        format!("{serving:?}"),
        format!("{:?}", serving.current()),
    ] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}

#[test]
fn a_certificate_is_served_only_with_its_own_key() {
    let first = Bundle::generate(&names(), start()).expect("generate");
    let serving = ServingCertificate::of(&first).expect("serve");
    let mut mixed = Bundle::generate(&names(), start())
        .expect("generate")
        .to_secret();
    mixed.insert("tls.key".to_owned(), first.to_secret()["tls.key"].clone());
    let mixed = Bundle::from_secret(&mixed).expect("each entry is well-formed");
    let error = serving.replace(&mixed).expect_err("keys do not match");
    assert!(error.to_string().contains("tls.key"), "{error}");
    let still = serving.current().expect("the first is still served");
    assert_eq!(still.signed_by, first.authority());
}

#[test]
fn two_years_of_rotation_never_refuse_a_caller() {
    let mut now = start();
    let mut stored: Option<Bundle> = None;
    // What API servers trust lags behind what is stored by one tick.
    let mut trusted = String::new();
    let mut authorities = 0;
    let mut leaves = 0;
    while now < start() + 2 * AUTHORITY_VALIDITY {
        let facts = stored.as_ref().map(|bundle| bundle.facts().expect("facts"));
        let published = stored
            .as_ref()
            .is_some_and(|bundle| bundle.trust() == trusted);
        let step = next_step(
            facts.as_ref(),
            &names(),
            (published, PUBLICATION_GRACE),
            now,
        );
        match step {
            Step::Create | Step::NewAuthority => authorities += 1,
            Step::NewLeaf => leaves += 1,
            Step::DropPrevious | Step::Wait(_) => {}
        }
        let first = stored.is_none();
        if let Some(changed) = take(step, stored.as_ref(), &names(), now).expect("step") {
            stored = Some(changed);
        }
        let bundle = stored.as_ref().expect("created at the first tick");
        if first {
            trusted = bundle.trust();
        }
        assert_trusted(bundle, &trusted, now);
        trusted = bundle.trust();
        assert_trusted(bundle, &trusted, now);
        now += 6 * HOUR;
    }
    assert_eq!(authorities, 3, "authorities in two years");
    assert!((100..=110).contains(&leaves), "{leaves} certificates");
}

/// A caller that trusts `trust` accepts the serving certificate for every name.
fn assert_trusted(bundle: &Bundle, trust: &str, now: SystemTime) {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("root");
    }
    let provider = rustls::crypto::ring::default_provider();
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into())
            .build()
            .expect("verifier");
    let leaf = CertificateDer::from_pem_slice(bundle.leaf().as_bytes()).expect("leaf");
    let now = UnixTime::since_unix_epoch(
        now.duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970"),
    );
    for name in names().as_slice() {
        let server = ServerName::try_from(name.as_str()).expect("name");
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            verifier.as_ref(),
            &leaf,
            &[],
            &server,
            &[],
            now,
        )
        .unwrap_or_else(|error| panic!("{name} refused: {error}"));
    }
}
