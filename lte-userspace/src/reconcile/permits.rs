//! Permits for the agent's own DNS queries over the modem, when an endpoint's name cannot be resolved
//! otherwise.

use super::handshake_backoff::SESSION;
use super::handshakes::BootTime;
use super::reconciler::Reconciler;
use super::resolve::{MAX_QUERY_DURATION, PermitRequest};
use crate::backend::{Permit, error_chain};
use crate::config::Config;

/// Grants a permit for a query, unless the tunnel does not need the answer.
pub(super) async fn grant(reconciler: &mut Reconciler, config: &Config, request: PermitRequest) {
    let now = BootTime::now();
    reconciler.read_handshakes(config).await;
    let may = reconciler.endpoints.wants_another(&request.endpoint, now)
        && !in_use(reconciler, config, &request)
        && open(reconciler, config, &request).await;
    // If the look-up has ended meanwhile, the permit ends at its deadline.
    request.granted.send(may).ok();
}

/// Whether the peer of that name was heard within a session: its address works, and the query is not
/// worth its bytes.
fn in_use(reconciler: &Reconciler, config: &Config, request: &PermitRequest) -> bool {
    let now = BootTime::now();
    let peers = config.tunnel.peers.iter();
    peers
        .filter(|peer| peer.endpoint == request.endpoint)
        .any(|peer| {
            reconciler
                .handshakes
                .heard_within(&peer.public_key, SESSION, now)
        })
}

async fn open(reconciler: &mut Reconciler, config: &Config, request: &PermitRequest) -> bool {
    let backends = reconciler.backends.clone();
    let opening = backends.permit(request.permit, MAX_QUERY_DURATION);
    match reconciler.with_fast_path(config, opening).await {
        Ok(()) => {
            log::info!(
                "looking up {} over the modem: {}",
                request.endpoint,
                request.permit
            );
            true
        }
        Err(error) => {
            log::warn!(
                "looking up {} over the modem: {}",
                request.endpoint,
                error_chain(&error)
            );
            false
        }
    }
}

/// Revokes a permit.
pub(super) async fn revoke(reconciler: &mut Reconciler, config: &Config, permit: Permit) {
    let backends = reconciler.backends.clone();
    let closing = backends.revoke(permit);
    if let Err(error) = reconciler.with_fast_path(config, closing).await {
        log::warn!(
            "{}; it ends by itself in {} s",
            error_chain(&error),
            MAX_QUERY_DURATION.as_secs()
        );
    }
}
