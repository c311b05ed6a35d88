//! Environments, worked out once for all the programs that have them.

use std::sync::{Arc, Weak};

use picket_events::wire::environments::PLACES;

use super::program::Budget;

/// An environment, and what SECL derives from it.
#[derive(Debug, Default)]
pub(super) struct Environment {
    variables: Arc<Vec<String>>,
    /// Variables by name, and as `NAME=value` where the tracer tells the value (`envs`).
    pub(super) entries: Vec<String>,
    bytes: usize,
    budget: Budget,
}

impl Environment {
    /// One that counts against `budget` as long as it lives.
    pub(super) fn within(variables: &Arc<Vec<String>>, budget: &Budget) -> Self {
        let mut environment = Self {
            variables: Arc::clone(variables),
            entries: entries(variables),
            bytes: 0,
            budget: budget.clone(),
        };
        environment.bytes = environment.size();
        budget.take(environment.bytes);
        environment
    }

    fn size(&self) -> usize {
        let texts = self.variables.iter().chain(&self.entries);
        let texts: usize = texts
            .map(|text| text.capacity() + size_of::<String>())
            .sum();
        texts + size_of::<Self>()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Datadog's agent gives the name of a variable, or `NAME=value` where it is told to show that
/// variable's values; which one a rule's author had in mind is not known, so both are given.
fn entries(variables: &[String]) -> Vec<String> {
    let mut entries = Vec::with_capacity(variables.len());
    for variable in variables {
        if let Some((name, _)) = variable.split_once('=') {
            entries.push(name.to_owned());
        }
        entries.push(variable.clone());
    }
    entries
}

/// Those that some program has, the last used first.
#[derive(Debug, Default)]
pub(super) struct Environments(Vec<Weak<Environment>>);

impl Environments {
    /// What is known of the environment that this list is; worked out where it is new. A connection
    /// gives the same list for all programs that have the same environment.
    pub(super) fn of(&mut self, variables: &Arc<Vec<String>>, budget: &Budget) -> Arc<Environment> {
        let same = |known: &Arc<Environment>| Arc::ptr_eq(&known.variables, variables);
        let known = self.0.iter().enumerate();
        let mut known = known.filter_map(|(place, known)| Some((place, known.upgrade()?)));
        if let Some((place, found)) = known.find(|(_, known)| same(known)) {
            self.0[..=place].rotate_right(1);
            return found;
        }
        let new = Arc::new(Environment::within(variables, budget));
        self.0.truncate(PLACES - 1);
        self.0.insert(0, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(number: usize) -> Arc<Vec<String>> {
        Arc::new(vec![number.to_string()])
    }

    #[test]
    fn a_variable_is_found_by_its_name_and_by_a_value_that_is_told() {
        let variables = vec!["PATH".to_owned(), "LD_PRELOAD=/tmp/a=b.so".to_owned()];
        let environment = Environment::within(&Arc::new(variables), &Budget::default());
        let expected = ["PATH", "LD_PRELOAD", "LD_PRELOAD=/tmp/a=b.so"];
        assert_eq!(environment.entries, expected);
    }

    #[test]
    fn one_list_is_worked_out_once_and_forgotten_with_the_last_that_has_it() {
        let (mut environments, budget) = (Environments::default(), Budget::default());
        let (one, other) = (list(1), list(2));
        let first = environments.of(&one, &budget);
        let second = environments.of(&other, &budget);
        assert!(Arc::ptr_eq(&first, &environments.of(&one, &budget)));
        assert!(Arc::ptr_eq(&second, &environments.of(&other, &budget)));
        let used = budget.used();
        drop(first);
        assert!(budget.used() < used);
        drop(second);
        assert_eq!(budget.used(), 0);
        assert_eq!(environments.of(&one, &budget).entries, ["1"]);
    }

    #[test]
    fn no_more_are_looked_through_than_a_connection_numbers() {
        let (mut environments, budget) = (Environments::default(), Budget::default());
        let lists: Vec<_> = (0..1000).map(list).collect();
        for list in &lists {
            environments.of(list, &budget);
        }
        assert_eq!(environments.0.len(), PLACES);
    }
}
