//! What a person says in one line: a name, and after a colon options as `key=value` with commas between.
//!
//! Tasks and initial states are said so, on the command line and in what is stored. What has no `=` continues the value
//! before it, so that a value may be a list. What the keys and values mean is for whoever asks.

/// A name, and each setting with its value.
pub type Line<'a> = (&'a str, Vec<(&'a str, String)>);

/// The name and the options of a line, in order and as often as they are said; else the first part that is no option.
pub fn read(line: &str) -> Result<Line<'_>, &str> {
    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
    let mut options: Vec<(&str, String)> = Vec::new();
    for part in rest.split(',').filter(|part| !part.is_empty()) {
        match (part.split_once('='), options.last_mut()) {
            (Some((key, value)), _) => options.push((key.trim(), value.trim().into())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part.trim());
            }
            (None, None) => return Err(part),
        }
    }
    Ok((name.trim(), options))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_value_may_be_a_list() {
        let of = |line| read(line).map(|(name, options)| (name, options.len()));
        assert_eq!(of("zero"), Ok(("zero", 0)));
        assert_eq!(of("copying:"), Ok(("copying", 0)));
        let (name, options) = read("noise: layers = 0-3, 5 ,std=1,std=2").unwrap();
        let expected = [("layers", "0-3,5"), ("std", "1"), ("std", "2")];
        assert_eq!(
            (name, options),
            (
                "noise",
                expected
                    .map(|(key, value)| (key, value.to_string()))
                    .to_vec()
            )
        );
        assert_eq!(read("state_passing:carried,conv=zero"), Err("carried"));
    }
}
