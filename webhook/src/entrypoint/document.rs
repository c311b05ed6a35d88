//! What registries answer: indexes, manifests and image configurations.
//!
//! Our own types, read leniently: of a document that container runtimes run an image from, only
//! what is used here has to be right.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{SHA256, SHA512, digest};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::reference::is_digest;
use super::{Cause, ImageConfig, Platform, Unresolved};

/// Media types that are asked for, OCI's and Docker's.
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Configurations of images, as opposed to those of other artifacts.
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// Entries of an index that are looked at: more than there are platforms.
const MAX_ENTRIES: usize = 1000;

/// What ENTRYPOINT, CMD and the rest may take together; a pod could not hold more.
const MAX_WEIGHT: usize = 256 << 10;

/// A reference to content by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its digest, by an algorithm that we can check.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// One image: where its configuration is.
    Image(Content),
    /// Several: their platforms and manifests.
    Index(Vec<(IndexedPlatform, Content)>),
}

/// The platform of an entry of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct IndexedPlatform {
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Architecture.
    #[serde(default)]
    pub architecture: String,
    /// For example `v8`.
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default, deserialize_with = "bounded")]
    manifests: Option<Vec<RawDescriptor>>,
}

/// A list that is given up when it grows too long, before it takes much memory.
fn bounded<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Vec<RawDescriptor>>, D::Error> {
    struct Entries;
    impl<'d> Visitor<'d> for Entries {
        type Value = Option<Vec<RawDescriptor>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of manifests")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'d>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = from.next_element()? {
                if entries.len() == MAX_ENTRIES {
                    return Err(A::Error::custom("too many manifests"));
                }
                entries.push(entry);
            }
            Ok(Some(entries))
        }
    }
    from.deserialize_any(Entries)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<IndexedPlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl RawDescriptor {
    fn content(&self) -> Option<Content> {
        is_digest(&self.digest).then(|| Content {
            digest: self.digest.clone(),
            size: self.size,
        })
    }

    /// BuildKit keeps attestations beside images.
    fn is_attestation(&self) -> bool {
        self.annotations
            .as_ref()
            .is_some_and(|all| all.contains_key("vnd.docker.reference.type"))
    }
}

fn invalid(detail: impl Into<String>) -> Unresolved {
    Unresolved::new(Cause::InvalidAnswer, detail)
}

impl Manifest {
    /// Reads a manifest or an index.
    ///
    /// # Errors
    /// [`Cause::InvalidAnswer`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unresolved> {
        let raw: RawManifest = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("the manifest is no manifest: {error}")))?;
        if raw.schema_version == Some(1) {
            return Err(invalid(
                "the manifest is of schema 1, which no runtime takes any more",
            ));
        }
        match (raw.config, raw.manifests) {
            // A document that can be read as either shows different people different images.
            (Some(_), Some(_)) => Err(invalid("the manifest is an index and an image at once")),
            (None, None) => Err(invalid(
                "the manifest names neither a configuration nor manifests",
            )),
            (Some(config), None) => {
                if !CONFIG_TYPES.contains(&config.media_type.as_str()) {
                    return Err(invalid("it is not an image but another artifact"));
                }
                let content = config.content();
                content
                    .map(Self::Image)
                    .ok_or_else(|| invalid("the configuration's digest is none"))
            }
            (None, Some(manifests)) => {
                let entry = |raw: RawDescriptor| {
                    let content = raw.content()?;
                    Some((raw.platform.unwrap_or_default(), content))
                };
                let images = manifests.into_iter().filter(|raw| !raw.is_attestation());
                Ok(Self::Index(images.filter_map(entry).collect()))
            }
        }
    }
}

