//! Splits what a person typed into a program and its arguments, as a shell would, but without
//! variables, patterns or redirection: it only groups.

/// Why a line can't be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// A quotation mark without its partner.
    Quote,
    /// A backslash at the end.
    Backslash,
}

/// The words of the line; quotes group, a backslash takes the next character as it is.
///
/// # Errors
/// [`Unfinished`] when a quotation or an escape is not finished.
pub fn split(line: &str) -> Result<Vec<String>, Unfinished> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next().ok_or(Unfinished::Backslash)?),
            '\'' | '"' => {
                let inside = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(Unfinished::Quote)? {
                        end if end == c => break,
                        '\\' if c == '"' => match chars.next().ok_or(Unfinished::Quote)? {
                            escaped @ ('"' | '\\' | '$' | '`') => inside.push(escaped),
                            other => inside.extend(['\\', other]),
                        },
                        other => inside.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_group() {
        assert_eq!(split(r#"xterm -e "vim 'a b'""#).unwrap(), ["xterm", "-e", "vim 'a b'"]);
        assert_eq!(split(r"a\ b ''  c").unwrap(), ["a b", "", "c"]);
        assert_eq!(split(r#""a\"b\n""#).unwrap(), [r#"a"b\n"#]);
        assert_eq!(split("   ").unwrap(), Vec::<String>::new());
        assert_eq!(split("a 'b"), Err(Unfinished::Quote));
        assert_eq!(split("a \\"), Err(Unfinished::Backslash));
    }

    proptest! {
        #[test]
        fn any_line_is_split_or_refused(line in ".{0,60}") {
            let _ = split(&line);
        }

        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^']{0,8}", 0..5)) {
            let line: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
            prop_assert_eq!(split(&line.join(" ")).unwrap(), words);
        }
    }
}
