//! Whether a guest makes progress, by its output and by the time that has passed here.
//!
//! Each of the guest's processors says by itself that it runs something. So a processor that spins
//! in the kernel is distinguished from one that is slow: the kernel's own words for that, a soft lockup, come
//! once on a busy host and mean nothing then, and 5.10 says no more than that where it spins for good.

use std::time::Duration;

use super::protocol::BEAT;

/// A guest, a processor of it, or the end of a job that is so late does not come any more. A guest that
/// lives says so every two seconds.
const HANG: Duration = Duration::from_secs(45);

/// How a machine broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Break {
    /// What showed it.
    pub(crate) why: String,
    /// The job during which it began, where that is known: another one may run by now.
    pub(crate) began_in: Option<usize>,
}

impl Break {
    /// One of which it is not known when it began.
    pub(crate) const fn now(why: String) -> Self {
        Self {
            why,
            began_in: None,
        }
    }
}

/// When something came, and which job ran then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sign {
    at: Duration,
    pub(crate) job: Option<usize>,
}

/// The signs of life of one guest.
#[derive(Debug)]
pub(crate) struct Pulse<'a> {
    /// How long each job may take.
    deadlines: &'a [Duration],
    /// The time that has passed here since the guest was started.
    lived: Duration,
    heard: Sign,
    /// By processor; none before the guest has said that it is up.
    processors: Vec<Sign>,
    running: Option<(usize, Duration)>,
}

impl<'a> Pulse<'a> {
    /// Of a guest that is just being started.
    pub(crate) const fn new(deadlines: &'a [Duration]) -> Self {
        Self {
            deadlines,
            lived: Duration::ZERO,
            heard: Sign {
                at: Duration::ZERO,
                job: None,
            },
            processors: Vec::new(),
            running: None,
        }
    }

