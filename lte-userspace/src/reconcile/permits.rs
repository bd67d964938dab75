//! What the agent permits itself on the modem: a question for an endpoint's address, in the hour
//! when there is no other way to ask it.

use super::converge::Converger;
use super::hearing::Moment;
use super::patience::SESSION;
use super::resolve::{LONGEST_QUESTION, Request};
use crate::backend::{Permit, chain};
use crate::config::Config;

/// Opens the way for a question, unless the tunnel does without the answer.
pub(super) async fn grant(converger: &mut Converger, config: &Config, request: Request) {
    let now = Moment::now();
    converger.hear_peers(config).await;
    let may = converger.endpoints.wants_another(&request.endpoint, now)
        && !in_use(converger, config, &request)
        && open(converger, config, &request).await;
    // A look-up that is no longer there has no use for it, and the permit ends by itself.
    request.granted.send(may).ok();
}

/// Whether the peer of that name was heard of lately: its address is good, then, and the question
/// is not worth its bytes.
fn in_use(converger: &Converger, config: &Config, request: &Request) -> bool {
    let now = Moment::now();
    let peers = config.tunnel.peers.iter();
    peers
        .filter(|peer| peer.endpoint == request.endpoint)
        .any(|peer| converger.hearing.within(&peer.public_key, SESSION, now))
}

async fn open(converger: &mut Converger, config: &Config, request: &Request) -> bool {
    let backends = converger.backends.clone();
    let opening = backends.permit(request.permit, LONGEST_QUESTION);
    match converger.meanwhile(config, opening).await {
        Ok(()) => {
            log::info!(
                "asking for {} over the modem: {}",
                request.endpoint,
                request.permit
            );
            true
        }
        Err(error) => {
            log::warn!(
                "asking for {} over the modem: {}",
                request.endpoint,
                chain(&error)
            );
            false
        }
    }
}

/// Closes the way again.
pub(super) async fn withdraw(converger: &mut Converger, config: &Config, permit: Permit) {
    let backends = converger.backends.clone();
    let closing = backends.withdraw(permit);
    if let Err(error) = converger.meanwhile(config, closing).await {
        log::warn!(
            "{}; it ends by itself in {} s",
            chain(&error),
            LONGEST_QUESTION.as_secs()
        );
    }
}
