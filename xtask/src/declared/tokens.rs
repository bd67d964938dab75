//! Rust's source text as trees of tokens: comments, strings and brackets are distinguished, no more.

use anyhow::{Context as _, Result, bail};

/// A token, or what stands between two brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tree<'a> {
    /// An identifier, a keyword or a number.
    Word(&'a str),
    /// What stands between the quotes of a string; escapes are left as they are.
    Text(&'a str),
    /// Any other character.
    Sign(char),
    /// The opening bracket, and what follows up to the closing one.
    Group(char, Vec<Self>),
}

/// Reads a whole file.
pub(super) fn trees(text: &str) -> Result<Vec<Tree<'_>>> {
    let mut rest = text;
    let mut open = vec![(' ', Vec::new())];
    let at = |rest: &str| 1 + text[..text.len() - rest.len()].matches('\n').count();
    while let Some(first) = rest.chars().next() {
        let line = || format!("line {}", at(rest));
        let (tree, after) = token(first, rest).with_context(line)?;
        match tree {
            None => {}
            Some(Tree::Sign(bracket @ ('(' | '[' | '{'))) => open.push((bracket, Vec::new())),
            Some(Tree::Sign(bracket @ (')' | ']' | '}'))) => {
                let (opened, inside) = open.pop().context("nothing is open")?;
                let Some((_, outside)) = open.last_mut().filter(|_| closes(opened, bracket)) else {
                    bail!("{}: `{bracket}` closes nothing", line());
                };
                outside.push(Tree::Group(opened, inside));
            }
            Some(tree) => {
                let (_, inside) = open.last_mut().context("nothing is open")?;
                inside.push(tree);
            }
        }
        rest = after;
    }
    match (open.pop(), open.is_empty()) {
        (Some((_, trees)), true) => Ok(trees),
        (Some((bracket, _)), false) => bail!("`{bracket}` is not closed"),
        (None, _) => bail!("nothing is open"),
    }
}

const fn closes(opened: char, bracket: char) -> bool {
    matches!((opened, bracket), ('(', ')') | ('[', ']') | ('{', '}'))
}

/// The token that a text begins with, if it is no comment and no space, and what follows.
fn token(first: char, rest: &str) -> Result<(Option<Tree<'_>>, &str)> {
    if first.is_whitespace() {
        return Ok((None, rest.trim_start()));
    }
    if let Some(comment) = rest.strip_prefix("//") {
        return Ok((None, comment.find('\n').map_or("", |end| &comment[end..])));
    }
    if rest.starts_with("/*") {
        return Ok((None, block_comment(rest)?));
    }
    if let Some((text, after)) = string(rest)? {
        return Ok((Some(Tree::Text(text)), after));
    }
    if let Some(after) = rest.strip_prefix('\'').or(rest.strip_prefix("b'")) {
        return Ok((None, character_or_lifetime(after)?));
    }
    if is_of_word(first) {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        return Ok((Some(Tree::Word(&rest[..end])), &rest[end..]));
    }
    Ok((Some(Tree::Sign(first)), &rest[first.len_utf8()..]))
}

fn is_of_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// What follows a comment; one may stand within another.
fn block_comment(text: &str) -> Result<&str> {
    let (mut depth, mut rest) = (0_usize, text);
    loop {
        if let Some(after) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, after);
        } else if let Some(after) = rest.strip_prefix("*/") {
            (depth, rest) = (depth - 1, after);
        } else {
            let mut chars = rest.chars();
            chars.next().context("a comment is not closed")?;
            rest = chars.as_str();
        }
        if depth == 0 {
            return Ok(rest);
        }
    }
}

/// A string of any kind: what is in it, and what follows.
fn string(text: &str) -> Result<Option<(&str, &str)>> {
    let unprefixed = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let raw = unprefixed.strip_prefix('r');
    let after_r = raw.unwrap_or(unprefixed);
    let inside = after_r.trim_start_matches('#');
    let hashes = after_r.len() - inside.len();
    let Some(inside) = inside.strip_prefix('"') else {
        return Ok(None);
    };
    if raw.is_some() {
        let end = format!("\"{}", "#".repeat(hashes));
        let (text, after) = inside
            .split_once(&end)
            .context("a raw string is not closed")?;
        return Ok(Some((text, after)));
    }
    if hashes > 0 {
        return Ok(None);
    }
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !escaped => return Ok(Some((&inside[..at], &inside[at + 1..]))),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    bail!("a string is not closed")
}

/// What follows a character's literal, or the quote of a lifetime.
fn character_or_lifetime(after: &str) -> Result<&str> {
    let mut chars = after.chars();
    let first = chars.next().context("a quote ends the file")?;
    if first == '\\' {
        chars.next();
        let rest = chars.as_str();
        let end = rest.find('\'').context("a character is not closed")?;
        return Ok(&rest[end + 1..]);
    }
    Ok(chars.as_str().strip_prefix('\'').unwrap_or(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words outside of any bracket.
    fn words(text: &str) -> Vec<&str> {
        trees(text)
            .expect("it can be read")
            .into_iter()
            .filter_map(|tree| match tree {
                Tree::Word(word) => Some(word),
                Tree::Text(_) | Tree::Sign(_) | Tree::Group(..) => None,
            })
            .collect()
    }

    #[test]
    fn comments_strings_and_characters_hide_what_is_in_them() {
        assert_eq!(words("a // b\nc"), ["a", "c"]);
        assert_eq!(words("a /* b /* c */ d */ e"), ["a", "e"]);
        assert_eq!(words(r#"a "b \" c" d b"e" f"#), ["a", "d", "f"]);
        assert_eq!(words(r##"a r#"b " c"# d br"e\" f"##), ["a", "d", "f"]);
        assert_eq!(
            words(r"a 'b' c '\'' d b'{' e '\u{7b}' f"),
            ["a", "c", "d", "e", "f"]
        );
        assert_eq!(words("&'static a 'b: c"), ["static", "a", "b", "c"]);
    }

    #[test]
    fn brackets_make_groups() {
        assert_eq!(words("a { b ( c ) [ d ] } e"), ["a", "e"]);
        let found = trees("m!(x);").expect("it can be read");
        assert_eq!(
            found,
            [
                Tree::Word("m"),
                Tree::Sign('!'),
                Tree::Group('(', vec![Tree::Word("x")]),
                Tree::Sign(';')
            ]
        );
    }

    #[test]
    fn what_is_not_closed_is_an_error_with_its_line() {
        for (text, wrong) in [
            ("a\n)", "line 2: `)`"),
            ("(a]", "line 1: `]`"),
            ("{ a", "`{` is not closed"),
            ("a\n\"b", "line 2: a string"),
            ("/* a", "line 1: a comment"),
        ] {
            let error = format!("{:#}", trees(text).expect_err("it is not closed"));
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}
