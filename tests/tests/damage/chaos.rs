//! Damages at random, alone and several at once.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::long_run;
use lte_tests::rng::Rng;

use crate::damage::{Damage, Defeats};
use crate::fixture::Fixture;
use crate::{guard, routing, wireguard};

/// How many damages, usually and in a long run.
const USUALLY: usize = 25;
const LONG: usize = 300;
/// At most so many at once.
const BURST: usize = 3;
/// Within which all is back. The same thing more than ten times in ten seconds is held back by up to a
/// minute, and chance may do that.
const LIMIT: Duration = Duration::from_secs(100);

pub(crate) fn chaos(backend: Backend) -> Result<()> {
    let count = match std::env::var("LTE_CHAOS") {
        Ok(text) => text.parse().context("LTE_CHAOS is to be a number")?,
        Err(_) if long_run::is_requested() => LONG,
        Err(_) => USUALLY,
    };
    let mut rng = Rng::new()?;
    let guards = guard::damages(backend)?;
    let others: Vec<Damage> = [
        routing::damages(),
        routing::modem_damages(),
        routing::modem_gone(),
        wireguard::damages(),
    ]
    .concat();
    let fixture = Fixture::open(backend)?;
    let (mut done, mut failed, mut longest) = (0, 0, Duration::ZERO);
    while done < count {
        // The two nets are not cut at the same time.
        let of_the_guard = rng.below(guards.len() + others.len()) < guards.len();
        let deck = if of_the_guard { &guards } else { &others };
        let burst: Vec<&Damage> = (0..=rng.below(BURST))
            .map(|_| rng.pick(deck))
            .filter(|damage| (damage.defeats == Defeats::Guard) == of_the_guard)
            .collect();
        if of_the_guard {
            longest = longest.max(fixture.all_in_place(LIMIT)?);
        }
        for damage in burst {
            done += 1;
            // Of a modem that was just plugged in the agent takes it for the owner's choice.
            if damage.name == routing::LOOSENED {
                longest = longest.max(fixture.all_in_place(LIMIT)?);
            }
            // What is gone already cannot be taken away again.
            match damage.inject(&fixture) {
                Ok(()) => eprintln!("{done}: {}", damage.name),
                Err(error) => {
                    failed += 1;
                    eprintln!("{done}: {}, in vain: {error:#}", damage.name);
                }
            }
        }
        if of_the_guard || rng.below(2) == 0 {
            longest = longest.max(fixture.all_in_place(LIMIT)?);
            fixture.route_by_modem("modem")?;
            fixture.nothing_leaked()?;
        } else {
            thread::sleep(Duration::from_millis(rng.below(200) as u64));
        }
    }
    ensure!(failed * 2 < done, "{failed} of {done} damages did nothing");
    longest = longest.max(fixture.all_in_place(LIMIT)?);
    figure(
        "chaos: longest wait until all was in place, ms",
        &backend.to_string(),
        format!("{} ({done} damages)", longest.as_millis()),
    );
    fixture.close()
}
