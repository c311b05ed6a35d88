//! Where the resolver may go. Whoever writes pods chooses image names, and so the hosts that we
//! speak to; every address is checked when it is connected to, so that neither a redirect nor a
//! name whose answer changes leads anywhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where the resolver may go.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Networks that are allowed whatever else is said.
    pub allowed: Vec<IpNet>,
    /// Networks that are refused beside those that always are: the cluster's own.
    pub refused: Vec<IpNet>,
    /// Registries (`host` or `host:port`) that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// Hosts of token services that may see credentials of any registry.
    pub token_hosts: Vec<String>,
}

/// Services that hand out credentials to whoever asks, outside link-local ranges: Azure, Alibaba
/// Cloud, Oracle Cloud.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

impl Guard {
    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// What kind of address it is.
    pub fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        let inner = embedded(address);
        let listed = |networks: &[IpNet]| {
            let contains = |address: &IpAddr| networks.iter().any(|net| net.contains(address));
            contains(&address) || contains(&inner)
        };
        if listed(&self.allowed) {
            return Ok(());
        }
        if listed(&self.refused) {
            return Err("of a refused network");
        }
        match inner {
            IpAddr::V4(address) => check_v4(address),
            IpAddr::V6(address) => check_v6(address),
        }
    }

    /// Whether a registry is spoken to without TLS.
    pub fn is_plain(&self, authority: &str) -> bool {
        self.plain_http.iter().any(|plain| plain == authority)
    }

    /// Whether a token service may see the credentials of a registry: if both belong to the same
    /// organisation as far as names tell, or it is listed.
    pub fn may_see_credentials(&self, token_host: &str, registry_host: &str) -> bool {
        token_host == registry_host
            || self.token_hosts.iter().any(|host| host == token_host)
            || match (organisation(token_host), organisation(registry_host)) {
                (Some(token), Some(registry)) => token == registry,
                _ => false,
            }
    }
}

/// The registrable domain, for example `docker.io` of `auth.docker.io`.
fn organisation(host: &str) -> Option<&str> {
    if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
        return None;
    }
    psl::domain_str(host)
}

/// The IPv4 address inside an IPv6 one, which is where packets may end up.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let octets = v6.octets();
    let at = |from: usize| {
        Ipv4Addr::new(
            octets[from],
            octets[from + 1],
            octets[from + 2],
            octets[from + 3],
        )
        .into()
    };
    // NAT64, 6to4, and the obsolete IPv4-compatible form.
    if octets[..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0] {
        return at(12);
    }
    if octets[..2] == [0x20, 0x02] {
        return at(2);
    }
    if octets[..12] == [0; 12] && !v6.is_loopback() && !v6.is_unspecified() {
        return at(12);
    }
    address
}

fn check_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    let first = address.octets()[0];
    if address.is_loopback() {
        Err("of this machine")
    } else if address.is_link_local() || METADATA.contains(&address) {
        Err("link-local or of a metadata service")
    } else if first == 0 || address.is_multicast() || first >= 240 {
        Err("not of a single machine")
    } else {
        Ok(())
    }
}

fn check_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    // AWS' metadata, DNS and time services.
    let aws = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32);
    if address.is_loopback() {
        Err("of this machine")
    } else if address.is_unicast_link_local() || aws.contains(&address) {
        Err("link-local or of a metadata service")
    } else if address.is_unspecified() || address.is_multicast() {
        Err("not of a single machine")
    } else {
        Ok(())
    }
}

/// The networks of loopback addresses, for those who run registries beside their tools.
pub fn loopback() -> [IpNet; 2] {
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_table() {
        let guard = Guard {
            allowed: vec![
                "10.9.0.0/16".parse().unwrap(),
                "169.254.7.7/32".parse().unwrap(),
            ],
            refused: vec![
                "10.100.0.0/16".parse().unwrap(),
                "10.9.1.0/24".parse().unwrap(),
            ],
            ..Guard::default()
        };
        for (address, allowed) in [
            ("93.184.216.34", true),
            ("10.1.2.3", true),
            ("192.168.1.1", true),
            ("10.100.0.1", false),
            ("10.9.1.1", true),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("169.254.169.254", false),
            ("169.254.170.2", false),
            ("169.254.170.23", false),
            ("169.254.7.7", true),
            ("168.63.129.16", false),
            ("100.100.100.200", false),
            ("192.0.0.192", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.100.0.1", false),
            ("::169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:a9fe:a9fe::1", false),
            ("2002:7f00:1::", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("fd00:ec2::23", false),
            ("ff02::1", false),
            ("fd12::1", true),
            ("2606:2800:220::1", true),
            ("64:ff9b::5db8:d822", true),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(guard.check(address).is_ok(), allowed, "{address}");
        }
    }

    #[test]
    fn token_services_by_table() {
        let guard = Guard {
            token_hosts: vec!["sso.other.example".into()],
            ..Guard::default()
        };
        for (token, registry, may) in [
            ("auth.docker.io", "registry-1.docker.io", true),
            ("r.example.com", "r.example.com", true),
            ("gitlab.example.com", "registry.example.com", true),
            ("evil.com", "registry.example.com", false),
            ("example.com.evil.com", "registry.example.com", false),
            ("a.co.uk", "b.co.uk", false),
            ("sso.other.example", "registry.example.com", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.2", "10.0.0.1", false),
            ("localhost", "localhost", true),
        ] {
            assert_eq!(
                guard.may_see_credentials(token, registry),
                may,
                "{token} for {registry}"
            );
        }
    }
}
