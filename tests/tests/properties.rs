//! What holds for any input, tried on some: the same functions that `cargo xtask fuzz headers`
//! and `cargo xtask fuzz config` try on many.

use lte_tests::properties;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

// No kernel takes part.
lte_tests::runs_on!(newest);

/// A text of which parts are replaced by others of it, taken out or put in.
fn altered(text: &'static str) -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        Just("\"".to_owned()),
        Just("[".to_owned()),
        Just("-1".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("fe80::1".to_owned()),
        Just("\n[modem]\n".to_owned()),
        "\\PC{0,6}",
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    let edit = (any::<Index>(), any::<Index>(), 0..12_usize, odd, 0..4_u8);
    vec(edit, 0..5).prop_map(move |edits| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, from, len, odd, kind) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + len).min(chars.len());
            let new: Vec<char> = match kind {
                0 => Vec::new(),
                1 => {
                    let from = from.index(chars.len() + 1);
                    chars[from..(from + 16).min(chars.len())].to_vec()
                }
                _ => odd.chars().collect(),
            };
            chars.splice(at..end, new);
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged_and_keep_the_invariants(data in vec(any::<u8>(), 0..200)) {
        properties::headers(&data);
    }

    #[test]
    fn a_frame_of_the_corpus_altered_keeps_the_invariants(
        control in any::<[u8; 8]>(),
        changes in vec((0..120_u16, any::<u8>()), 0..6),
    ) {
        let mut data = control.to_vec();
        data[4] |= 1;
        for (at, byte) in changes {
            data.extend(at.to_le_bytes());
            data.push(byte);
        }
        properties::headers(&data);
    }

    #[test]
    fn a_config_altered_is_taken_whole_or_refused_with_a_place(text in altered(properties::EXAMPLE)) {
        properties::config(&text);
    }
}