    /// So much time has passed since the last call.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.lived += time;
    }

    /// The guest said something.
    pub(crate) fn heard(&mut self) {
        self.heard = self.now();
    }

    /// It is up, and has so many processors.
    pub(crate) fn up(&mut self, processors: u32) {
        self.processors = vec![self.now(); processors as usize];
    }

    /// A processor said that it runs something.
    pub(crate) fn beat(&mut self, processor: u32) {
        let now = self.now();
        if let Some(sign) = self.processors.get_mut(processor as usize) {
            *sign = now;
        }
    }

    /// A job begins.
    pub(crate) fn start(&mut self, job: usize) {
        self.running = Some((job, self.lived));
    }

    /// The running job, if any, is over.
    pub(crate) fn end(&mut self) -> Option<usize> {
        self.running.take().map(|(job, _)| job)
    }

    /// Whether a sign can have to do with what is seen now.
    pub(crate) fn is_recent(&self, sign: Sign) -> bool {
        self.lived.saturating_sub(sign.at) < HANG * 2
    }

    /// Whether the guest has ever been up.
    pub(crate) fn is_up(&self) -> bool {
        !self.processors.is_empty()
    }

    /// What does not get on any more.
    pub(crate) fn hang(&self) -> Option<Break> {
        if !self.is_up() {
            return None;
        }
        let silent = |sign: Sign| {
            let silence = self.lived.saturating_sub(sign.at);
            (silence > HANG).then_some(silence.as_secs())
        };
        if let Some(seconds) = silent(self.heard) {
            return Some(Break {
                why: format!("no sign of life for {seconds} s"),
                began_in: self.began_in(self.heard),
            });
        }
        for (number, sign) in self.processors.iter().enumerate() {
            if let Some(seconds) = silent(*sign) {
                return Some(Break {
                    why: format!("its processor {number} has run nothing for {seconds} s"),
                    began_in: self.began_in(*sign),
                });
            }
        }
        let (job, since) = self.running?;
        let deadline = self.deadlines.get(job)?;
        (self.lived.saturating_sub(since) > *deadline + HANG).then(|| Break {
            why: format!(
                "its job was to be ended after {} s, and was not",
                deadline.as_secs()
            ),
            began_in: Some(job),
        })
    }

    /// During which job that began of which this was the last sign: the next would have come a moment
    /// later, and a job that began meanwhile may be the cause as well.
    fn began_in(&self, last: Sign) -> Option<usize> {
        match self.running {
            Some((job, since)) if since <= last.at + BEAT * 2 => Some(job),
            _ => last.job,
        }
    }

    /// A sign that comes now.
    pub(crate) fn now(&self) -> Sign {
        Sign {
            at: self.lived,
            job: self.running.map(|(job, _)| job),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DEADLINES: [Duration; 3] = [Duration::from_mins(3); 3];

    fn up() -> Pulse<'static> {
        let mut pulse = Pulse::new(&DEADLINES);
        pulse.heard();
        pulse.up(2);
        pulse
    }

    /// Lets seconds pass in which these processors beat; returns when it was seen to hang, and how.
    fn seconds(pulse: &mut Pulse<'_>, count: u64, beating: &[u32]) -> Option<(u64, Break)> {
        for second in 1..=count {
            pulse.pass(SECOND);
            for processor in beating {
                pulse.heard();
                pulse.beat(*processor);
            }
            if let Some(hang) = pulse.hang() {
                return Some((second, hang));
            }
        }
        None
    }

    #[test]
    fn a_guest_that_lives_may_take_its_time() {
        let mut pulse = up();
        pulse.start(0);
        assert_eq!(seconds(&mut pulse, 180, &[0, 1]), None);
        assert_eq!(pulse.end(), Some(0));
        assert_eq!(seconds(&mut pulse, 1000, &[0, 1]), None);
    }

    #[test]
    fn silence_is_noticed_within_a_minute() {
        let mut pulse = up();
        pulse.start(1);
        assert_eq!(seconds(&mut pulse, 10, &[0, 1]), None);
        let (after, hang) = seconds(&mut pulse, 60, &[]).expect("noticed");
        assert_eq!(after, HANG.as_secs() + 1);
        assert_eq!(hang.why, "no sign of life for 46 s");
        assert_eq!(hang.began_in, Some(1));
    }

    #[test]
    fn one_processor_that_spins_is_noticed_though_the_other_goes_on() {
        let mut pulse = up();
        pulse.start(0);
        assert_eq!(seconds(&mut pulse, 10, &[0, 1]), None);
        assert_eq!(seconds(&mut pulse, 20, &[0]), None);
        // The next one had not begun when it began to spin.
        pulse.end();
        pulse.start(1);
        let (after, hang) = seconds(&mut pulse, 60, &[0]).expect("noticed");
        assert_eq!(after, HANG.as_secs() + 1 - 20);
        assert_eq!(hang.why, "its processor 1 has run nothing for 46 s");
        assert_eq!(hang.began_in, Some(0));
    }

    #[test]
    fn the_one_that_began_a_moment_later_may_be_the_cause() {
        let mut pulse = up();
        pulse.start(0);
        assert_eq!(seconds(&mut pulse, 2, &[0, 1]), None);
        pulse.end();
        assert_eq!(seconds(&mut pulse, 1, &[0]), None);
        pulse.start(1);
        let (_, hang) = seconds(&mut pulse, 60, &[0]).expect("noticed");
        assert_eq!(hang.began_in, Some(1));
    }

    #[test]
    fn a_processor_that_was_only_slow_is_none_that_hangs() {
        let mut pulse = up();
        pulse.start(0);
        assert_eq!(seconds(&mut pulse, 44, &[0]), None);
        assert_eq!(seconds(&mut pulse, 1, &[0, 1]), None);
        assert_eq!(seconds(&mut pulse, 44, &[0]), None);
    }

    #[test]
    fn a_job_that_cannot_be_ended_is_noticed() {
        let mut pulse = up();
        pulse.start(2);
        let (after, hang) = seconds(&mut pulse, 600, &[0, 1]).expect("noticed");
        assert_eq!(after, (DEADLINES[2] + HANG).as_secs() + 1);
        assert_eq!(hang.why, "its job was to be ended after 180 s, and was not");
    }

    #[test]
    fn what_hangs_between_two_jobs_is_of_none_of_them() {
        let mut pulse = up();
        pulse.start(0);
        assert_eq!(seconds(&mut pulse, 3, &[0, 1]), None);
        pulse.end();
        let (_, hang) = seconds(&mut pulse, 60, &[]).expect("noticed");
        // The last sign of life came while it still ran.
        assert_eq!(hang.began_in, Some(0));
        assert_eq!(pulse.end(), None);
    }

    #[test]
    fn what_was_said_long_ago_is_not_the_cause() {
        let mut pulse = up();
        let said = pulse.now();
        assert_eq!(seconds(&mut pulse, 60, &[0, 1]), None);
        assert!(pulse.is_recent(said));
        assert_eq!(seconds(&mut pulse, 60, &[0, 1]), None);
        assert!(!pulse.is_recent(said));
    }
}
