//! The processes of one container, the dead included as long as somebody descends from them.
//!
//! The tracer tells what happens to processes in the order in which it happened; the tree
//! follows. It holds a bounded number of processes and bytes: the dead leave first.

mod environment;
mod node;
mod program;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use picket_events::{Credentials, Image, Process};

pub use node::ProcessNode;
pub use program::Program;

/// Most ancestors that are looked at from any process.
pub const MAX_ANCESTORS: usize = 200;

/// How much a tree may hold.
#[derive(Debug, Clone, Copy)]
pub struct TreeLimits {
    /// Processes, dead ones included.
    pub processes: usize,
    /// Bytes of arguments, environment and paths.
    pub bytes: usize,
    /// Dead processes without living descendants that are kept for events that arrive late.
    pub recent_dead: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            processes: 8192,
            bytes: 16 * 1024 * 1024,
            recent_dead: 128,
        }
    }
}

/// Names a process in its tree for good; it does not come to mean another one when its place
/// is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    node: Option<ProcessNode>,
}

/// Numbers the changes of all trees.
static CHANGES: AtomicU64 = AtomicU64::new(0);

fn next_change() -> u64 {
    CHANGES.fetch_add(1, Ordering::Relaxed)
}

/// Processes by pid and by descent.
#[derive(Debug)]
pub struct ProcessTree {
    limits: TreeLimits,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_pid: HashMap<u32, Key, RandomState>,
    /// The dead without children, in the order in which they became that.
    leaves: VecDeque<Key>,
    /// All dead in order of death; keys of those that left are skipped.
    dead: VecDeque<Key>,
    budget: program::Budget,
    environments: environment::Environments,
    unknown: Arc<Program>,
    forgotten: u64,
    /// See [`ProcessTree::changes`].
    changes: u64,
    /// [`ProcessNode::identity`] of those that left since it was last asked for.
    left: Vec<u64>,
}

impl Default for ProcessTree {
    fn default() -> Self {
        Self::new(TreeLimits::default())
    }
}

