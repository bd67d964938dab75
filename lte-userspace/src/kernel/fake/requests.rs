//! The requests that an agent makes: they are counted and logged, and can be made to fail.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};

use futures_util::FutureExt as _;

use super::{Answer, FakeKernel, State};
use crate::kernel::KernelError;
use crate::kernel::qdisc::missing_modules::MissingModules;

/// What was requested, and what is to fail.
#[derive(Debug, Default)]
pub(super) struct Requests {
    log: Vec<String>,
    faults: BTreeMap<usize, Fault>,
    kill_at: Option<usize>,
    strike: Option<Strike>,
}

/// What another program does before the next request whose words begin with these.
#[derive(Debug)]
struct Strike {
    before: &'static str,
    with: fn(&FakeKernel),
}

/// What unwinds out of a process that is killed.
#[derive(Debug)]
pub(crate) struct Killed;

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing is done.
    Refused(i32),
    /// It is done, and the agent is not told.
    AnswerLost(i32),
}

/// What a process comes to; `None` if it is killed.
pub(crate) async fn unless_killed<T>(process: impl Future<Output = T>) -> Option<T> {
    match AssertUnwindSafe(process).catch_unwind().await {
        Ok(end) => Some(end),
        Err(panic) if panic.is::<Killed>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

impl FakeKernel {
    /// How many requests were made. The next one's number is one more.
    pub(crate) fn requests(&self) -> usize {
        self.lock_requests().log.len()
    }

    /// The requests that were made, in words.
    pub(crate) fn log(&self) -> Vec<String> {
        self.lock_requests().log.clone()
    }

    /// Has the kernel refuse the request of a number, counted from 1.
    pub(crate) fn fail_at(&self, request: usize, errno: i32) {
        let fault = Fault::Refused(errno);
        self.lock_requests().faults.insert(request, fault);
    }

    /// Has the kernel do what the request of a number says, and the agent get an error for an answer.
    pub(crate) fn lose_answer_at(&self, request: usize, errno: i32) {
        let fault = Fault::AnswerLost(errno);
        self.lock_requests().faults.insert(request, fault);
    }

    /// Kills the process before the request of a number: the call unwinds with [`Killed`], and whatever the process
    /// would have done after it is not done.
    pub(crate) fn kill_at(&self, request: usize) {
        self.lock_requests().kill_at = Some(request);
    }

    /// Has another program do something before the next request whose words begin with these.
    pub(crate) fn strike_before(&self, before: &'static str, with: fn(&Self)) {
        self.lock_requests().strike = Some(Strike { before, with });
    }

    /// Whether there is an interface of an index.
    pub(crate) fn has_interface(&self, index: u32) -> bool {
        self.lock().devices.contains_key(&index)
    }

    /// Another connection to the same kernel: its requests are not counted, and none fails.
    pub(crate) fn observer(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            requests: Arc::default(),
            missing_modules: Arc::default(),
        }
    }

    /// Starts another agent: requests are answered again. What the killed one remembered is gone.
    pub(crate) fn recover(&self) {
        let mut requests = self.lock_requests();
        requests.kill_at = None;
        requests.faults.clear();
        self.update_missing(MissingModules::forget);
    }

    /// Makes one request.
    pub(crate) fn request<T>(
        &self,
        context: String,
        work: impl FnOnce(&mut State) -> Answer<T>,
    ) -> Result<T, KernelError> {
        let mut requests = self.lock_requests();
        let strike = requests
            .strike
            .take_if(|strike| context.starts_with(strike.before));
        if let Some(strike) = strike {
            drop(requests);
            (strike.with)(self);
            requests = self.lock_requests();
        }
        requests.log.push(context.clone());
        let number = requests.log.len();
        if requests.kill_at.is_some_and(|at| number >= at) {
            drop(requests);
            resume_unwind(Box::new(Killed));
        }
        let fault = requests.faults.get(&number).copied();
        drop(requests);
        let answer = match fault {
            Some(Fault::Refused(errno)) => Err(errno),
            Some(Fault::AnswerLost(errno)) => work(&mut self.lock()).and(Err(errno)),
            None => work(&mut self.lock()),
        };
        answer.map_err(|errno| KernelError::new(context, io::Error::from_raw_os_error(errno)))
    }

    pub(super) fn update_missing(&self, change: impl FnOnce(&mut MissingModules)) {
        change(
            &mut self
                .missing_modules
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock_requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
