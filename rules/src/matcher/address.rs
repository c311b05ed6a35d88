//! Sets of addresses and networks.

use std::sync::Arc;

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
///
/// Networks either nest or are apart, so that "holds or lies in" is the same as "shares an
/// address with": the set is kept as ranges in order, which is small and found by halving.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// Sets from list files, which several rules share.
    shared: Vec<Arc<AddressSet>>,
}

impl AddressSet {
    pub(crate) fn insert(&mut self, network: IpNet) {
        match normalize(network) {
            IpNet::V4(v4) => self
                .v4
                .push((v4.network().to_bits(), v4.broadcast().to_bits())),
            IpNet::V6(v6) => self
                .v6
                .push((v6.network().to_bits(), v6.broadcast().to_bits())),
        }
    }

    /// Adds everything that another set holds, without a copy of it.
    pub(crate) fn share(&mut self, other: &Arc<AddressSet>) {
        self.shared.push(Arc::clone(other));
    }

    /// To be called when all networks are there.
    pub(crate) fn seal(&mut self) {
        merge(&mut self.v4);
        merge(&mut self.v6);
    }

    /// True when no address belongs to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.shared.iter().all(|set| set.is_empty())
    }

    /// True when the value fits any network.
    pub(crate) fn contains(&self, value: IpNet) -> bool {
        let value = normalize(value);
        let own = match value {
            IpNet::V4(v4) => touches(&self.v4, v4.network().to_bits(), v4.broadcast().to_bits()),
            IpNet::V6(v6) => touches(&self.v6, v6.network().to_bits(), v6.broadcast().to_bits()),
        };
        own || self.shared.iter().any(|set| set.contains(value))
    }
}

/// Puts ranges in order and makes one of those that overlap.
fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlaps = next.0 <= kept.1;
        if overlaps {
            kept.1 = kept.1.max(next.1);
        }
        overlaps
    });
    ranges.shrink_to_fit();
}

/// True when one of the ranges has an address between `first` and `last`.
fn touches<T: Ord + Copy>(ranges: &[(T, T)], first: T, last: T) -> bool {
    let behind = ranges.partition_point(|range| range.0 <= last);
    behind > 0 && ranges[behind - 1].1 >= first
}

/// True when one network holds the other. Both have to be normalized.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn set(networks: &[&str]) -> AddressSet {
        let mut set = AddressSet::default();
        for network in networks {
            set.insert(parse(network));
        }
        set.seal();
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
            (&["::/0"], "1.2.3.4", false),
            (&["10.0.0.0/8", "10.1.0.0/16"], "10.200.0.1", true),
            (&["10.0.0.0/8", "12.0.0.0/8"], "11.255.255.255", false),
            (&["10.0.0.4", "10.0.0.9"], "10.0.0.8/30", true),
            (&["10.0.0.4", "10.0.0.9"], "10.0.0.12/30", false),
            (&["2001:db8::1"], "2001:db8::/32", true),
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