impl ProcessTree {
    /// An empty tree.
    pub fn new(limits: TreeLimits) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            by_pid: HashMap::default(),
            leaves: VecDeque::new(),
            dead: VecDeque::new(),
            budget: program::Budget::default(),
            environments: environment::Environments::default(),
            unknown: Arc::new(Program::default()),
            forgotten: 0,
            changes: next_change(),
            left: Vec::new(),
        }
    }

    /// Number of processes held, the dead included.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when no process is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many processes were left out because the tree was full of living ones, or lost
    /// their place although somebody living descends from them.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The process that has, or had last, this pid.
    pub fn find(&self, pid: u32) -> Option<Key> {
        self.by_pid.get(&pid).copied()
    }

    /// The process behind a key; `None` once it left the tree.
    pub fn get(&self, key: Key) -> Option<&ProcessNode> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.node
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    fn get_mut(&mut self, key: Key) -> Option<&mut ProcessNode> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.node
            .as_mut()
            .filter(|_| slot.generation == key.generation)
    }

    /// What `key` descends from, nearest first: parents, and before each what the same
    /// process ran earlier, if it executed one program after another. Ends after
    /// [`MAX_ANCESTORS`], or where the lineage is not known.
    pub fn ancestors(&self, key: Key) -> Ancestors<'_> {
        Ancestors {
            tree: self,
            next: self.get(key).and_then(|node| node.parent),
            left: MAX_ANCESTORS,
        }
    }

    /// A number that no other tree has, and this one only until a process comes or leaves: as long
    /// as it is the same, so are the [`ProcessTree::ancestors`] of every process.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// All processes, the dead included.
    pub fn all(&self) -> impl Iterator<Item = &ProcessNode> {
        self.slots.iter().filter_map(|slot| slot.node.as_ref())
    }

    /// All processes that live.
    pub fn living(&self) -> impl Iterator<Item = &ProcessNode> {
        self.all().filter(|node| node.ended_at.is_none())
    }

    /// [`ProcessNode::identity`] of the processes that left the tree since the last call.
    pub fn take_left(&mut self) -> std::vec::Drain<'_, u64> {
        self.left.drain(..)
    }

    /// Takes in a process that was made or is told of again after a reconnect.
    pub fn insert(&mut self, process: Process) -> Option<Key> {
        if let Some(key) = self.find(process.pid) {
            let node = self.get_mut(key)?;
            if node.started_at == process.started_at {
                self.refresh(key, process);
                return Some(key);
            }
            self.end(key, process.started_at);
        }
        let parent = self.parent_of(&process);
        let program = self.program(process.image.as_ref(), parent);
        self.add(ProcessNode::new(process, program, parent))
    }

    /// The process with this pid, taken in as one of which nothing else is known where no
    /// message told of it.
    pub fn find_or_insert(&mut self, pid: u32) -> Option<Key> {
        self.find(pid).or_else(|| {
            let process = Process {
                pid,
                ..Process::default()
            };
            let program = Arc::clone(&self.unknown);
            self.add(ProcessNode::new(process, program, None))
        })
    }

    /// The process executed a program. What it ran before stays as its ancestor, unless that
    /// was inherited or is the same file.
    pub fn exec(&mut self, key: Key, image: Image, time: u64) -> Key {
        let program = self.new_program(image);
        let Some(node) = self.get_mut(key) else {
            return key;
        };
        let before = &node.program.image.file;
        let after = &program.image.file;
        let same = before.path == after.path && before.inode == after.inode;
        if !node.is_exec() || same || node.ended_at.is_some() {
            node.program = program;
            node.executed_at = time;
            node.renamed = None;
            return key;
        }
        let mut next = node.clone();
        next.program = program;
        next.executed_at = time;
        next.renamed = None;
        next.parent = Some(key);
        next.children = 0;
        self.add(next).map_or(key, |added| {
            self.end(key, time);
            added
        })
    }

    /// The process ended, or made place for another with its pid. Ending twice changes nothing.
    pub fn end(&mut self, key: Key, time: u64) {
        let Some(node) = self.get_mut(key) else {
            return;
        };
        if node.ended_at.is_some() {
            return;
        }
        node.ended_at = Some(time);
        let childless = node.children == 0;
        self.dead.push_back(key);
        if childless {
            self.leaves.push_back(key);
        }
        self.trim(self.limits.recent_dead);
    }

    /// The process has these ids from now on.
    pub fn set_credentials(&mut self, key: Key, credentials: Credentials) {
        if let Some(node) = self.get_mut(key) {
            node.credentials = credentials;
        }
    }

    /// The process has these capabilities from now on.
    pub fn set_capabilities(&mut self, key: Key, effective: u64, permitted: u64) {
        if let Some(node) = self.get_mut(key) {
            node.credentials.cap_effective = effective;
            node.credentials.cap_permitted = permitted;
        }
    }

    /// The process gave itself this name.
    pub fn rename(&mut self, key: Key, name: &str) {
        if let Some(node) = self.get_mut(key) {
            node.renamed = Some(name.chars().take(15).collect());
        }
    }

    /// A tracer connected again: what it does not tell of now ended unseen.
    pub fn begin_snapshot(&mut self) {
        let nodes = self.slots.iter_mut().filter_map(|slot| slot.node.as_mut());
        for node in nodes.filter(|node| node.ended_at.is_none()) {
            node.stale = true;
        }
    }

    /// The snapshot is over.
    pub fn end_snapshot(&mut self, time: u64) {
        let stale: Vec<Key> = self
            .keys()
            .filter(|&key| self.get(key).is_some_and(|n| n.stale))
            .collect();
        for key in stale {
            self.end(key, time);
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let slots = self.slots.iter().enumerate();
        slots.map(|(slot, content)| Key {
            slot: slot as u32,
            generation: content.generation,
        })
    }

    fn refresh(&mut self, key: Key, process: Process) {
        let parent = self.get(key).and_then(|node| node.parent);
        // A fork says nothing of a program; it is older than what is known.
        let told = process.image.as_ref();
        let program = told.map(|image| self.program(Some(image), parent));
        let Some(node) = self.get_mut(key) else {
            return;
        };
        node.stale = false;
        // A fork that was buffered while a newer snapshot overtook it has nothing new.
        if process.executed_at >= node.executed_at {
            if let Some(program) = program
                && node.program.image != program.image
            {
                node.program = program;
            }
            node.executed_at = process.executed_at;
            node.credentials = process.credentials;
            node.session = process.session;
        }
    }

    fn parent_of(&self, process: &Process) -> Option<Key> {
        let key = self.find(process.parent)?;
        // A parent younger than its child is another process with a recycled pid.
        let parent = self.get(key)?;
        let plausible = process.pid != process.parent
            && (process.started_at == 0 || parent.started_at <= process.started_at);
        plausible.then_some(key)
    }

    /// The program that a process was told to run, or its parent's where none was.
    fn program(&mut self, image: Option<&Image>, parent: Option<Key>) -> Arc<Program> {
        let inherited = parent
            .and_then(|key| self.get(key))
            .map(|node| &node.program);
        let is_told = |program: &Program| image.is_none_or(|image| program.image == *image);
        match (inherited.filter(|program| is_told(program)), image) {
            (Some(program), _) => Arc::clone(program),
            (None, Some(image)) => self.new_program(image.clone()),
            (None, None) => Arc::clone(&self.unknown),
        }
    }

    fn add(&mut self, node: ProcessNode) -> Option<Key> {
        if !self.make_room(|tree| tree.len() >= tree.limits.processes) {
            self.forgotten += 1;
            return None;
        }
        let pid = node.pid;
        if let Some(parent) = node.parent.and_then(|key| self.get_mut(key)) {
            parent.children += 1;
        }
        let key = match self.free.pop() {
            Some(slot) => Key {
                slot,
                generation: self.slots[slot as usize].generation,
            },
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    node: None,
                });
                Key {
                    slot: (self.slots.len() - 1) as u32,
                    generation: 0,
                }
            }
        };
        self.slots[key.slot as usize].node = Some(node);
        self.changes = next_change();
        self.by_pid.insert(pid, key);
        Some(key)
    }

    /// A program that fits: under pressure its arguments are cut and its environment is left
    /// out, so that a process never has to be left out for them.
    fn new_program(&mut self, mut image: Image) -> Arc<Program> {
        if !self.make_room(|tree| tree.budget.used() >= tree.limits.bytes) {
            program::cut(&mut image);
        }
        let environment = self.environments.of(&image.envs, &self.budget);
        Arc::new(Program::within(image, environment, &self.budget))
    }

    /// Lets the dead go until it is not full any more: first those nobody descends from, then
    /// the oldest. False when all that is left lives.
    fn make_room(&mut self, is_full: impl Fn(&Self) -> bool) -> bool {
        if is_full(self) {
            self.trim(0);
        }
        while is_full(self) {
            let Some(key) = self.dead.pop_front() else {
                return false;
            };
            if self.get(key).is_some() {
                self.forgotten += 1;
                self.remove(key);
            }
        }
        true
    }

    /// Removes the oldest of the dead without children until `keep` are left.
    fn trim(&mut self, keep: usize) {
        while self.leaves.len() > keep {
            let Some(key) = self.leaves.pop_front() else {
                break;
            };
            // One that made a child after it was put here stays; it comes again.
            if self.get(key).is_some_and(|node| node.children == 0) {
                self.remove(key);
            }
        }
        if self.dead.len() > 2 * self.len() + 16 {
            let dead = std::mem::take(&mut self.dead);
            self.dead = dead
                .into_iter()
                .filter(|&key| self.get(key).is_some())
                .collect();
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(node) = self.get(key) else { return };
        let (pid, parent, identity) = (node.pid, node.parent, node.identity());
        let slot = &mut self.slots[key.slot as usize];
        slot.node = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.changes = next_change();
        self.free.push(key.slot);
        if self.find(pid) == Some(key) {
            self.by_pid.remove(&pid);
        }
        // What a living process ran before does not take the process with it.
        let successor = self.find(pid).and_then(|key| self.get(key));
        if successor.is_none_or(|node| node.identity() != identity) {
            self.left.push(identity);
        }
        let Some(parent_key) = parent else { return };
        let Some(parent) = self.get_mut(parent_key) else {
            return;
        };
        parent.children -= 1;
        if parent.children == 0 && parent.ended_at.is_some() {
            self.leaves.push_back(parent_key);
        }
    }
}

/// See [`ProcessTree::ancestors`].
#[derive(Debug, Clone)]
pub struct Ancestors<'a> {
    tree: &'a ProcessTree,
    next: Option<Key>,
    left: usize,
}

impl<'a> Iterator for Ancestors<'a> {
    type Item = (Key, &'a ProcessNode);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = self.next.take()?;
        let node = self.tree.get(key)?;
        self.next = node.parent;
        Some((key, node))
    }
}

#[cfg(test)]
mod tests;