/// The entry of an index for a platform: the plainest of those that fit.
///
/// # Errors
/// [`Cause::NoPlatform`], with the platforms that there are.
pub fn choose<'i>(
    index: &'i [(IndexedPlatform, Content)],
    platform: &Platform,
) -> Result<&'i Content, Unresolved> {
    let fits = |candidate: &&(IndexedPlatform, Content)| {
        candidate.0.os == platform.os() && candidate.0.architecture == platform.architecture()
    };
    let plain = |candidate: &&(IndexedPlatform, Content)| {
        let variant = candidate.0.variant.as_deref().unwrap_or_default();
        // Every arm64 machine is at least a v8.
        variant.is_empty() || (platform.architecture() == "arm64" && variant == "v8")
    };
    let mut fitting = index.iter().filter(fits);
    let chosen = fitting.clone().find(plain).or_else(|| fitting.next());
    chosen.map(|(_, content)| content).ok_or_else(|| {
        let there: Vec<String> = index
            .iter()
            .take(16)
            .map(|(platform, _)| format!("{}/{}", platform.os, platform.architecture))
            .map(|text| {
                text.chars()
                    .filter(|c| c.is_ascii_graphic())
                    .take(40)
                    .collect()
            })
            .collect();
        let detail = format!("{platform} is wanted, there is {}", there.join(", "));
        Unresolved::new(Cause::NoPlatform, detail)
    })
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    config: Option<RawProcess>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawProcess {
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    stop_signal: Option<String>,
    #[serde(default)]
    env: Option<Vec<String>>,
}

/// Reads an image configuration, as registries have it and as `skopeo inspect --config` prints
/// it.
///
/// # Errors
/// [`Cause::InvalidAnswer`], [`Cause::NoPlatform`] for an image that is not for Linux, or
/// [`Cause::TooLarge`].
pub fn parse_config(bytes: &[u8], digest: &str) -> Result<ImageConfig, Unresolved> {
    let raw: RawConfig = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the image configuration is none: {error}")))?;
    if let Some(os) = raw.os.filter(|os| !os.is_empty() && os != "linux") {
        let os: String = os
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(20)
            .collect();
        return Err(Unresolved::new(
            Cause::NoPlatform,
            format!("the image is for {os}"),
        ));
    }
    let process = raw.config.unwrap_or_default();
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let path = process.env.into_iter().flatten();
    let config = ImageConfig {
        digest: digest.to_owned(),
        entrypoint: process.entrypoint.unwrap_or_default(),
        cmd: process.cmd.unwrap_or_default(),
        user: said(process.user),
        working_dir: said(process.working_dir),
        stop_signal: said(process.stop_signal),
        path: path
            .filter_map(|entry| entry.strip_prefix("PATH=").map(str::to_owned))
            .next_back(),
    };
    if config.weight() > MAX_WEIGHT {
        return Err(Unresolved::new(
            Cause::TooLarge,
            "the image's process takes over 256 KiB to say",
        ));
    }
    let words = config.entrypoint.iter().chain(&config.cmd);
    if words.chain(&config.user).any(|word| word.contains('\0')) {
        return Err(invalid("the image configuration holds a NUL character"));
    }
    Ok(config)
}

/// The SHA-256 digest of content, in the form that registries use.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(digest(&SHA256, bytes).as_ref()))
}

