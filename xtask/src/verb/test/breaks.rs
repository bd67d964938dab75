//! A machine that broke: whose doing it may be, and whether the tests that are left get another. Pure.

use crate::vm::Break;

/// How often a machine that broke is booted again for the tests that are left.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// How many there were before this one.
    pub(super) boots: usize,
    /// The last boots on which not one test came to its end.
    fruitless: usize,
}

impl Tries {
    /// So many of these in a row, and no more is to be expected of the next. What breaks now and
    /// then costs the test that ran and no other.
    const FRUITLESS: usize = 3;

    /// Whether to boot once more after one that broke when so many tests had ended on it.
    pub(super) fn are_left_after(&mut self, ended: usize) -> bool {
        self.boots += 1;
        self.fruitless = if ended == 0 { self.fruitless + 1 } else { 0 };
        self.fruitless < Self::FRUITLESS
    }
}

/// What a machine broke of, and whose doing it may be: the test during which it began, and those that
/// had ended there shortly before the one that is `next`.
pub(super) fn blame(broken: &Break, names: &[String], first: usize, next: usize) -> String {
    /// What a test leaves pending, fragments for one, may be met half a minute later.
    const SHORTLY: usize = 3;
    let mut blame = broken.why.clone();
    if let Some(began) = broken.began_in.filter(|began| *began != next)
        && let Some(name) = names.get(began)
    {
        blame.push_str("; it began during ");
        blame.push_str(name);
    }
    let before = &names[next.saturating_sub(SHORTLY).max(first)..next];
    if !before.is_empty() {
        blame.push_str("; ended there before: ");
        blame.push_str(&before.join(", "));
    }
    blame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_booted_again_as_long_as_tests_end_on_it() {
        let mut tries = Tries::default();
        // Each of ten boots breaks at its second test.
        assert!((0..10).all(|_| tries.are_left_after(1)));
        assert!(tries.are_left_after(0));
        assert!(tries.are_left_after(0));
        assert!(tries.are_left_after(1));
        // It breaks whatever is run.
        assert!(tries.are_left_after(0));
        assert!(tries.are_left_after(0));
        assert!(!tries.are_left_after(0));
    }

    #[test]
    fn those_before_are_named() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let broken = |began_in| Break {
            why: "why".to_owned(),
            began_in,
        };
        assert_eq!(blame(&broken(None), &names, 0, 0), "why");
        assert_eq!(blame(&broken(Some(4)), &names, 4, 4), "why");
        assert_eq!(
            blame(&broken(Some(2)), &names, 0, 4),
            "why; it began during c; ended there before: b, c, d"
        );
        assert_eq!(
            blame(&broken(None), &names, 3, 4),
            "why; ended there before: d"
        );
    }
}
