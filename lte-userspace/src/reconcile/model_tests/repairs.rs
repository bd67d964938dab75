//! Each damage, alone and in each pair, is repaired in whole; then down leaves all as it was found.

use std::time::Duration;

use super::damages::{self, Damage};
use super::router::Router;
use crate::backend::BackendKind;
use crate::kernel::fake::dump::changes;

/// Strikes one after the other, before the agent looks again.
async fn are_repaired(kind: BackendKind, strikes: &[&Damage]) {
    let router = Router::new(kind);
    let found = router.state().await;
    let mut agent = router.started().await;
    let whole = router.state().await;
    let mut met_another = false;
    for damage in strikes {
        if met_another {
            router.converge(&mut agent).await;
        }
        met_another = damage.brings_another_device();
        // The one before may have taken its object away.
        (damage.strike)(&router).ok();
    }
    let names: Vec<_> = strikes.iter().map(|damage| damage.name).collect();
    let converged = router.converge(&mut agent).await;
    let nothing = Vec::<String>::new();
    assert_eq!(changes(&whole, &router.state().await), nothing, "{names:?}");
    assert!(converged, "{names:?}");
    assert_eq!(router.violations().await, nothing, "{names:?}");
    assert_eq!(router.down().await, nothing, "{names:?}");
    let left = changes(&found, &router.state().await);
    assert_eq!(left, nothing, "{names:?}: down");
}

/// A damage that changes nothing would be repaired by anything.
#[tokio::test]
async fn each_damage_shows() {
    for damage in damages::all() {
        let router = Router::new(BackendKind::Nft);
        drop(router.started().await);
        let whole = router.state().await;
        assert_eq!((damage.strike)(&router), Ok(()), "{}", damage.name);
        let shows = router.state().await != whole;
        assert!(shows, "{}", damage.name);
    }
}

#[tokio::test]
async fn each_damage_is_repaired() {
    for kind in [BackendKind::Ebpf, BackendKind::Nft] {
        for damage in damages::all() {
            are_repaired(kind, &[&damage]).await;
        }
    }
}

#[tokio::test]
async fn each_pair_of_damages_is_repaired() {
    let all: Vec<Damage> = damages::all().collect();
    for first in &all {
        for second in &all {
            are_repaired(BackendKind::Ebpf, &[first, second]).await;
        }
    }
}

/// A container's interface that goes between the snapshot and the look at the guard was not undone by another program:
/// the next repair of the guard does not wait.
#[tokio::test]
async fn interfaces_that_go_are_no_contention_over_the_guard() {
    let router = Router::new(BackendKind::Ebpf);
    let mut agent = router.started().await;
    for _ in 0..11 {
        router.kernel.add_virtual("c0", "veth", None);
        assert!(router.converge(&mut agent).await);
        router.kernel.strike_before("reading the guard", |kernel| {
            kernel.delete("c0").unwrap();
        });
        router.converge(&mut agent).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    router.guards.lose(BackendKind::Ebpf);
    assert!(router.converge(&mut agent).await, "the repair backs off");
}