/// Whether content is what a digest promises.
///
/// # Errors
/// [`Cause::DigestMismatch`].
pub fn verify(bytes: &[u8], promised: &str) -> Result<(), Unresolved> {
    let found = if promised.starts_with("sha512:") {
        format!("sha512:{}", hex(digest(&SHA512, bytes).as_ref()))
    } else {
        sha256(bytes)
    };
    if found == promised {
        return Ok(());
    }
    let detail = format!("{promised} was promised, {found} came");
    Err(Unresolved::new(Cause::DigestMismatch, detail))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest_of(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn index(platforms: &[(&str, &str, Option<&str>)]) -> Vec<(IndexedPlatform, Content)> {
        let entry =
            |(number, (os, architecture, variant)): (usize, &(&str, &str, Option<&str>))| {
                let platform = IndexedPlatform {
                    os: (*os).to_owned(),
                    architecture: (*architecture).to_owned(),
                    variant: variant.map(str::to_owned),
                };
                let content = Content {
                    digest: digest_of(char::from_digit(number as u32, 10).unwrap()),
                    size: 7,
                };
                (platform, content)
            };
        platforms.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn the_plainest_fitting_platform_is_chosen() {
        let index = index(&[
            ("windows", "amd64", None),
            ("linux", "arm", Some("v7")),
            ("linux", "amd64", Some("v3")),
            ("linux", "amd64", None),
            ("linux", "arm64", Some("v8")),
        ]);
        for (architecture, expected) in [("amd64", '3'), ("arm64", '4'), ("arm", '1')] {
            let chosen = choose(&index, &Platform::linux(architecture)).unwrap();
            assert_eq!(chosen.digest, digest_of(expected), "{architecture}");
        }
        let missing = choose(&index, &Platform::linux("s390x")).unwrap_err();
        assert_eq!(missing.cause, Cause::NoPlatform);
        assert!(missing.detail.contains("linux/arm64"), "{missing}");
    }

    #[test]
    fn manifests_by_table() {
        let config = |media_type: &str| json!({"mediaType": media_type, "digest": digest_of('a'), "size": 2});
        let image = json!({"config": config(CONFIG_TYPES[0])});
        assert!(matches!(
            Manifest::parse(image.to_string().as_bytes()),
            Ok(Manifest::Image(_))
        ));
        let attested = json!({"manifests": [
            {"digest": digest_of('b'), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": digest_of('c'), "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
            {"digest": "sha256:short", "size": 1},
        ]});
        match Manifest::parse(attested.to_string().as_bytes()) {
            Ok(Manifest::Index(entries)) => assert_eq!(entries.len(), 1),
            other => panic!("{other:?}"),
        }
        for (document, expected) in [
            (json!({"schemaVersion": 1, "fsLayers": []}), "schema 1"),
            (
                json!({"config": config(CONFIG_TYPES[0]), "manifests": []}),
                "at once",
            ),
            (json!({}), "neither"),
            (
                json!({"config": config("application/vnd.cncf.helm.config.v1+json")}),
                "artifact",
            ),
            (
                json!({"config": {"mediaType": CONFIG_TYPES[1], "digest": "x", "size": 2}}),
                "digest",
            ),
            (json!(7), "no manifest"),
            (
                json!({"manifests": vec![json!({"digest": "x", "size": 1}); 2000]}),
                "too many",
            ),
            (json!({"manifests": {}}), "no manifest"),
            (json!({"config": {"digest": 7}}), "no manifest"),
        ] {
            let error = Manifest::parse(document.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.cause, Cause::InvalidAnswer);
            assert!(error.detail.contains(expected), "{error}");
        }
    }

    #[test]
    fn configurations_by_table() {
        let document = json!({"os": "linux", "architecture": "amd64", "config": {
            "Entrypoint": null, "Cmd": ["/app", "$HOME"], "User": "1000:0", "WorkingDir": "",
            "StopSignal": "SIGQUIT", "Env": ["A=b", "PATH=/first", "PATH=/last"],
        }});
        let config = parse_config(document.to_string().as_bytes(), "d").unwrap();
        assert_eq!(config.entrypoint, Vec::<String>::new());
        assert_eq!(config.cmd, ["/app", "$HOME"]);
        assert_eq!(config.user.as_deref(), Some("1000:0"));
        assert_eq!(config.working_dir, None);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.path.as_deref(), Some("/last"));
        assert_eq!(parse_config(b"{}", "d").unwrap().cmd, Vec::<String>::new());

        let long = json!({"config": {"Cmd": vec!["x"; 20_000]}});
        for (document, expected) in [
            (json!({"os": "windows"}), Cause::NoPlatform),
            (long, Cause::TooLarge),
            (json!({"config": {"Cmd": "a string"}}), Cause::InvalidAnswer),
            (
                json!({"config": {"Cmd": ["a\u{0}b"]}}),
                Cause::InvalidAnswer,
            ),
            (json!(7), Cause::InvalidAnswer),
        ] {
            let error = parse_config(document.to_string().as_bytes(), "d").unwrap_err();
            assert_eq!(error.cause, expected);
        }
    }

    #[test]
    fn digests_are_checked() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
        assert_eq!(verify(b"", empty), Ok(()));
        assert_eq!(
            verify(b"x", empty).unwrap_err().cause,
            Cause::DigestMismatch
        );
        let long = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
        assert_eq!(verify(b"", long), Ok(()));
    }
}
