//! The nearest known key to a misspelt one.

use strsim::levenshtein;

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
        .map(|name| (levenshtein(unknown, name), *name))
        .filter(|(distance, name)| distance * 3 <= name.len().max(unknown.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["interface", "mac", "address"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("interfaces", &known), Some("interface"));
        assert_eq!(nearest("colour", &known), None);
    }
}
