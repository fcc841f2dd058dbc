//! What other libraries say of what they were given, in words for whoever gave it: none of Rust, none of a library's own.

use safetensors::SafeTensorError;

/// Why bytes are no safetensors file.
pub fn safetensors(why: &SafeTensorError) -> String {
    use SafeTensorError as E;
    match why {
        E::HeaderTooLarge | E::InvalidHeader(_) | E::InvalidHeaderDeserialization(_) => {
            "it does not begin as a safetensors file does".into()
        }
        E::HeaderTooSmall | E::InvalidHeaderLength => "it ends within its header: cut off".into(),
        E::MetadataIncompleteBuffer => {
            "it is not as long as its header says: cut off, or added to".into()
        }
        other => other.to_string(),
    }
}

/// Why a value is not what a setting takes, or a text no JSON.
pub fn json(why: &serde_json::Error) -> String {
    let why = why.to_string();
    let Some((given, expected)) = why.rsplit_once("expected ") else {
        return why.replace("EOF while parsing", "it ends within");
    };
    let word = expected.split(" at line ").next().unwrap_or_default();
    let plain = match word {
        "usize" | "u64" | "u32" | "u16" => "a whole number from 0 on",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a map" => "an object",
        "a sequence" => "a list",
        _ => return why,
    };
    format!("{given}expected {plain}{}", &expected[word.len()..])
}

/// What is expected in place of a number that nothing can hold.
pub const SMALLER: &str = "expected a smaller number";

/// Why a text is no number, by what a parser of the standard library says.
pub fn number(why: &str) -> Option<&'static str> {
    Some(match why {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number from 0 on"
        }
        "number too large to fit in target type" => SMALLER,
        "invalid float literal" | "cannot parse float from empty string" => "expected a number",
        _ => return None,
    })
}

/// A value as JSON says it, or its beginning where it is long: a record may hold a book.
pub fn value(value: &serde_json::Value) -> String {
    const SHOWN: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ..", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use std::collections::BTreeMap;

    /// The words that are looked for are those of today's libraries.
    #[test]
    fn libraries_are_said_plainly() {
        let read = |bytes: &[u8]| safetensors(&SafeTensors::read_metadata(bytes).unwrap_err());
        let html = read(b"<!doctype html>");
        assert_eq!(html, "it does not begin as a safetensors file does");
        let cut = read(&[8, 0, 0, 0, 0, 0, 0, 0, b'{']);
        assert_eq!(cut, "it ends within its header: cut off");
        assert_eq!(read(b""), cut);

        let value =
            |text| json(&serde_json::from_str::<BTreeMap<String, usize>>(text).unwrap_err());
        let given =
            "invalid value: integer `-1`, expected a whole number from 0 on at line 1 column 8";
        assert_eq!(value("{\"a\": -1}"), given);
        assert_eq!(
            value("[]"),
            "invalid type: sequence, expected an object at line 1 column 0"
        );
        assert_eq!(value("{"), "it ends within an object at line 1 column 1");

        assert_eq!(super::value(&[1, 2].into()), "[1,2]");
        assert_eq!(super::value(&"é".repeat(1000).into()).chars().count(), 83);

        let whole = |text: &str| number(&text.parse::<u8>().unwrap_err().to_string());
        assert_eq!(whole("1.5"), Some("expected a whole number from 0 on"));
        assert_eq!(whole(""), Some("expected a whole number from 0 on"));
        assert_eq!(whole("256"), Some("expected a smaller number"));
        let real = |text: &str| number(&text.parse::<f64>().unwrap_err().to_string());
        assert_eq!(real("abc"), Some("expected a number"));
        assert_eq!(real(""), Some("expected a number"));
    }
}
