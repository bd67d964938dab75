//! A kill before each request, a refusal of each, and a lost answer to each: of a start, a reload, a switch of
//! backends, and down. After it nothing is open, the next agent gets all done, and down leaves all as it was.

use super::router::Router;
use crate::backend::BackendKind;
use crate::kernel::fake::dump::changes;

const EIO: i32 = 5;
const ENOBUFS: i32 = 105;

/// What is interrupted. Each begins with a router in a certain state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// The first start.
    Start,
    /// A start where all is in place.
    Adopt,
    /// Another port, and another peer's address.
    Reload,
    /// The other backend.
    Switch,
    /// Everything is taken down.
    Down,
}

const COURSES: [Course; 5] = [
    Course::Start,
    Course::Adopt,
    Course::Reload,
    Course::Switch,
    Course::Down,
];

/// What happens at a request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Refused(i32),
    AnswerLost(i32),
}

const FAULTS: [Fault; 3] = [Fault::Kill, Fault::Refused(EIO), Fault::AnswerLost(ENOBUFS)];

impl Course {
    /// A router as it is before, and as its owner found it.
    async fn router(self) -> (Router, Vec<String>) {
        let mut router = Router::new(BackendKind::Ebpf);
        let found = router.state().await;
        router.undisturbed = self != Self::Reload;
        if self != Self::Start {
            drop(router.started().await);
        }
        match self {
            Self::Reload => {
                router.config.tunnel.listen_port = Some(51999);
                router.config.tunnel.peers[0].endpoint = "203.0.113.11:51820".parse().unwrap();
            }
            Self::Switch => router.kind = BackendKind::Nft,
            Self::Start | Self::Adopt | Self::Down => {}
        }
        (router, found)
    }

    /// Goes on until it ends, or can do no more. Returns whether all was done.
    async fn run(self, router: &Router) -> bool {
        match self {
            Self::Down => router.down().await.is_empty(),
            _ => router.converge(&mut router.agent()).await,
        }
    }
}

/// The state in which a course ends when nothing fails, and how many requests it makes.
async fn undisturbed(course: Course) -> (Vec<String>, usize) {
    let (router, found) = course.router().await;
    let before = router.kernel.requests();
    assert!(course.run(&router).await, "{course:?}");
    let requests = router.kernel.requests() - before;
    let state = router.state().await;
    assert_eq!(router.violations().await, Vec::<String>::new());
    if course == Course::Down {
        assert_eq!(changes(&found, &state), Vec::<String>::new());
    }
    (state, requests)
}

/// Runs a course with a fault at one request, then another agent, then down.
async fn disturbed(course: Course, fault: Fault, request: usize, end: &[String]) {
    let (router, found) = course.router().await;
    let number = router.kernel.requests() + request;
    match fault {
        Fault::Kill => router.kernel.kill_at(number),
        Fault::Refused(errno) => router.kernel.fail_at(number, errno),
        Fault::AnswerLost(errno) => router.kernel.lose_answer_at(number, errno),
    }
    course.run(&router).await;
    router.kernel.recover();
    let what = format!(
        "{course:?}, {fault:?} at request {request} ({:?})",
        router.kernel.log().get(number - 1)
    );
    let nothing = Vec::<String>::new();
    assert_eq!(router.violations().await, nothing, "{what}");
    assert!(course.run(&router).await, "{what}: again");
    assert_eq!(changes(end, &router.state().await), nothing, "{what}");
    assert_eq!(router.down().await, nothing, "{what}: down");
    let left = changes(&found, &router.state().await);
    assert_eq!(left, nothing, "{what}: down leaves the machine as found");
}

#[tokio::test]
async fn whatever_request_fails_the_next_agent_gets_all_done_and_down_restores_all() {
    for course in COURSES {
        let (end, requests) = undisturbed(course).await;
        assert!(requests > 10, "{course:?}: {requests} requests");
        for fault in FAULTS {
            for request in 1..=requests {
                disturbed(course, fault, request, &end).await;
            }
        }
    }
}
