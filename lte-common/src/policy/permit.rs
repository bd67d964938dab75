//! Permits: what the agent lets through for a time.

use super::State;
use crate::layout::{Addr, FlowKey};

/// Whether a permit for this flow, or for it with any remote, is open.
#[inline(always)]
pub(super) fn permitted<T: State>(state: &T, flow: &FlowKey) -> bool {
    is_open(state, flow) || permitted_any(state, flow)
}

/// Whether a permit for this flow with any remote is open.
#[inline(always)]
pub(super) fn permitted_any<T: State>(state: &T, flow: &FlowKey) -> bool {
    let mut flow = *flow;
    flow.remote = Addr::NONE;
    is_open(state, &flow)
}

#[inline(always)]
fn is_open<T: State>(state: &T, flow: &FlowKey) -> bool {
    matches!(state.permit(flow), Some(until) if state.monotonic_ns() < until)
}
