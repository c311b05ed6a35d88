//! Requests to instance metadata services.

use std::net::IpAddr;

use picket_events::event::Imds;

/// As much of a request as is looked at: its head.
pub(crate) const HEAD_MAX: usize = 4096;

/// Addresses of metadata services and of the services that hand out a task's or pod's
/// credentials, with the cloud where only one has it.
const SERVICES: [(&str, &str); 6] = [
    ("169.254.169.254", ""),
    ("fd00:ec2::254", "aws"),
    ("169.254.170.2", "aws"),
    ("169.254.170.23", "aws"),
    ("fd00:ec2::23", "aws"),
    ("fd20:ce::254", "gcp"),
];

/// Names of such services in a `Host` header.
const NAMES: [&str; 2] = ["metadata.google.internal", "metadata"];

/// Whether there is a metadata service at an address.
pub(crate) fn is_service(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    SERVICES
        .iter()
        .any(|(service, _)| service.parse() == Ok(ip))
}

/// Whether a `Host` header names a metadata service.
pub(crate) fn is_named(host: &str) -> bool {
    let bare = host.strip_suffix(":80").unwrap_or(host);
    let bare = bare.trim_start_matches('[').trim_end_matches(']');
    NAMES.contains(&bare) || bare.parse().is_ok_and(is_service)
}

/// Decodes the head of an HTTP request; `None` for anything else.
pub(crate) fn decode(bytes: &[u8]) -> Option<Imds> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_request = !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_uppercase())
        && version.starts_with("HTTP/");
    if !is_request {
        return None;
    }
    let mut imds = Imds {
        url: shown(target),
        ..Imds::default()
    };
    let mut cloud = "";
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" => imds.host = picket_events::text::from_bytes(value.as_bytes()),
            "user-agent" => imds.user_agent = picket_events::text::from_bytes(value.as_bytes()),
            "x-aws-ec2-metadata-token" | "x-aws-ec2-metadata-token-ttl-seconds" => {
                (cloud, imds.is_v2) = ("aws", true);
            }
            "metadata-flavor" if value.eq_ignore_ascii_case("google") => cloud = "gcp",
            "metadata-flavor" if value.eq_ignore_ascii_case("ibm") => cloud = "ibm",
            "metadata" if value.eq_ignore_ascii_case("true") => cloud = "azure",
            _ => {}
        }
    }
    if cloud.is_empty() {
        cloud = cloud_of(&imds);
    }
    imds.cloud_provider = cloud.to_owned();
    Some(imds)
}

/// The cloud that an address or path belongs to.
fn cloud_of(imds: &Imds) -> &'static str {
    let by_address = SERVICES
        .iter()
        .find(|(service, cloud)| !cloud.is_empty() && imds.host.contains(service));
    if let Some((_, cloud)) = by_address {
        return cloud;
    }
    match imds.url.split('/').nth(1) {
        Some("latest") => "aws",
        Some("computeMetadata") => "gcp",
        Some("metadata") => "azure",
        Some("opc") => "oracle",
        _ => "",
    }
}

/// A path as it may be told: without a query, and without the part of a credentials path that
/// is itself the key to the credentials.
fn shown(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let shown = match path.strip_prefix("/v2/credentials/") {
        Some(key) if !key.is_empty() => "/v2/credentials/********",
        _ => path,
    };
    picket_events::text::from_bytes(shown.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_by_path_host_and_agent() {
        let request = b"GET /latest/meta-data/iam/security-credentials/?x=1 HTTP/1.1\r\n\
            Host: 169.254.169.254\r\nUser-Agent: curl/8.0\r\n\r\nbody: no header\r\n";
        let imds = decode(request).unwrap();
        assert_eq!(imds.url, "/latest/meta-data/iam/security-credentials/");
        assert_eq!(
            (&*imds.host, &*imds.user_agent),
            ("169.254.169.254", "curl/8.0")
        );
        assert_eq!(
            (&*imds.cloud_provider, imds.is_v2, imds.response),
            ("aws", false, false)
        );
    }

    #[test]
    fn tokens_show_the_second_version_and_stay_inside() {
        let request = b"GET /latest/user-data HTTP/1.1\r\nhost: [fd00:ec2::254]\r\n\
            X-aws-ec2-metadata-token: hunter2\r\n\r\n";
        let imds = decode(request).unwrap();
        assert!(imds.is_v2 && is_named(&imds.host));
        let task = decode(b"GET /v2/credentials/hunter3 HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n");
        let everything = format!("{imds:?} {task:?}");
        assert!(!everything.contains("hunter"), "{everything}");
        assert_eq!(task.unwrap().cloud_provider, "aws");
    }

    #[test]
    fn other_clouds_are_told_by_their_headers() {
        for (header, cloud) in [
            ("Metadata-Flavor: Google", "gcp"),
            ("Metadata: true", "azure"),
        ] {
            let request = format!("GET /x HTTP/1.1\r\nHost: metadata\r\n{header}\r\n\r\n");
            assert_eq!(decode(request.as_bytes()).unwrap().cloud_provider, cloud);
        }
    }

    #[test]
    fn what_is_no_request_is_left_alone() {
        for bytes in [
            b"".as_slice(),
            b"\x16\x03\x01",
            b"GET",
            b"get / HTTP/1.1\r\n",
            b"*3\r\n$3\r\n",
        ] {
            assert_eq!(decode(bytes), None);
        }
        assert!(!is_named("example.org") && is_named("169.254.169.254:80"));
    }
}
