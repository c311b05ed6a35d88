//! Who keeps the certificate, and what the control plane may do with it then.

use picket_tests::kube::helm::Helm;
use serde_json::{Value, json};

use crate::{find, template};

/// What the control plane may do with this Secret, and the environment that says who keeps the
/// certificate.
fn certificate_of<'a>(objects: &'a [Value], name: &str) -> (Vec<&'a Value>, Vec<&'a Value>) {
    let rules = find(objects, "Role", "picket-operator")["rules"].as_array();
    let secrets = rules
        .expect("rules")
        .iter()
        .filter(|rule| rule["resources"] == json!(["secrets"]))
        .filter(|rule| rule["resourceNames"] == json!([name]))
        .map(|rule| &rule["verbs"]);
    let deployment = find(objects, "Deployment", "picket-operator");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let environment = container["env"].as_array().expect("env").iter();
    let ours = environment.filter(|variable| {
        let name = variable["name"].as_str().unwrap_or_default();
        name == "PICKET_CERTIFICATES" || name == "PICKET_CERTIFICATE_SECRET"
    });
    (
        secrets.collect(),
        ours.map(|variable| &variable["value"]).collect(),
    )
}

#[test]
fn a_certificate_that_somebody_else_keeps_is_only_read() {
    let helm = Helm::offline();
    let own = template(&helm, &[]);
    let (verbs, environment) = certificate_of(&own, "picket-webhook-certificate");
    assert_eq!(verbs, [&json!(["list", "watch", "update"])]);
    assert!(environment.is_empty());
    let external = template(
        &helm,
        &[
            "--set",
            "certificates.mode=External,certificates.secretName=mine",
        ],
    );
    let (verbs, environment) = certificate_of(&external, "mine");
    assert_eq!(environment, ["External", "mine"]);
    assert_eq!(verbs, [&json!(["list", "watch"])]);
    assert!(
        external
            .iter()
            .all(|object| object["kind"] != "Certificate")
    );
}

#[test]
fn cert_manager_is_asked_for_the_names_that_are_called() {
    let helm = Helm::offline();
    let values = "certificates.mode=CertManager,webhook.certificateNames={picket.example}";
    let objects = template(&helm, &["--set", values]);
    let (verbs, environment) = certificate_of(&objects, "picket-webhook-certificate");
    assert_eq!(environment, ["CertManager", "picket-webhook-certificate"]);
    assert_eq!(verbs, [&json!(["list", "watch"])]);
    let certificate = &find(&objects, "Certificate", "picket-webhook")["spec"];
    assert_eq!(certificate["secretName"], "picket-webhook-certificate");
    assert_eq!(
        certificate["dnsNames"],
        json!([
            "picket-webhook.picket-system.svc",
            "picket-webhook.picket-system.svc.cluster.local",
            "picket-relay.picket-system.svc",
            "picket-relay.picket-system.svc.cluster.local",
            "picket.example"
        ])
    );
    // The chart's own authority signs: self-signed, then an issuer that uses it.
    let authority = &find(&objects, "Certificate", "picket-authority")["spec"];
    assert_eq!(authority["isCA"], true);
    assert_eq!(authority["issuerRef"]["name"], "picket-self-signed");
    let issuer = &find(&objects, "Issuer", "picket-authority")["spec"];
    assert_eq!(issuer["ca"]["secretName"], authority["secretName"]);
    assert_eq!(certificate["issuerRef"]["name"], "picket-authority");
    // Or one of the user's.
    let values = "certificates.mode=CertManager,certificates.certManager.issuer.name=ours,certificates.certManager.issuer.kind=ClusterIssuer";
    let objects = template(&helm, &["--set", values]);
    assert!(objects.iter().all(|object| object["kind"] != "Issuer"));
    assert_eq!(
        find(&objects, "Certificate", "picket-webhook")["spec"]["issuerRef"],
        json!({"name": "ours", "kind": "ClusterIssuer", "group": "cert-manager.io"})
    );
}
