//! File system types of mounts.

use std::cell::RefCell;
use std::collections::HashMap;

/// What `/proc/self/mountinfo` tells, read when a mount is first met.
#[derive(Debug, Default)]
pub(crate) struct Mounts(RefCell<HashMap<u64, String>>);

impl Mounts {
    /// Type of a mount's file system; empty where unknown.
    pub(crate) fn filesystem(&self, mount_id: u64) -> String {
        if mount_id == 0 {
            return String::new();
        }
        let mut known = self.0.borrow_mut();
        if !known.contains_key(&mount_id) {
            let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
            known.extend(parse(&String::from_utf8_lossy(&text)));
            // A mount of another name space is not listed: do not look for it again.
            known.entry(mount_id).or_default();
        }
        known.get(&mount_id).cloned().unwrap_or_default()
    }
}

fn parse(text: &str) -> impl Iterator<Item = (u64, String)> + '_ {
    text.lines().filter_map(|line| {
        let id = line.split(' ').next()?.parse().ok()?;
        // Optional fields end with a lone dash; the type follows it.
        let filesystem = line.split(" - ").nth(1)?.split(' ').next()?;
        Some((id, filesystem.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn types_follow_the_dash() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let all: Vec<_> = super::parse(line).collect();
        assert_eq!(all, [(36, "ext3".to_owned())]);
    }
}
