//! Sets of addresses and networks.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Writes a v4-mapped v6 network as the v4 network it stands for, and clears host bits.
pub(crate) fn normalize(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return IpNet::V4(v4).trunc();
    }
    network.trunc()
}

/// Networks that a value is held against. A value belongs to the set when it lies in one of
/// them or, being a network itself, holds one of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressSet {
    all: HashSet<IpNet>,
    /// Prefix lengths that occur, bit n for length n.
    v4_lengths: u64,
    v6_lengths: u128,
    has_v6_host: bool,
    in_order: Vec<IpNet>,
}

impl AddressSet {
    pub(crate) fn insert(&mut self, network: IpNet) {
        let network = normalize(network);
        if !self.all.insert(network) {
            return;
        }
        self.in_order.push(network);
        match network {
            IpNet::V4(v4) => self.v4_lengths |= 1 << v4.prefix_len(),
            IpNet::V6(v6) if v6.prefix_len() == 128 => self.has_v6_host = true,
            IpNet::V6(v6) => self.v6_lengths |= 1 << v6.prefix_len(),
        }
    }

    /// True when the value fits any network.
    pub(crate) fn contains(&self, value: IpNet) -> bool {
        let value = normalize(value);
        if value.prefix_len() < value.max_prefix_len() {
            return self.in_order.iter().any(|network| overlap(*network, value));
        }
        match value.addr() {
            IpAddr::V4(_) => self.find(value, u128::from(self.v4_lengths)),
            IpAddr::V6(_) => {
                self.has_v6_host && self.all.contains(&value) || self.find(value, self.v6_lengths)
            }
        }
    }

    /// True when the value fits every network.
    pub(crate) fn contained_in_all(&self, value: IpNet) -> bool {
        let value = normalize(value);
        self.in_order.iter().all(|network| overlap(*network, value))
    }

    fn find(&self, value: IpNet, mut lengths: u128) -> bool {
        while lengths != 0 {
            let length = lengths.trailing_zeros() as u8;
            lengths &= lengths - 1;
            if let Ok(network) = IpNet::new(value.addr(), length)
                && self.all.contains(&network.trunc())
            {
                return true;
            }
        }
        false
    }
}

/// True when one network holds the other. Both have to be normalized.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> AddressSet {
        let mut set = AddressSet::default();
        for network in networks {
            set.insert(parse(network));
        }
        set
    }

    fn parse(text: &str) -> IpNet {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .unwrap()
    }

    #[test]
    fn containment_goes_both_ways() {
        let cases = [
            (&["10.0.0.0/8"][..], "10.1.2.3", true),
            (&["10.0.0.0/8"], "11.1.2.3", false),
            (&["10.1.2.3"], "10.0.0.0/8", true),
            (&["10.1.2.3"], "::ffff:10.1.2.3", true),
            (&["::ffff:10.1.2.3"], "10.1.2.3", true),
            (&["2001:db8::/32", "::1"], "2001:db8::5", true),
            (&["2001:db8::/32", "::1"], "::1", true),
            (&["2001:db8::/32"], "1.2.3.4", false),
            (&["0.0.0.0/0"], "1.2.3.4", true),
        ];
        for (networks, value, expected) in cases {
            assert_eq!(
                set(networks).contains(parse(value)),
                expected,
                "{networks:?} {value}"
            );
        }
    }
}
