//! The nearest known key to a misspelt one.

/// Turns a message of the TOML reader into one that says what would be right.
pub(super) fn reword(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let Some((unknown, known)) = names.split_first()
    {
        return match nearest(unknown, known) {
            Some(best) => format!("unknown key `{unknown}`: did you mean `{best}`?"),
            None => format!("unknown key `{unknown}`: known here are {}", list(known)),
        };
    }
    if message.starts_with("missing field")
        && let Some(name) = names.first()
    {
        return format!("key `{name}` is missing");
    }
    message.replace('\n', ", ")
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The known name that is at most a third of its length away.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (distance(unknown, name), *name))
        .filter(|(distance, name)| distance * 3 <= name.len().max(unknown.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The number of characters to insert, delete or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("adress", "address"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["interface", "mac", "address"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("interfaces", &known), Some("interface"));
        assert_eq!(nearest("colour", &known), None);
    }
}
