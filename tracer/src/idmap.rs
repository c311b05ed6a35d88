//! Maps by process or thread id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by process or thread id. The kernel chooses the ids, so nobody can make them collide,
/// and the default hash, made for keys that others choose, is a good part of a look-up's cost.
pub(crate) type IdMap<V> = HashMap<u32, V, BuildHasherDefault<IdHasher>>;

/// Spreads an id over a word.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // The upper bits have to differ too: the map tells neighbours apart by them.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
