//! Models of the protocol that are searched to their end: every order of steps, with a crash at each. docs/model.md says what
//! is in them and what is not.
//!
//! Each rule of a model can be taken away; a test for each shows that a property is violated then, so that a model that has
//! become blind is noticed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "in a test a broken expectation must stop the test, loudly; how many states were seen belongs to the result"
)]

mod presence;
mod state;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Looks at every state: no property is violated, and what should happen sometimes does.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} of them different, at most {} steps",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Always, Some(path)) => {
                panic!("{name}: not so: {}\n{}\nafter {:#?}", property.name, steps(path.clone().into_actions()), path.last_state());
            }
            (Expectation::Sometimes, None) => panic!("{name}: never: {}", property.name),
            _ => {}
        }
    }
}

/// Looks until the property is violated, and says how.
fn is_violated<M>(name: &str, property: &'static str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let finish = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(finish).spawn_bfs().join();
    let path = checker.discovery(property).unwrap_or_else(|| {
        panic!("{name}: nothing violates: {property} ({} states)", checker.unique_state_count());
    });
    println!("{name}, {} states: not so: {property}\n{}", checker.unique_state_count(), steps(path.into_actions()));
}

fn steps<A: Debug>(actions: Vec<A>) -> String {
    actions.iter().map(|action| format!("    {action:?}")).collect::<Vec<_>>().join("\n")
}
