//! Every way in which a small world can go, one step at a time: two messages of one conversation, two replicas that may die
//! between any two transactions, a provider that takes, drops or refuses, statuses in any order and more than once, clocks
//! that jump to whatever is due next. The store, the rules and SQLite are the real ones; the clock is stopped and moved by
//! hand. In each state the laws must hold, and from each state, everybody dying there, the world must come to rest with
//! nothing lost.
//!
//! A path that breaks a law is printed; `EXPLORE_PATH='r0:claim r0:call:0:lost …'` walks it again and tells each state.
//! `EXPLORE=long` looks at larger worlds. Why so, and not a simulated network: docs/decisions/0021.

mod house;
mod laws;
mod search;
mod world;

use anyhow::{Result, ensure};
use recado::domain::message::InDoubtPolicy::{AtLeastOnce, AtMostOnce};

use self::search::{Found, explore, walk};
use self::world::{Bounds, Flaw, Word};

/// What the short form looks at, completely: each kind of trouble once, in as small a world as shows it.
fn short() -> Vec<Bounds> {
    let one = Bounds { policies: vec![AtMostOnce], replicas: 2, crashes: 1, ..Bounds::default() };
    vec![
        // A call that goes wrong, a death, and a lease that runs out, with a second replica to take over.
        Bounds { troubles: 1, jumps: 1, ..one.clone() },
        Bounds { policies: vec![AtLeastOnce], replicas: 1, troubles: 1, jumps: 1, ..one.clone() },
        // Statuses in any order, one of them twice, read by both replicas.
        Bounds { words: &[Word::Delivered, Word::Read], repeats: 1, ..one.clone() },
        Bounds { echoes: false, troubles: 1, ..one.clone() },
        Bounds { troubles: 1, jumps: 1, cancels: 1, replicas: 1, ..one.clone() },
        // A conversation of two: by one replica that may die, by two at once, and with one that holds it up.
        Bounds { policies: vec![AtMostOnce, AtMostOnce], replicas: 1, troubles: 1, ..one.clone() },
        Bounds { policies: vec![AtMostOnce, AtLeastOnce], crashes: 0, ..one.clone() },
        Bounds { policies: vec![AtLeastOnce, AtMostOnce], replicas: 1, crashes: 0, troubles: 1, ..one },
    ]
}

/// Minutes instead of seconds.
fn long() -> Vec<Bounds> {
    let both = &[Word::Delivered, Word::Read];
    let one =
        Bounds { policies: vec![AtMostOnce], replicas: 2, crashes: 1, troubles: 1, jumps: 2, ..Bounds::default() };
    vec![
        Bounds { policies: vec![AtLeastOnce, AtMostOnce], replicas: 1, crashes: 0, jumps: 1, ..one.clone() },
        Bounds { words: both, repeats: 1, cancels: 1, ..one.clone() },
        Bounds { policies: vec![AtLeastOnce], words: both, troubles: 2, ..one.clone() },
        Bounds { words: both, echoes: false, repeats: 1, ..one.clone() },
        Bounds { policies: vec![AtMostOnce, AtLeastOnce], cancels: 1, ..one.clone() },
        Bounds { policies: vec![AtLeastOnce, AtMostOnce], crashes: 2, troubles: 2, jumps: 1, ..one },
    ]
}

#[tokio::test]
async fn every_way_that_a_small_world_can_go_keeps_the_promises() -> Result<()> {
    let is_long = std::env::var("EXPLORE").is_ok_and(|size| size == "long");
    let worlds = if is_long { long() } else { short() };
    if let Ok(path) = std::env::var("EXPLORE_PATH") {
        for bounds in worlds {
            println!("{bounds:?}");
            match walk(&bounds, None, &path).await {
                Ok(broken) => println!("{}", broken.unwrap_or_else(|| "all laws hold".into())),
                Err(error) => println!("not a path of this world: {error:#}"),
            }
        }
        return Ok(());
    }
    for bounds in worlds {
        let found = explore(&bounds, None).await?;
        println!("{bounds}: {found}");
        ensure!(found.broken.is_none(), "{found}");
        ensure!(found.complete || is_long, "not everything was looked at");
    }
    Ok(())
}

/// What a fault of ours would look like, in the models of the replica and the provider: the store stays as it is.
#[tokio::test]
async fn the_exploration_finds_what_is_planted_and_its_path_can_be_walked_again() -> Result<()> {
    let bounds = Bounds { policies: vec![AtMostOnce], replicas: 1, troubles: 1, jumps: 1, ..Bounds::default() };
    ensure!(explore(&bounds, None).await?.broken.is_none(), "the world without a flaw");
    let planted = [
        (Flaw::ProviderTakesTwice, "taken 2 times", 2),
        (Flaw::ReplicaCallsAgainAfterALostAnswer, "taken 2 times", 3),
        (Flaw::ReplicaSaysSentWithoutACall, "was never taken", 2),
        (Flaw::ReplicaForgetsALostAnswer, "was never taken", 3),
    ];
    for (flaw, words, steps) in planted {
        let Found { broken, .. } = explore(&bounds, Some(flaw)).await?;
        let Some((path, law)) = broken else { anyhow::bail!("{flaw:?} was not found") };
        ensure!(law.contains(words), "{flaw:?}: {law}");
        ensure!(path.split(' ').count() == steps, "{flaw:?}: not the shortest path: {path}");
        ensure!(
            walk(&bounds, Some(flaw), &path).await? == Some(law),
            "{flaw:?}: {path} ends otherwise the second time"
        );
        // It was the flaw.
        ensure!(walk(&bounds, None, &path).await.map_or(true, |broken| broken.is_none()), "{path} without {flaw:?}");
    }
    Ok(())
}
