//! A certificate authority as cert-manager or a user has one, beside Picket's own.

use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Signs serving certificates.
#[derive(Debug)]
pub struct Authority {
    parameters: CertificateParams,
    certificate: String,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When keys cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::valid_for(10 * 365 * DAY)
    }

    /// One that ends after this time.
    ///
    /// # Panics
    /// When keys cannot be made.
    #[must_use]
    pub fn valid_for(validity: Duration) -> Self {
        let key = KeyPair::generate().expect("key");
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.not_before = (SystemTime::now() - DAY).into();
        parameters.not_after = (SystemTime::now() + validity).into();
        let name = "an authority of tests";
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).expect("certificate");
        Self {
            certificate: certificate.pem(),
            parameters,
            key,
        }
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A Secret as cert-manager writes it: a serving certificate for these names that is valid
    /// from yesterday on for `validity`, its key, and the authority.
    ///
    /// # Panics
    /// When the certificate cannot be made.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str, names: &[&str], validity: Duration) -> Value {
        let issuer = Issuer::from_params(&self.parameters, &self.key);
        let key = KeyPair::generate().expect("key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_before = (SystemTime::now() - DAY).into();
        parameters.not_after = (SystemTime::now() + validity).into();
        let certificate = parameters.signed_by(&key, &issuer).expect("certificate");
        let data = |text: String| json!(ByteString(text.into_bytes()));
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {"cert-manager.io/certificate-name": "picket-webhook"},
                "labels": {"controller.cert-manager.io/fao": "true"},
            },
            "data": {
                "tls.crt": data(certificate.pem()),
                "tls.key": data(key.serialize_pem()),
                "ca.crt": data(self.certificate.clone()),
            },
        })
    }
}

impl Authority {
    /// A Secret as the operator keeps it itself, the authority's key with it: a certificate that is
    /// valid for this time, for 127.0.0.1 only, so another one will be made soon.
    ///
    /// # Panics
    /// When the certificate cannot be made.
    #[must_use]
    pub fn whole_secret(&self, name: &str, validity: Duration) -> Value {
        let mut secret = self.secret("", name, &["127.0.0.1"], validity);
        secret["metadata"] = json!({"name": name});
        secret["data"]["ca.key"] = json!(ByteString(self.key.serialize_pem().into_bytes()));
        secret
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
