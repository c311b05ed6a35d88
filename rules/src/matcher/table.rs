//! Large sets of texts, as list files bring them.

/// A set of texts that was read from a list file: one text after the other in one piece of
/// memory, found by halving.
#[derive(Debug, Default)]
pub(crate) struct TextTable {
    /// All texts, in order, without anything between them.
    texts: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
    domains: bool,
}

impl TextTable {
    /// A set of texts that a value has to equal.
    pub(crate) fn exact(entries: Vec<String>) -> Self {
        Self::new(entries, false)
    }

    /// A set of domains, in lower case: a name belongs to it when it is one of them or lies
    /// below one.
    pub(crate) fn domains(entries: Vec<String>) -> Self {
        Self::new(entries, true)
    }

    fn new(mut entries: Vec<String>, domains: bool) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let mut texts = String::with_capacity(entries.iter().map(String::len).sum());
        let mut ends = Vec::with_capacity(entries.len());
        for entry in &entries {
            texts.push_str(entry);
            // The size of a list file is bounded far below this.
            ends.push(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        }
        Self {
            texts: texts.into(),
            ends: ends.into(),
            domains,
        }
    }

    /// How many texts it has.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        if self.ends.is_empty() {
            return false;
        }
        if !self.domains {
            return self.find(text);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find_domain(&text.to_ascii_lowercase());
        }
        self.find_domain(text)
    }

    fn find_domain(&self, mut name: &str) -> bool {
        loop {
            if self.find(name) {
                return true;
            }
            match name.split_once('.') {
                Some((_, above)) => name = above,
                None => return false,
            }
        }
    }

    fn find(&self, text: &str) -> bool {
        let (mut from, mut to) = (0, self.ends.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle).cmp(text) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }

    fn get(&self, index: usize) -> &str {
        let start = match index {
            0 => 0,
            index => self.ends[index - 1] as usize,
        };
        &self.texts[start..self.ends[index] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_a_table_is_found_and_no_other() {
        let texts: Vec<String> = (0..3000).map(|number| format!("tool-{number}")).collect();
        let table = TextTable::exact(texts.clone());
        assert_eq!(table.len(), 3000);
        assert!(texts.iter().all(|text| table.contains(text)));
        for other in ["", "tool-", "tool-3000", "tool-1 ", "zzz", "Tool-1"] {
            assert!(!table.contains(other), "{other}");
        }
        assert!(!TextTable::default().contains(""));
    }

    #[test]
    fn a_domain_stands_for_the_names_below_it() {
        let table = TextTable::domains(vec!["pool.example".to_owned(), "bad.test".to_owned()]);
        for name in [
            "pool.example",
            "eu.POOL.example.",
            "a.b.bad.test",
            "bad.test",
        ] {
            assert!(table.contains(name), "{name}");
        }
        for name in ["example", "notbad.test", "pool.example.org", "", "."] {
            assert!(!table.contains(name), "{name}");
        }
    }
}
