//! Keeping what is as it is to be: look, compare, act; at start, after every change, at the end.

mod act;
mod agent;
mod apply;
mod converge;
mod endpoints;
mod events;
mod glance;
mod hearing;
mod keeper;
mod meanwhile;
mod observe;
mod pace;
mod patience;
mod permits;
mod plan;
mod port;
mod precedence;
mod redirects;
mod reload;
mod repairs;
mod resolve;
mod reverse_path;
mod take_down;
mod view;
mod write_down;

pub use agent::{Agent, Ending};
pub use apply::{Failure, Outcome};
pub use converge::{Convergence, Converger};
pub use keeper::Backends;
pub use observe::{Observed, modem};
pub use plan::{Plan, Removal, Step};
pub use port::{listen_port, settled_port};
pub use precedence::{Standing, in_front_of_ours};
pub use take_down::take_down;
pub use view::{Inputs, View, ViewError};
