//! What a process descends from, worked out once for many events.

use crate::tree::{Key, ProcessTree};

/// The ancestors of the process that was asked for last: mostly, the next event is of the same
/// one, and no process came or left since.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// The process, and [`ProcessTree::changes`] at the time.
    of: Option<(Key, u64)>,
    keys: Vec<Key>,
}

impl Lineage {
    /// What a process descends from, nearest first; nothing for no process.
    pub(super) fn of(&mut self, key: Option<Key>, tree: &ProcessTree) -> &[Key] {
        let of = key.map(|key| (key, tree.changes()));
        if self.of != of {
            self.of = of;
            self.keys.clear();
            let ancestors = key.into_iter().flat_map(|key| tree.ancestors(key));
            self.keys.extend(ancestors.map(|(key, _)| key));
        }
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use picket_events::Process;

    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        Process {
            pid,
            parent,
            started_at: u64::from(pid),
            ..Process::default()
        }
    }

    /// Pids of the ancestors, as the memory gives them; they have to be those of the tree.
    fn pids(lineage: &mut Lineage, tree: &ProcessTree, pid: u32) -> Vec<u32> {
        let key = tree.find(pid);
        let given = lineage.of(key, tree).to_vec();
        let ancestors = key.into_iter().flat_map(|key| tree.ancestors(key));
        assert_eq!(given, ancestors.map(|(key, _)| key).collect::<Vec<_>>());
        let nodes = given.iter().filter_map(|key| tree.get(*key));
        nodes.map(|node| node.pid).collect()
    }

    #[test]
    fn what_is_remembered_is_what_the_tree_says() {
        let mut lineage = Lineage::default();
        let mut tree = ProcessTree::default();
        for (pid, parent) in [(1, 0), (2, 1), (3, 2)] {
            tree.insert(process(pid, parent));
        }
        assert_eq!(pids(&mut lineage, &tree, 3), [2, 1]);
        assert_eq!(pids(&mut lineage, &tree, 3), [2, 1]);
        assert_eq!(pids(&mut lineage, &tree, 2), [1]);
        assert_eq!(pids(&mut lineage, &tree, 9), [0; 0]);
        // The same pid, another process.
        tree.end(tree.find(3).unwrap(), 10);
        tree.insert(Process {
            started_at: 11,
            ..process(3, 1)
        });
        assert_eq!(pids(&mut lineage, &tree, 3), [1]);
    }

    #[test]
    fn trees_are_not_taken_for_one_another() {
        let mut lineage = Lineage::default();
        let trees: Vec<ProcessTree> = [1, 2]
            .map(|parent| {
                let mut tree = ProcessTree::default();
                for process in [process(1, 0), process(2, 1), process(3, parent)] {
                    tree.insert(process);
                }
                tree
            })
            .into();
        // Both have the process in the same place, after as many changes.
        assert_eq!(trees[0].find(3), trees[1].find(3));
        for _ in 0..2 {
            assert_eq!(pids(&mut lineage, &trees[0], 3), [1]);
            assert_eq!(pids(&mut lineage, &trees[1], 3), [2, 1]);
        }
    }
}
