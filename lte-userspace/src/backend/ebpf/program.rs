//! Programs in the kernel, asked for by the numbers that TCX and filters give.

use std::io;

use super::link;

/// What a program is. A number is given once, so that what was learned of it holds for as long as it is
/// met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    id: u32,
    name: String,
    maps: Vec<u32>,
}

impl Program {
    /// The program of a number; `None`: it has gone.
    pub(super) fn of(id: u32) -> io::Result<Option<Self>> {
        match link::program(id) {
            Ok((name, maps)) => Ok(Some(Self { id, name, maps })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its number.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// Its name, empty where it has none.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of the maps that it uses.
    pub(super) fn map_ids(&self) -> &[u32] {
        &self.maps
    }
}
