//! Names of user and group ids, from the container's own account files.

use std::collections::{HashMap, HashSet};

use picket_events::wire::Account;
use picket_events::{Credentials, EventKind, File};

/// Which ids the agent was told the names of.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Names by (is a group, id); read when the first is asked for.
    names: Option<HashMap<(bool, u32), String>>,
    told: HashSet<(bool, u32)>,
    /// The last user and the last group of them: most events are about the same as the one before.
    last: [Option<u32>; 2],
}

impl Accounts {
    /// Forgets what was told: the agent is a new one.
    pub(crate) fn forget(&mut self) {
        self.told.clear();
        self.last = [None; 2];
        // The files may have changed meanwhile.
        self.names = None;
    }

    /// The names in an event that the agent does not know yet.
    pub(crate) fn of_event(&mut self, kind: &EventKind) -> Vec<Account> {
        let mut accounts = Vec::new();
        match kind {
            EventKind::SetUid(ids) | EventKind::SetGid(ids) => self.collect(&mut accounts, ids),
            EventKind::Chown { uid, gid, .. } => {
                accounts.extend(uid.and_then(|uid| self.first_use(false, uid)));
                accounts.extend(gid.and_then(|gid| self.first_use(true, gid)));
            }
            EventKind::Fork(process) => self.collect(&mut accounts, &process.credentials),
            _ => {}
        }
        for file in [kind.file(), kind.destination()].into_iter().flatten() {
            self.collect_file(&mut accounts, file);
        }
        accounts
    }

    /// The names in a process's credentials that the agent does not know yet.
    pub(crate) fn of_process(&mut self, credentials: &Credentials) -> Vec<Account> {
        let mut accounts = Vec::new();
        self.collect(&mut accounts, credentials);
        accounts
    }

    fn collect(&mut self, accounts: &mut Vec<Account>, ids: &Credentials) {
        for id in [ids.uid, ids.euid, ids.suid, ids.fsuid] {
            accounts.extend(self.first_use(false, id));
        }
        for id in [ids.gid, ids.egid, ids.sgid, ids.fsgid] {
            accounts.extend(self.first_use(true, id));
        }
    }

    fn collect_file(&mut self, accounts: &mut Vec<Account>, file: &File) {
        if file.inode != 0 {
            accounts.extend(self.first_use(false, file.uid));
            accounts.extend(self.first_use(true, file.gid));
        }
    }

    fn first_use(&mut self, group: bool, id: u32) -> Option<Account> {
        let last = self.last[usize::from(group)].replace(id);
        if last == Some(id) || !self.told.insert((group, id)) {
            return None;
        }
        let name = self
            .names
            .get_or_insert_with(read)
            .get(&(group, id))?
            .clone();
        Some(Account { group, id, name })
    }
}

fn read() -> HashMap<(bool, u32), String> {
    let mut names = HashMap::new();
    for (group, path) in [(false, "/etc/passwd"), (true, "/etc/group")] {
        let text = crate::proc::read(path, 1 << 20).unwrap_or_default();
        for (id, name) in parse(&String::from_utf8_lossy(&text)) {
            // The first line with an id names it, as for getpwuid.
            names.entry((group, id)).or_insert(name);
        }
    }
    names
}

pub(crate) fn parse(text: &str) -> impl Iterator<Item = (u32, String)> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id = fields.nth(1)?.parse().ok()?;
        Some((id, name.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_told_once() {
        let mut accounts = Accounts::default();
        let credentials = Credentials::default();
        let told = accounts.of_process(&credentials);
        assert!(
            told.iter()
                .any(|account| !account.group && account.name == "root")
        );
        assert!(accounts.of_process(&credentials).is_empty());
        accounts.forget();
        assert_eq!(accounts.of_process(&credentials), told);
    }

    #[test]
    fn odd_lines_are_left_out() {
        let all: Vec<_> = parse("root:x:0:0::/:/bin/sh\n#comment\nx:y:z\n").collect();
        assert_eq!(all, [(0, "root".to_owned())]);
    }
}
