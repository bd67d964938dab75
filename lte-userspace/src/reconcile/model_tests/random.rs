//! Damages, faults, starts and downs at random, by a seed that repeats them (`LTE_SEED`).

use super::damages::{self, Damage};
use super::router::Router;
use crate::backend::BackendKind;
use crate::kernel::fake::dump::changes;
use crate::random::Rng;

const ROUTERS: u64 = 40;
const ROUNDS: u64 = 6;

fn seed() -> u64 {
    let given = std::env::var("LTE_SEED").ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

#[tokio::test]
async fn whatever_happens_all_is_repaired_and_given_back() {
    let seed = seed();
    println!("LTE_SEED={seed}");
    let mut rng = Rng(seed);
    let all: Vec<Damage> = damages::all().collect();
    let nothing = Vec::<String>::new();
    for _ in 0..ROUTERS {
        let kind = [BackendKind::Ebpf, BackendKind::Nft][rng.below(2) as usize];
        let mut router = Router::new(kind);
        let found = router.state().await;
        let mut agent = router.started().await;
        let mut whole = router.state().await;
        let mut history = Vec::new();
        for _ in 0..ROUNDS {
            for _ in 0..rng.below(4) {
                let damage = &all[rng.below(all.len() as u64) as usize];
                history.push(damage.name.to_owned());
                (damage.strike)(&router).ok();
                if damage.brings_another_device() {
                    router.converge(&mut agent).await;
                }
            }
            let at = router.kernel.requests() + 1 + rng.below(60) as usize;
            match rng.below(4) {
                0 => {
                    history.push(format!("killed at {at}"));
                    router.kernel.kill_at(at);
                    router.converge(&mut agent).await;
                    router.kernel.recover();
                    agent = router.agent();
                }
                1 => {
                    history.push(format!("refusal at {at}"));
                    router.kernel.fail_at(at, 16);
                }
                2 => {
                    history.push("the other backend".to_owned());
                    router.kind = match router.kind {
                        BackendKind::Ebpf => BackendKind::Nft,
                        BackendKind::Nft => BackendKind::Ebpf,
                    };
                    let other = Router::new(router.kind);
                    drop(other.started().await);
                    whole = other.state().await;
                    agent = router.agent();
                }
                _ => {}
            }
            router.converge(&mut agent).await;
            router.kernel.recover();
            let converged = router.converge(&mut agent).await;
            let differs = changes(&whole, &router.state().await);
            assert_eq!(differs, nothing, "LTE_SEED={seed}: {history:?}");
            assert!(converged, "LTE_SEED={seed}: {history:?}");
            assert_eq!(router.violations().await, nothing, "LTE_SEED={seed}");
        }
        assert_eq!(router.down().await, nothing, "LTE_SEED={seed}");
        let left = changes(&found, &router.state().await);
        assert_eq!(left, nothing, "LTE_SEED={seed}: {history:?}: down");
    }
}
