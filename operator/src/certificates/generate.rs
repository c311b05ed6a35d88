//! Making certificates.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::bundle::{BundleError, PrivateKey, SKEW, ServerNames};
use super::rotation::{AUTHORITY_VALIDITY, LEAF_VALIDITY};

/// A self-signed authority, valid from now on, and its key.
pub(super) fn make_authority(now: SystemTime) -> Result<(String, PrivateKey), BundleError> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters.not_before = (now - SKEW).into();
    parameters.not_after = (now + AUTHORITY_VALIDITY).into();
    parameters.distinguished_name = common_name("Picket webhook authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), PrivateKey::new(&key)))
}

/// A serving certificate for `names`, signed by the authority, and its key.
pub(super) fn make_leaf(
    authority: &str,
    authority_key: &PrivateKey,
    names: &ServerNames,
    now: SystemTime,
) -> Result<(String, PrivateKey), BundleError> {
    let issuer = Issuer::from_ca_cert_pem(authority, KeyPair::from_pem(authority_key.pem())?)?;
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(names.as_slice())?;
    parameters.not_before = (now - SKEW).into();
    parameters.not_after = (now + LEAF_VALIDITY).into();
    parameters.distinguished_name = common_name("Picket webhook");
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok((certificate.pem(), PrivateKey::new(&key)))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}
