//! What `nft list ruleset` prints, as lines that can be compared.

use std::collections::BTreeSet;

/// The lines of a listing, the elements of a set on one, and each key once.
///
/// The kernel may hold a key twice for a while: a packet that updates a set between the moment when
/// a transaction's rules begin to work and the one when its elements do (`nf_tables_commit`) does not find
/// them (`nft_rhash_update` asks for what is active in both generations) and adds its own.
pub fn lines(listing: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = listing.lines();
    while let Some(line) = rest.next() {
        let Some((head, elements)) = line.split_once("elements = {") else {
            lines.push(line.trim_end().to_owned());
            continue;
        };
        let mut elements = elements.to_owned();
        while !elements.ends_with('}')
            && let Some(more) = rest.next()
        {
            elements.push(' ');
            elements.push_str(more.trim());
        }
        let mut seen = BTreeSet::new();
        let once: Vec<&str> = elements
            .trim_end_matches('}')
            .split(',')
            .map(str::trim)
            .filter(|element| {
                let key = element
                    .split_once(" timeout ")
                    .map_or(*element, |(key, _)| key);
                seen.insert(key.to_owned())
            })
            .collect();
        lines.push(format!("{head}elements = {{ {} }}", once.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_counts_once() {
        let listing = "table inet t {
\tset s {
\t\ttimeout 4m10s
\t\telements = { 192.0.2.10 . 51820,
\t\t\t     192.0.2.20 . 9,
\t\t\t     192.0.2.10 . 51820 timeout 4m7s }
\t}
\tset u {
\t\telements = { 1, 2 }
\t}
}
";
        assert_eq!(
            lines(listing),
            [
                "table inet t {",
                "\tset s {",
                "\t\ttimeout 4m10s",
                "\t\telements = { 192.0.2.10 . 51820, 192.0.2.20 . 9 }",
                "\t}",
                "\tset u {",
                "\t\telements = { 1, 2 }",
                "\t}",
                "}",
            ]
        );
    }
}
