//! What host and guest say to each other: the plan, as a file in the image, and frames over a
//! virtio port. The guest's commands do not know the port, so that nothing they print is taken for
//! the outcome.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// This program in the guest.
pub(crate) const INIT: &str = "/lte/init";
/// The plan in the guest.
pub(crate) const PLAN: &str = "/lte/plan.json";
/// The modules to load before the first job, a name a line. It comes with the kernel.
pub(crate) const MODULES: &str = "/lte/modules";
/// Names the plan's first job on the kernel's command line.
pub(crate) const FIRST_JOB: &str = "lte.first_job";
/// The virtio port's name.
pub(crate) const PORT: &str = "lte";
/// How often each of the guest's processors says that it lives.
pub(crate) const BEAT: Duration = Duration::from_secs(2);

/// What the guest is to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Commands to run, one after the other.
    pub(crate) jobs: Vec<Job>,
}

/// A command to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// Added to the guest's small environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Killed after so many seconds.
    pub(crate) deadline: u64,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// By itself, with this status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It was killed at its deadline.
    Deadline,
    /// It could not be started, and why.
    NotStarted(String),
}

/// One of a command's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// What the guest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// It is up, with so many processors, and about to start the first command.
    Hello(u32),
    /// The processor of this number runs what it is given.
    Beat(u32),
    /// A job begins, by its place in the plan.
    Start(u32),
    /// The running job wrote this.
    Output(Stream, Vec<u8>),
    /// The running job is over.
    End(End),
    /// All jobs are.
    Done,
}

/// Larger than any that the guest sends.
const MAX_FRAME: u32 = 1 << 20;

impl Frame {
    /// Writes one frame: a byte for its kind, four for its length (little endian), its content.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let end;
        let number;
        let (kind, content): (u8, &[u8]) = match self {
            Self::Hello(processors) => {
                number = processors.to_le_bytes();
                (b'H', &number)
            }
            Self::Beat(processor) => {
                number = processor.to_le_bytes();
                (b'B', &number)
            }
            Self::Start(job) => {
                number = job.to_le_bytes();
                (b'S', &number)
            }
            Self::Output(Stream::Out, bytes) => (b'o', bytes),
            Self::Output(Stream::Err, bytes) => (b'e', bytes),
            Self::End(how) => {
                end = serde_json::to_vec(how)?;
                (b'E', &end)
            }
            Self::Done => (b'D', &[]),
        };
        let mut whole = Vec::with_capacity(content.len() + 5);
        whole.push(kind);
        whole.extend((content.len() as u32).to_le_bytes());
        whole.extend(content);
        out.write_all(&whole)
    }

    /// Reads one frame; `None` at the stream's end between two frames.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut kind = [0];
        if from.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_FRAME {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut content = vec![0; length as usize];
        from.read_exact(&mut content)?;
        let frame = match kind[0] {
            b'H' => Self::Hello(number(&content)?),
            b'B' => Self::Beat(number(&content)?),
            b'S' => Self::Start(number(&content)?),
            b'o' => Self::Output(Stream::Out, content),
            b'e' => Self::Output(Stream::Err, content),
            b'E' => Self::End(serde_json::from_slice(&content)?),
            b'D' => Self::Done,
            other => return Err(io::Error::other(format!("a frame of unknown kind {other}"))),
        };
        Ok(Some(frame))
    }
}

fn number(content: &[u8]) -> io::Result<u32> {
    let bytes = content
        .try_into()
        .map_err(|_| io::Error::other("a frame without its number"))?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back() {
        let frames = [
            Frame::Hello(2),
            Frame::Start(7),
            Frame::Output(Stream::Out, b"E\0\0\0\0 not an end".to_vec()),
            Frame::Output(Stream::Err, Vec::new()),
            Frame::Beat(1),
            Frame::End(End::Exit(3)),
            Frame::End(End::NotStarted("no such file".to_owned())),
            Frame::Done,
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            frame.write(&mut wire).expect("memory takes all");
        }
        let mut from = wire.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut from).expect("whole").as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).expect("the end"), None);
    }

    #[test]
    fn a_cut_frame_and_rubbish_are_errors() {
        let mut wire = Vec::new();
        Frame::Start(7).write(&mut wire).expect("memory takes all");
        assert!(Frame::read(&mut &wire[..6]).is_err());
        assert!(Frame::read(&mut &b"x\0\0\0\0"[..]).is_err());
        assert!(Frame::read(&mut &b"o\xff\xff\xff\xff"[..]).is_err());
    }
}
