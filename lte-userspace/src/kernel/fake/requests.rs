//! The requests that an agent makes: they are counted and logged, and can be made to fail.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{MutexGuard, PoisonError};

use super::{Answer, FakeKernel, State};
use crate::kernel::KernelError;
use crate::kernel::qdisc::missing_modules::MissingModules;

/// The kind of the errors of an agent that was killed: no request of a running one has it.
const KILLED: ErrorKind = ErrorKind::BrokenPipe;

/// What was requested, and what is to fail.
#[derive(Debug, Default)]
pub(super) struct Requests {
    log: Vec<String>,
    faults: BTreeMap<usize, Fault>,
    crash_at: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nothing is done.
    Refused(i32),
    /// It is done, and the agent is not told.
    AnswerLost(i32),
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

    /// Kills the agent before the request of a number: from it on each request fails, and does nothing.
    pub(crate) fn crash_at(&self, request: usize) {
        self.lock_requests().crash_at = Some(request);
    }

    /// Starts another agent: requests are answered again. What the killed one remembered is gone.
    pub(crate) fn recover(&self) {
        let mut requests = self.lock_requests();
        requests.crash_at = None;
        requests.faults.clear();
        self.update_missing(MissingModules::forget);
    }

    /// Whether the agent was killed.
    pub(crate) fn has_crashed(&self) -> bool {
        let requests = self.lock_requests();
        requests.crash_at.is_some_and(|at| requests.log.len() >= at)
    }

    /// Whether an error is that of an agent that was killed.
    pub(crate) fn is_crash(error: &KernelError) -> bool {
        error.source.kind() == KILLED
    }

    /// Makes one request.
    pub(super) fn request<T>(
        &self,
        context: String,
        work: impl FnOnce(&mut State) -> Answer<T>,
    ) -> Result<T, KernelError> {
        let mut requests = self.lock_requests();
        requests.log.push(context.clone());
        let number = requests.log.len();
        if requests.crash_at.is_some_and(|at| number >= at) {
            let why = format!("the agent was killed before request {number}");
            return Err(KernelError::new(context, io::Error::new(KILLED, why)));
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
