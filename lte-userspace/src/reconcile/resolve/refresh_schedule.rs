//! When a name is looked up again: periodically, and sooner while its peer is silent, since its address may
//! have changed. A query over the modem costs data, so that the pause grows.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::Endpoint;

/// The pause while the peer is heard, and the longest while it is silent.
const REFRESH: Duration = Duration::from_mins(10);
/// The first pause while the peer is silent: longer than the trial of an address.
const REFRESH_SILENT: Duration = Duration::from_secs(20);

/// The schedule of one name.
#[derive(Debug)]
pub(super) struct RefreshSchedule {
    /// The names whose peers are silent.
    silent: watch::Receiver<BTreeSet<Endpoint>>,
    pause: Duration,
}

impl RefreshSchedule {
    pub(super) fn new(silent: watch::Receiver<BTreeSet<Endpoint>>) -> Self {
        Self {
            silent,
            pause: REFRESH_SILENT,
        }
    }

    /// Waits from one answer until the next query is due.
    pub(super) async fn until_due(&mut self, endpoint: &Endpoint) {
        let answered = Instant::now();
        loop {
            let silent = self.silent.borrow_and_update().contains(endpoint);
            if !silent {
                self.pause = REFRESH_SILENT;
            }
            let due = answered + if silent { self.pause } else { REFRESH };
            tokio::select! {
                () = sleep_until(due) => {
                    if silent {
                        self.pause = (self.pause * 2).min(REFRESH);
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

    async fn wait(schedule: &mut RefreshSchedule) -> u64 {
        let begun = Instant::now();
        schedule.until_due(&endpoint()).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_heard_of_is_looked_up_now_and_then() {
        let (_keep, silent) = watch::channel(BTreeSet::new());
        let mut schedule = RefreshSchedule::new(silent);
        assert_eq!(wait(&mut schedule).await, 600);
        assert_eq!(wait(&mut schedule).await, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_one_soon_and_then_ever_more_rarely() {
        let (say, silent) = watch::channel([endpoint()].into());
        let mut schedule = RefreshSchedule::new(silent);
        for seconds in [20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(wait(&mut schedule).await, seconds);
        }
        say.send_replace(BTreeSet::new());
        assert_eq!(wait(&mut schedule).await, 600);
        say.send_replace([endpoint()].into());
        assert_eq!(wait(&mut schedule).await, 20, "it was heard of in between");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_falls_silent_is_looked_up_at_once_if_it_is_due_by_then() {
        let (say, silent) = watch::channel(BTreeSet::new());
        let mut schedule = RefreshSchedule::new(silent);
        let waiting = tokio::spawn(async move { wait(&mut schedule).await });
        tokio::time::sleep(Duration::from_secs(100)).await;
        say.send_replace([endpoint()].into());
        assert_eq!(waiting.await.ok(), Some(100));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_agent_it_goes_on() {
        let (say, silent) = watch::channel([endpoint()].into());
        drop(say);
        assert_eq!(wait(&mut RefreshSchedule::new(silent)).await, 20);
    }
}
