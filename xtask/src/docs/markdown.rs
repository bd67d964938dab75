//! What is written as code in a text in Markdown. Pure.

/// A piece of code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// The line that it begins on.
    pub(super) line: usize,
    /// What a fence says of its language; of a piece within a line nothing.
    pub(super) language: Option<String>,
    pub(super) text: String,
}

/// All of it: fenced blocks, and spans between back ticks, which may go on over the end of a line.
pub(super) fn code(text: &str) -> Vec<Code> {
    let mut found = Vec::new();
    let mut fence: Option<Code> = None;
    let mut span: Option<Code> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let after_ticks = line.trim_start().strip_prefix("```");
        if let Some(mut open) = fence.take() {
            if after_ticks.is_some() {
                found.push(open);
            } else {
                open.text.push_str(line);
                open.text.push('\n');
                fence = Some(open);
            }
            continue;
        }
        if let Some(language) = after_ticks {
            // An odd back tick before it is none of a span.
            span = None;
            fence = Some(Code {
                line: number + 1,
                language: Some(language.trim().to_owned()),
                text: String::new(),
            });
            continue;
        }
        if line.trim().is_empty() {
            span = None;
        }
        for (at, piece) in line.split('`').enumerate() {
            if at > 0 {
                span = match span.take() {
                    Some(done) => {
                        found.push(done);
                        None
                    }
                    None => Some(Code {
                        line: number,
                        language: None,
                        text: String::new(),
                    }),
                };
            }
            if let Some(span) = &mut span {
                span.text.push_str(piece);
            }
        }
        if let Some(span) = &mut span {
            span.text.push(' ');
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_and_spans_are_found() {
        let text = "\
Say `one` and `two
three` here, `left open.

```
a
b
```
and `four`.
";
        let found: Vec<(usize, Option<String>, String)> = code(text)
            .into_iter()
            .map(|code| (code.line, code.language, code.text))
            .collect();
        let of = |line, language: Option<&str>, text: &str| {
            (line, language.map(str::to_owned), text.to_owned())
        };
        assert_eq!(
            found,
            [
                of(1, None, "one"),
                of(1, None, "two three"),
                of(5, Some(""), "a\nb\n"),
                of(8, None, "four"),
            ]
        );
    }
}
