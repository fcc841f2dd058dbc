//! Where a recurrence's text comes from, and which Rust token stands behind each byte of it.
//!
//! The text of tokens is the tokens with a space between: layout has no meaning in the language.
//! Each token's byte range is kept with its span, so that a diagnostic's range finds the tokens
//! that it covers, first to last. A file has one token for all of its text, the literal that
//! names it; its errors are rendered with their own lines. `crate = PATH;` before either says where the
//! runtime is found, for whoever passes the macro on under a name of its own.

use baton_ir::diag::Diagnostic;
use baton_ir::span::Span as Bytes;
use baton_ir::text::render;
use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::LitStr;

/// A text and the tokens behind it.
pub struct Source {
    /// The text of the recurrence.
    pub text: String,
    /// Outer attributes that stood before it.
    pub attributes: TokenStream,
    /// The path of the file, where it is one.
    pub file: Option<LitStr>,
    /// The path of the runtime in what is expanded.
    pub runtime: TokenStream,
    tokens: Vec<(Bytes, Span)>,
}

impl Source {
    /// From the tokens given to the macro.
    pub fn new(input: TokenStream) -> syn::Result<Source> {
        let mut source = Source {
            text: String::new(),
            attributes: TokenStream::new(),
            file: None,
            runtime: quote!(::baton_runtime),
            tokens: Vec::new(),
        };
        let mut trees = input.into_iter().peekable();
        if trees.peek().is_some_and(|tree| is_word(tree, "crate")) {
            source.runtime = runtime(&mut trees)?;
        }
        while let Some(hash) = trees.next_if(|tree| is_mark(tree, '#')) {
            source.attributes.extend([hash]);
            source.attributes.extend(trees.next());
        }
        let rest: Vec<TokenTree> = trees.collect();
        match rest.as_slice() {
            [file, equals, path @ ..] if is_word(file, "file") && is_mark(equals, '=') => {
                let path: LitStr = syn::parse2(path.iter().cloned().collect())?;
                source.text = read(&path)?;
                source.file = Some(path);
            }
            _ => source.push(rest),
        }
        Ok(source)
    }

    fn push(&mut self, trees: Vec<TokenTree>) {
        for tree in trees {
            let TokenTree::Group(group) = tree else {
                let span = tree.span();
                self.token(&tree.to_string(), span);
                continue;
            };
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            self.token(open, group.span_open());
            self.push(group.stream().into_iter().collect());
            self.token(close, group.span_close());
        }
    }

    fn token(&mut self, text: &str, span: Span) {
        let start = self.text.len();
        self.text.push_str(text);
        self.tokens.push((Bytes::new(start, self.text.len()), span));
        self.text.push(' ');
    }

    /// The first and the last token that a byte range covers.
    pub fn spans(&self, bytes: Bytes) -> (Span, Span) {
        if let Some(path) = &self.file {
            return (path.span(), path.span());
        }
        let covered =
            |token: &&(Bytes, Span)| token.0.start < bytes.end && bytes.start < token.0.end;
        let mut tokens = self.tokens.iter().filter(covered);
        // Past the end of the text stands its last token.
        let first = tokens.next().or(self.tokens.last());
        let first = first.map_or_else(Span::call_site, |token| token.1);
        (first, tokens.next_back().map_or(first, |token| token.1))
    }

    /// All diagnostics as compile errors at their tokens.
    pub fn error(&self, diagnostics: &[Diagnostic]) -> syn::Error {
        if let Some(path) = &self.file {
            let rendered = render(&path.value(), &self.text, diagnostics);
            return syn::Error::new(path.span(), format!("\n{}", rendered.trim_end()));
        }
        let errors = diagnostics.iter().map(|diagnostic| {
            let (first, last) = self.spans(diagnostic.span);
            let (first, last) = (Ident::new("from", first), Ident::new("to", last));
            syn::Error::new_spanned(quote!(#first #last), diagnostic)
        });
        let combined = errors.reduce(|mut all, error| {
            all.combine(error);
            all
        });
        combined.unwrap_or_else(|| syn::Error::new(Span::call_site(), "no recurrence"))
    }
}

fn is_mark(tree: &TokenTree, mark: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn is_word(tree: &TokenTree, word: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == word)
}

/// The path of `crate = PATH;`, token by token: `$crate` of a macro that passes this one on parses as no other.
fn runtime(trees: &mut impl Iterator<Item = TokenTree>) -> syn::Result<TokenStream> {
    let wrong = |span| syn::Error::new(span, "expected the runtime's place: `crate = PATH;`");
    let word = trees
        .next()
        .map_or_else(Span::call_site, |tree| tree.span());
    let equals = trees.next().filter(|tree| is_mark(tree, '='));
    equals.ok_or_else(|| wrong(word))?;
    let mut path = TokenStream::new();
    for tree in trees {
        if is_mark(&tree, ';') && !path.is_empty() {
            return Ok(path);
        }
        path.extend([tree]);
    }
    Err(wrong(word))
}

fn read(path: &LitStr) -> syn::Result<String> {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let from = std::path::Path::new(&folder).join(path.value());
    std::fs::read_to_string(from).map_err(|error| {
        let message = format!(
            "cannot read {} in the folder of Cargo.toml: {error}",
            path.to_token_stream()
        );
        syn::Error::new(path.span(), message)
    })
}
