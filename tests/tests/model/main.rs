//! Models of the protocol that are searched to their end: every order of steps, with a crash at each. docs/model.md
//! says what is in them and what is not.
//!
//! Each rule of a model can be taken away; a test for each shows that a property is violated then, so that a model
//! that has become blind is noticed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "in a test a broken expectation must stop the test, loudly; how many states were seen belongs to the result"
)]

mod delivery;
mod presence;
mod state;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, DiscoveryClassification, Expectation, HasDiscoveries, Model};

/// A model that can be searched.
trait Searchable:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq + Send + Sync>
    + Send
    + Sync
    + 'static
{
}

impl<M> Searchable for M where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq + Send + Sync>
        + Send
        + Sync
        + 'static
{
}

/// Looks at every state: no property is ever violated, and what should happen sometimes does.
fn holds<M: Searchable>(name: &str, model: M) {
    judge(name, &model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join());
}

/// The same for a model of many states. It takes a fraction of the memory, but the way to a violation is not the
/// shortest.
fn holds_in_depth<M: Searchable>(name: &str, model: M) {
    judge(name, &model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join());
}

fn judge<M: Searchable>(name: &str, checker: &impl Checker<M>) {
    say(name, checker);
    let is_violated =
        |property: &&str| matches!(checker.discovery_classification(property), DiscoveryClassification::Counterexample);
    let mut discoveries = checker.discoveries();
    if let Some(property) = discoveries.keys().copied().find(|property| is_violated(property)) {
        let path = discoveries.remove(property).unwrap();
        let last = format!("{:#?}", path.last_state());
        panic!("{name}: not so: {property}\n{}\nafter which {last}", steps(path.into_actions()));
    }
    for property in checker.model().properties() {
        let happens =
            !matches!(property.expectation, Expectation::Sometimes) || discoveries.contains_key(property.name);
        assert!(happens, "{name}: never: {}", property.name);
    }
}

/// Searches every state: this property is never violated, whatever becomes of the others.
fn is_kept<M: Searchable>(name: &str, property: &'static str, model: M) {
    let checker = model.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    say(name, &checker);
    if let Some(path) = checker.discovery(property) {
        panic!("{name}: not so: {property}\n{}", steps(path.into_actions()));
    }
}

/// Looks until the property is violated, and says how.
fn is_violated<M: Searchable>(name: &str, property: &'static str, model: M) {
    let checker = model.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    say(name, &checker);
    let path = checker.discovery(property).unwrap_or_else(|| panic!("{name}: nothing violates: {property}"));
    let actions = path.into_actions();
    println!("{name}: not so, after {} steps: {property}\n{}", actions.len(), steps(actions));
}

fn say<M: Searchable>(name: &str, checker: &impl Checker<M>) {
    println!(
        "{name}: {} states, {} of them different, at most {} steps",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
}

fn steps<A: Debug>(actions: Vec<A>) -> String {
    actions.iter().map(|action| format!("    {action:?}")).collect::<Vec<_>>().join("\n")
}
