//! Several ways to do one thing, measured by turns: every round runs each of them once, in another order, so that a busy
//! moment of the machine hits all alike.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::report::{Line, Table};
use crate::stats::Dice;

/// What a run gives: a number for each metric of its table.
pub(crate) type Sample = Vec<f64>;

/// One way to do it.
pub(crate) struct Contestant<'a> {
    /// What the table calls it.
    pub name: String,
    /// What a person would type.
    pub command: String,
    /// Does it once.
    pub run: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl<'a> Contestant<'a> {
    /// Of these three.
    pub(crate) fn new(
        name: impl Into<String>,
        command: impl Into<String>,
        run: impl FnMut() -> Result<Sample> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            command: command.into(),
            run: Box::new(run),
        }
    }

    /// One that is not on this host.
    pub(crate) fn missing(name: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::new(name, "", move || bail!("{why}"))
    }
}

/// How often, and how.
#[derive(Debug, Clone)]
pub(crate) struct Rounds {
    /// Measured runs of each; one more before them is not measured.
    pub runs: usize,
    /// How long nothing happens before each run.
    pub pause: Duration,
    /// The order.
    pub dice: Dice,
}

/// Runs them all. One that fails is out, and its line says why.
///
/// # Errors
/// When the user has asked for the end.
pub(crate) fn hold(
    table: Table,
    mut contestants: Vec<Contestant<'_>>,
    mut rounds: Rounds,
) -> Result<Table> {
    let mut table = table;
    table.lines = contestants
        .iter()
        .map(|one| Line::new(&one.name, &one.command))
        .collect();
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for round in 0..=rounds.runs {
        rounds.dice.shuffle(&mut order);
        for &index in &order {
            if crate::sys::asked_to_stop() {
                bail!("interrupted");
            }
            let (Some(line), Some(contestant)) =
                (table.lines.get_mut(index), contestants.get_mut(index))
            else {
                continue;
            };
            if line.failure.is_some() {
                continue;
            }
            std::thread::sleep(rounds.pause);
            match (contestant.run)() {
                Ok(sample) if round > 0 => line.samples.push(sample),
                Ok(_) => {}
                Err(err) => line.failure = Some(format!("{err:#}")),
            }
        }
    }
    Ok(table)
}
