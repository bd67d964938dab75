//! On which kernels a test runs.
//!
//! A test runs on every kernel, unless a statement beside it says otherwise:
//!
//! ```text
//! // What is held is the agent's order of steps, the same on every kernel.
//! runs_on!(newest);
//! // The programs know least of a link's type on the oldest kernel.
//! runs_on!(oldest; headerless, point_to_point);
//! ```
//!
//! The first holds for all tests of its module and of the modules below it, the second for those whose
//! path, from that module on, has one of the names: a test's, or a module's. The statement nearest to a
//! test decides; in one module, one with names. `cargo xtask test` reads the statements from the sources;
//! `cargo xtask lint` refuses one that decides for no test.
//!
//! | word | the kernel |
//! | --- | --- |
//! | `oldest` | the oldest of the matrix: programs attached to `clsact`, the oldest nft |
//! | `first_between` | the second oldest |
//! | `last_between` | the second newest |
//! | `newest` | the newest: TCX, the newest nft |
//! | `long` | those named beside it, and with `cargo xtask test --long` only |

/// States on which kernels the tests of a module run; see [the module](self).
#[macro_export]
macro_rules! runs_on {
    ($($word:ident),+ $(; $($name:ident),+ $(,)?)?) => {
        $($crate::runs_on!(@word $word);)+
    };
    (@word oldest) => {};
    (@word first_between) => {};
    (@word last_between) => {};
    (@word newest) => {};
    (@word long) => {};
}
