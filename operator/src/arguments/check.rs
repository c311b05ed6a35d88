//! What clap cannot check.

use std::net::IpAddr;

use super::Arguments;

/// The port that kubelet uses on a Fargate node: a webhook there would answer
/// nobody.
const RESERVED_ON_FARGATE: u16 = 10_250;

/// A value that cannot work, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {problem}; {remedy}")]
pub struct ArgumentError {
    /// The flag, without dashes.
    pub flag: &'static str,
    /// What is wrong with its value.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Arguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// The first value that cannot work.
    pub fn check(&self) -> Result<(), ArgumentError> {
        self.check_names()?;
        self.check_images()?;
        self.check_ports()?;
        if self.revision.is_empty() {
            return Err(ArgumentError {
                flag: "revision",
                problem: "it is empty".to_owned(),
                remedy: "leave it out, or give the version of the sidecar image",
            });
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), ArgumentError> {
        let names = [
            ("namespace", &self.namespace),
            ("identity", &self.identity),
            ("service", &self.service),
            ("webhook-configuration", &self.webhook_configuration),
            ("certificate-secret", &self.certificate_secret),
            ("session-secret", &self.session_secret),
            ("lease", &self.lease),
            ("role-binding", &self.role_binding),
            ("relay-service", &self.relay_service),
        ];
        let secrets = self.image_pull_secret.iter();
        for (flag, name) in names
            .into_iter()
            .chain(secrets.map(|name| ("image-pull-secret", name)))
        {
            if !is_object_name(name) {
                return Err(ArgumentError {
                    flag,
                    problem: format!("`{name}` is not a name of a Kubernetes object"),
                    remedy: "use lower-case letters, digits, '-' and '.', at most 253 of them",
                });
            }
        }
        for name in &self.certificate_name {
            if name.parse::<IpAddr>().is_err() && !is_object_name(name) {
                return Err(ArgumentError {
                    flag: "certificate-name",
                    problem: format!("`{name}` is neither a DNS name nor an IP address"),
                    remedy: "give the host of the webhook's URL, without scheme and port",
                });
            }
        }
        if let Some(address) = &self.relay_address
            && !is_host_and_port(address)
        {
            return Err(ArgumentError {
                flag: "relay-address",
                problem: format!("`{address}` is not host:port"),
                remedy: "give it as picket-relay.picket-system.svc:8444",
            });
        }
        Ok(())
    }

    fn check_images(&self) -> Result<(), ArgumentError> {
        if !is_image(&self.sidecar_image) {
            return Err(ArgumentError {
                flag: "sidecar-image",
                problem: format!("`{}` is not an image reference", self.sidecar_image),
                remedy: "give it as registry/repository@sha256:… or registry/repository:tag",
            });
        }
        for canary in self.canaries()? {
            if !is_image(&canary.image) || canary.revision.is_empty() {
                return Err(ArgumentError {
                    flag: "canaries",
                    problem: format!(
                        "`{}` is not an image reference, or has no revision",
                        canary.image
                    ),
                    remedy: "give each a `revision`, and an `image` as registry/repository@sha256:… or registry/repository:tag",
                });
            }
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), ArgumentError> {
        for (flag, port) in [
            ("webhook-port", self.webhook_port),
            ("health-port", self.health_port),
            ("relay-port", self.relay_port),
        ] {
            if port == RESERVED_ON_FARGATE {
                return Err(ArgumentError {
                    flag,
                    problem: format!("{port} belongs to kubelet on Fargate"),
                    remedy: "choose another one, for example 8443 and 8080",
                });
            }
        }
        if self.webhook_port == self.health_port && self.webhook_port != 0 {
            return Err(ArgumentError {
                flag: "health-port",
                problem: format!("{} is the webhook's port already", self.health_port),
                remedy: "choose two different ports",
            });
        }
        let taken = [self.webhook_port, self.health_port];
        if self.relay_address.is_some() && self.relay_port != 0 && taken.contains(&self.relay_port)
        {
            return Err(ArgumentError {
                flag: "relay-port",
                problem: format!("{} is taken already", self.relay_port),
                remedy: "choose another one, for example 8444",
            });
        }
        Ok(())
    }
}

/// A DNS subdomain (RFC 1123), as names of most objects are.
fn is_object_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    port.parse::<u16>().is_ok_and(|port| port != 0)
        && (bare.parse::<IpAddr>().is_ok() || is_object_name(host))
}

fn is_image(image: &str) -> bool {
    !image.is_empty()
        && !image.contains("://")
        && !image.ends_with([':', '@', '/'])
        && image
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parse(arguments: &[&str]) -> Arguments {
        let given = [
            "picket-operator",
            "--identity",
            "a",
            "--sidecar-image",
            "picket:1",
        ];
        Arguments::parse_from(given.iter().chain(arguments))
    }

    #[test]
    fn the_defaults_are_sound() {
        let arguments = parse(&[]);
        assert_eq!(arguments.check(), Ok(()));
        assert_eq!(arguments.namespace, "picket-system");
        assert_eq!(
            (arguments.webhook_port, arguments.health_port),
            (8443, 8080)
        );
    }

    #[test]
    fn lists_may_be_repeated_or_separated_by_commas() {
        let arguments = parse(&["--image-pull-secret", "a,b", "--image-pull-secret", "c"]);
        assert_eq!(arguments.image_pull_secret, ["a", "b", "c"]);
    }

    #[test]
    fn a_value_that_cannot_work_names_its_flag_and_the_remedy() {
        let cases = [
            (
                &["--webhook-port", "10250"][..],
                "--webhook-port: 10250 belongs to kubelet",
            ),
            (
                &["--health-port", "10250"],
                "--health-port: 10250 belongs to kubelet",
            ),
            (
                &["--health-port", "8443"],
                "--health-port: 8443 is the webhook's port",
            ),
            (
                &["--namespace", "Picket"],
                "--namespace: `Picket` is not a name",
            ),
            (
                &["--relay-address", "picket-relay"],
                "--relay-address: `picket-relay` is not host:port",
            ),
            (
                &["--relay-address", "a:1", "--relay-port", "8443"],
                "--relay-port: 8443 is taken",
            ),
            (&["--service", ""], "--service: `` is not a name"),
            (&["--lease", "a..b"], "--lease: `a..b` is not a name"),
            (
                &["--image-pull-secret", "a,-b"],
                "--image-pull-secret: `-b` is not a name",
            ),
            (
                &["--certificate-name", "https://x"],
                "--certificate-name: `https://x` is neither",
            ),
            (&["--revision", ""], "--revision: it is empty"),
        ];
        for (arguments, expected) in cases {
            let message = parse(arguments).check().expect_err("refused").to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(message.contains("; "), "no remedy: {message}");
        }
    }

    #[test]
    fn image_references() {
        for image in ["a", "a/b:1", "r.example:5000/a/b@sha256:0123456789abcdef"] {
            assert!(is_image(image), "{image}");
        }
        for image in ["", "a b", "https://r/a", "a:", "a@", "a/", "a\n"] {
            assert!(!is_image(image), "{image}");
        }
    }
}
