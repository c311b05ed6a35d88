//! Names under which addresses were looked up: what `connect.addr.hostname` says.

use std::collections::HashMap;
use std::net::IpAddr;

use picket_events::event::Dns;

/// Most addresses that are remembered for a container.
const MOST_ADDRESSES: usize = 4096;

/// Most names that are remembered for one address.
const MOST_NAMES: usize = 8;

/// What the DNS answers of one container said.
#[derive(Debug, Default)]
pub(crate) struct HostNames {
    names: HashMap<IpAddr, Vec<String>>,
}

impl HostNames {
    /// Takes in an answer. A question has no addresses and changes nothing.
    pub(crate) fn answered(&mut self, dns: &Dns) {
        if dns.name.is_empty() {
            return;
        }
        for address in &dns.answers {
            let address = address.to_canonical();
            // Rarely reached; what is looked up again is known again.
            if self.names.len() >= MOST_ADDRESSES && !self.names.contains_key(&address) {
                self.names.clear();
            }
            let names = self.names.entry(address).or_default();
            if let Some(known) = names.iter().position(|name| *name == dns.name) {
                names.remove(known);
            }
            names.push(dns.name.clone());
            if names.len() > MOST_NAMES {
                names.remove(0);
            }
        }
    }

    /// The names of an address, the latest last.
    pub(crate) fn of(&self, address: IpAddr) -> Vec<String> {
        let names = self.names.get(&address.to_canonical());
        names.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, address: [u8; 4]) -> Dns {
        Dns {
            name: name.to_owned(),
            answers: vec![IpAddr::from(address)],
            ..Dns::default()
        }
    }

    #[test]
    fn an_address_has_the_names_it_was_looked_up_by() {
        let mut names = HostNames::default();
        for name in ["a.example", "b.example", "a.example"] {
            names.answered(&answer(name, [192, 0, 2, 1]));
        }
        assert_eq!(names.of([192, 0, 2, 1].into()), ["b.example", "a.example"]);
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(names.of(mapped).len(), 2);
        assert!(names.of([192, 0, 2, 2].into()).is_empty());
    }

    #[test]
    fn names_do_not_pile_up() {
        let mut names = HostNames::default();
        for number in 0..100_000u32 {
            names.answered(&answer("a.example", number.to_be_bytes()));
            names.answered(&answer(&format!("{number}.example"), [192, 0, 2, 1]));
        }
        assert!(names.names.len() <= MOST_ADDRESSES);
        assert!(names.of([192, 0, 2, 1].into()).len() <= MOST_NAMES);
    }
}
