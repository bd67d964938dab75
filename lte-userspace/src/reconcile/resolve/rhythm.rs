//! When a name is looked up again: now and then, and sooner while its peer is silent, for it may have
//! moved. A question over the modem has its price, so that these come ever more rarely, too.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::Endpoint;

/// How long an answer is believed while its peer is heard of.
const AGAIN: Duration = Duration::from_mins(10);
/// How long the first one is believed whose peer is not: longer than an address is tried.
const SOON: Duration = Duration::from_secs(20);

/// One name's rhythm.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// The names whose peers are silent.
    silent: watch::Receiver<BTreeSet<Endpoint>>,
    soon: Duration,
}

impl Rhythm {
    pub(super) fn new(silent: watch::Receiver<BTreeSet<Endpoint>>) -> Self {
        Self { silent, soon: SOON }
    }

    /// Waits from one answer to the next question.
    pub(super) async fn until_due(&mut self, endpoint: &Endpoint) {
        let answered = Instant::now();
        loop {
            let silent = self.silent.borrow_and_update().contains(endpoint);
            if !silent {
                self.soon = SOON;
            }
            let due = answered + if silent { self.soon } else { AGAIN };
            tokio::select! {
                () = sleep_until(due) => {
                    if silent {
                        self.soon = (self.soon * 2).min(AGAIN);
                    }
                    return;
                }
                Ok(()) = self.silent.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::Name {
            host: "vpn.example.org".to_owned(),
            port: 51820,
        }
    }

    async fn wait(rhythm: &mut Rhythm) -> u64 {
        let begun = Instant::now();
        rhythm.until_due(&endpoint()).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_heard_of_is_looked_up_now_and_then() {
        let (_keep, silent) = watch::channel(BTreeSet::new());
        let mut rhythm = Rhythm::new(silent);
        assert_eq!(wait(&mut rhythm).await, 600);
        assert_eq!(wait(&mut rhythm).await, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_one_soon_and_then_ever_more_rarely() {
        let (say, silent) = watch::channel([endpoint()].into());
        let mut rhythm = Rhythm::new(silent);
        for seconds in [20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(wait(&mut rhythm).await, seconds);
        }
        say.send_replace(BTreeSet::new());
        assert_eq!(wait(&mut rhythm).await, 600);
        say.send_replace([endpoint()].into());
        assert_eq!(wait(&mut rhythm).await, 20, "it was heard of in between");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_falls_silent_is_looked_up_at_once_if_it_is_due_by_then() {
        let (say, silent) = watch::channel(BTreeSet::new());
        let mut rhythm = Rhythm::new(silent);
        let waiting = tokio::spawn(async move { wait(&mut rhythm).await });
        tokio::time::sleep(Duration::from_secs(100)).await;
        say.send_replace([endpoint()].into());
        assert_eq!(waiting.await.ok(), Some(100));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_agent_it_goes_on() {
        let (say, silent) = watch::channel([endpoint()].into());
        drop(say);
        assert_eq!(wait(&mut Rhythm::new(silent)).await, 20);
    }
}
