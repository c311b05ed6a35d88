//! Names of users and groups, as the tracer read them in the container.

use std::collections::HashMap;

use picket_events::wire::Account;

/// Most names that are kept for one container.
const MAX_NAMES: usize = 4096;
/// Longest name that is kept, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// User and group names of one container.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Accounts {
    /// Takes in a name; a newer one replaces an older one. Names beyond 4096, or longer than
    /// 256 bytes, are left out.
    pub fn insert(&mut self, account: Account) {
        let names = if account.group {
            &mut self.groups
        } else {
            &mut self.users
        };
        let room = names.len() < MAX_NAMES || names.contains_key(&account.id);
        if room && account.name.len() <= MAX_NAME_BYTES {
            names.insert(account.id, account.name);
        }
    }

    /// Name of a user, or an empty string.
    pub fn user(&self, id: u32) -> &str {
        self.users.get(&id).map_or("", String::as_str)
    }

    /// Name of a group, or an empty string.
    pub fn group(&self, id: u32) -> &str {
        self.groups.get(&id).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_apart_and_bounded() {
        let mut accounts = Accounts::default();
        for id in 0..10_000 {
            accounts.insert(Account {
                group: false,
                id,
                name: format!("u{id}"),
            });
        }
        accounts.insert(Account {
            group: false,
            id: 1,
            name: "renamed".to_owned(),
        });
        accounts.insert(Account {
            group: true,
            id: 1,
            name: "x".repeat(1000),
        });
        assert_eq!((accounts.user(1), accounts.user(9_999)), ("renamed", ""));
        assert_eq!(accounts.group(1), "");
    }
}
