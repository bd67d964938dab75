//! Blocking calls on a thread of their own: signals, the watchdog and other repairs go on meanwhile. A thread
//! is in the network namespace of the one that creates it.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A call took longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
pub struct TimedOut(pub Duration);

/// Something whose calls block. It has one at a time: one that is late goes on, and the next waits for it.
#[derive(Debug)]
pub struct Blocking<T>(Arc<Mutex<T>>);

impl<T> Clone for Blocking<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Blocking<T> {
    /// Nothing is called yet.
    pub fn new(subject: T) -> Self {
        Self(Arc::new(Mutex::new(subject)))
    }

    /// Has something done with it. A caller that stops waiting for it does not stop it.
    pub async fn call<R: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, TimedOut> {
        let call = async {
            let mut subject = Arc::clone(&self.0).lock_owned().await;
            match spawn_blocking(move || work(&mut subject)).await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The process ends.
                    Err(_) => std::future::pending().await,
                },
            }
        };
        timeout(within, call).await.map_err(|_| TimedOut(within))
    }

    /// Whether something is being done with it.
    pub fn is_busy(&self) -> bool {
        self.0.try_lock().is_err()
    }
}

/// Has something done that no other call has to wait for.
pub async fn call_once<R: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, TimedOut> {
    Blocking::new(()).call(within, |()| work()).await
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_call_that_hangs_is_not_waited_for_and_the_next_comes_after_it() {
        let apart = Blocking::new(1);
        let (end, waits) = mpsc::channel::<()>();
        let hangs = apart.call(SHORT, move |number| {
            waits.recv().ok();
            *number += 1;
        });
        assert_eq!(hangs.await, Err(TimedOut(SHORT)));
        assert!(apart.is_busy());
        assert_eq!(
            apart.call(SHORT, |number| *number).await,
            Err(TimedOut(SHORT))
        );
        end.send(()).unwrap();
        assert_eq!(apart.call(LONG, |number| *number).await, Ok(2));
        assert!(!apart.is_busy());
    }

    #[tokio::test]
    async fn who_stops_waiting_does_not_lose_it() {
        let apart = Blocking::new(1);
        let (end, waits) = mpsc::channel::<()>();
        let call = apart.call(LONG, move |number| {
            waits.recv().ok();
            *number += 1;
        });
        tokio::select! {
            biased;
            _ = call => panic!("it hangs"),
            () = tokio::time::sleep(SHORT) => end.send(()).unwrap(),
        }
        assert_eq!(apart.call(LONG, |number| *number).await, Ok(2));
    }
}
