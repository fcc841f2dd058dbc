//! The text form: canonical printing, and all errors of a bad text at once.

use baton_ir::verify::typing;
use baton_ir::{builtin, text};

#[test]
fn builtins_parse_type_and_print_canonically() {
    for name in builtin::NAMES {
        let source = builtin::text(name).unwrap();
        let parsed =
            text::parse(source).unwrap_or_else(|e| panic!("{}", text::render(name, source, &e)));
        assert_eq!(parsed.name, *name);
        typing::check(&parsed).unwrap_or_else(|e| panic!("{}", text::render(name, source, &e)));
        let printed = text::print(&parsed);
        assert!(
            source.ends_with(&printed),
            "{name} is not canonical:\n{printed}"
        );
        assert_eq!(text::parse(&printed).as_ref(), Ok(&parsed));
    }
}
