//! Breadth first through all states, so that the first path that breaks a law is a shortest one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use anyhow::{Context as _, Result};

use super::house::House;
use super::laws::{broken_law, broken_promise};
use super::world::{Bounds, Flaw, Step, World};

/// What an exploration found.
#[derive(Debug, Default)]
pub struct Found {
    /// States of the world.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Contents of the database, and transactions that the store carried out.
    pub database: (usize, usize),
    /// Whether every state was looked at, and not only those of the shortest paths.
    pub complete: bool,
    /// A shortest path that breaks a law, and the law.
    pub broken: Option<(String, String)>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, database: (contents, transactions), complete, broken } = self;
        write!(f, "{states} states, {steps} steps; {contents} contents of the database, {transactions} transactions")?;
        if !complete && broken.is_none() {
            write!(f, "; stopped there, the longer paths are left out")?;
        }
        match broken {
            Some((path, law)) => write!(f, "\n{law}\nEXPLORE_PATH='{path}' walks there again"),
            None => Ok(()),
        }
    }
}

/// A world that needs more is looked at in part.
const TRANSACTIONS: usize = 30_000;

/// Where a state was come to from.
struct Trace {
    from: usize,
    step: Option<Step>,
}

/// Looks at every state that can be reached.
pub async fn explore(bounds: &Bounds, flaw: Option<Flaw>) -> Result<Found> {
    let mut house = House::build(bounds).await?;
    let beginning = World::beginning(&house, bounds);
    let mut traces = vec![Trace { from: 0, step: None }];
    let mut seen = HashMap::from([(beginning.clone(), 0)]);
    let mut queue = VecDeque::from([(0, beginning)]);
    // Deaths make states equal that differ in nothing but memories.
    let mut promised = HashSet::new();
    let mut found = Found::default();
    while let Some((number, world)) = queue.pop_front() {
        if house.size().1 > TRANSACTIONS {
            queue.push_front((number, world));
            break;
        }
        let mut law = broken_law(&world, &house, bounds);
        if law.is_none() && promised.insert(world.after_all_died()) {
            law = broken_promise(&world, &mut house, bounds).await?;
        }
        if let Some(law) = law {
            found.broken = Some((path(&traces, number), law));
            break;
        }
        for step in world.steps(&house, flaw) {
            found.steps += 1;
            let after = world.after(step, &mut house, flaw).await?;
            if !seen.contains_key(&after) {
                let next = traces.len();
                traces.push(Trace { from: number, step: Some(step) });
                seen.insert(after.clone(), next);
                queue.push_back((next, after));
            }
        }
    }
    found.complete = queue.is_empty();
    found.states = seen.len();
    found.database = house.size();
    Ok(found)
}

fn path(traces: &[Trace], mut at: usize) -> String {
    let mut steps = Vec::new();
    while let Trace { from, step: Some(step) } = &traces[at] {
        steps.push(step.to_string());
        at = *from;
    }
    steps.reverse();
    steps.join(" ")
}

/// Walks a path, telling each state; gives the law that is broken at its end, if one is.
pub async fn walk(bounds: &Bounds, flaw: Option<Flaw>, path: &str) -> Result<Option<String>> {
    let mut house = House::build(bounds).await?;
    let mut world = World::beginning(&house, bounds);
    for word in path.split_whitespace() {
        let step = world.steps(&house, flaw).into_iter().find(|step| step.to_string() == word);
        let step = step.with_context(|| format!("{word} cannot happen here"))?;
        world = world.after(step, &mut house, flaw).await?;
        let facts = house.facts(world.place);
        println!(
            "{word:<24} {:?} taken {:?}",
            facts.statuses,
            world.provider.iter().map(|t| t.times).collect::<Vec<_>>()
        );
    }
    match broken_law(&world, &house, bounds) {
        Some(law) => Ok(Some(law)),
        None => broken_promise(&world, &mut house, bounds).await,
    }
}
