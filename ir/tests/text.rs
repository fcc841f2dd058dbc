//! The text form: printing is canonical, and no text makes the parser or the verifier panic.

use baton_ir::recurrence::{
    BinaryFn, DimId, Expr, ExprId, InputId, LetId, OutputId, ParamId, Port, Recurrence, StateId,
    Stmt, UnaryFn,
};
use baton_ir::text::MAX_HEIGHT;
use baton_ir::verify::typing;
use baton_ir::{builtin, text};
use proptest::prelude::*;

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

#[test]
fn parentheses_are_the_fewest() {
    for (given, printed) in [
        ("(x + x) + x", "x + x + x"),
        ("x + (x + x)", "x + (x + x)"),
        ("x - (x - x) * (x / (x * x))", "x - (x - x) * (x / (x * x))"),
        ("-(-x) * (-(x * x))", "--x * -(x * x)"),
        (
            "((exp((x)))) / (max((x - x), (x)))",
            "exp(x) / max(x - x, x)",
        ),
        ("1.50 + 2.0 + 1e-7 + 100000", "1.5 + 2 + 1e-7 + 100000"),
    ] {
        let wrap = |e: &str| {
            format!("recurrence r {{\n    inputs {{ x: [] }}\n\n    output y: [] = {e};\n}}\n")
        };
        let recurrence = text::parse(&wrap(given)).unwrap();
        assert_eq!(text::print(&recurrence), wrap(printed));
    }
}

#[test]
fn blocks_come_in_any_order() {
    let source = "recurrence r { s = f * s + x; state { s: [N] } output y: [] = sum(s);
        params { f: [] } inputs { x: [N], } dims { N, } }";
    let recurrence = text::parse(source).unwrap();
    assert_eq!(
        text::print(&recurrence),
        "recurrence r {
    dims   { N }
    inputs { x: [N] }
    params { f: [] }
    state  { s: [N] }

    s = f * s + x;
    output y: [] = sum(s);
}
"
    );
}

#[test]
fn depth_is_bounded_before_the_stack_is() {
    let text =
        |value: String| format!("recurrence r {{ inputs {{ x: [] }} output y: [] = {value}; }}");
    let chain = |n: usize| text(vec!["x"; n + 1].join(" + "));
    assert!(text::parse(&chain(MAX_HEIGHT)).is_ok());
    let parentheses = |n: usize| text(format!("{}x{}", "(".repeat(n), ")".repeat(n)));
    for source in [
        chain(MAX_HEIGHT + 1),
        chain(100_000),
        parentheses(100_000),
        text("-".repeat(100_000) + "x"),
        text("exp(".repeat(100_000)),
        text("(".repeat(100_000)),
    ] {
        let diagnostics = text::parse(&source).unwrap_err();
        assert_eq!(diagnostics[0].code, "R004");
    }
}

#[test]
fn a_built_recurrence_is_checked_as_data() {
    let good = text::parse(builtin::text("rwkv6").unwrap()).unwrap();
    let broken: [fn(&mut Recurrence); 11] = [
        |r| r.exprs[0] = Expr::Input(InputId(9)),
        |r| r.exprs[1] = Expr::Unary(UnaryFn::Exp, ExprId(1)),
        |r| r.exprs[0] = Expr::Number(-1.0),
        |r| r.body.push(Stmt::Update(StateId(7), ExprId(0))),
        |r| r.body.push(Stmt::Output(OutputId(0), ExprId(0))),
        |r| r.body.push(Stmt::Update(StateId(0), ExprId(2))),
        |r| r.states[0].per_group = true,
        |r| r.lets.push("lonely".into()),
        |r| r.name = "two words".into(),
        |r| r.inputs[0].name = "".into(),
        |r| r.inputs[0].name = r.states[0].name.clone(),
    ];
    for (i, breaking) in broken.into_iter().enumerate() {
        let mut recurrence = good.clone();
        breaking(&mut recurrence);
        let diagnostics = typing::check(&recurrence).expect_err(&format!("case {i}"));
        assert_eq!(diagnostics[0].code, "R020", "case {i}");
    }
}

/// An expression to be: post-order is the arena's business.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Expr),
    One(fn(ExprId) -> Expr, Box<Tree>),
    Unary(UnaryFn, Box<Tree>),
    Two(fn(ExprId, ExprId) -> Expr, Box<Tree>, Box<Tree>),
    Binary(BinaryFn, Box<Tree>, Box<Tree>),
}

fn tree(lets: u32) -> impl Strategy<Value = Tree> {
    let number = any::<f64>()
        .prop_filter("finite", |x| x.is_finite())
        .prop_map(f64::abs);
    let small = (0..1000u32).prop_map(f64::from);
    let leaf = prop_oneof![
        number.prop_map(Expr::Number),
        small.prop_map(Expr::Number),
        (0..2u32).prop_map(|i| Expr::Size(DimId(i))),
        (0..2u32).prop_map(|i| Expr::Input(InputId(i))),
        Just(Expr::Param(ParamId(0))),
        Just(Expr::State(StateId(0))),
        (0..lets + 1).prop_map(move |i| match i.checked_sub(1) {
            Some(i) => Expr::Let(LetId(i)),
            None => Expr::Input(InputId(0)),
        }),
    ];
    leaf.prop_map(Tree::Leaf).prop_recursive(8, 48, 2, |inner| {
        let one = prop::sample::select(vec![
            Expr::Rows as fn(ExprId) -> Expr,
            Expr::Cols,
            Expr::Sum,
            Expr::L2norm,
        ]);
        let two = prop::sample::select(vec![Expr::Outer as fn(ExprId, ExprId) -> Expr, Expr::Dot]);
        let inner = inner.prop_map(Box::new);
        prop_oneof![
            (one, inner.clone()).prop_map(|(f, a)| Tree::One(f, a)),
            (prop::sample::select(UnaryFn::ALL), inner.clone())
                .prop_map(|(f, a)| Tree::Unary(f, a)),
            (two, inner.clone(), inner.clone()).prop_map(|(f, a, b)| Tree::Two(f, a, b)),
            (prop::sample::select(BinaryFn::ALL), inner.clone(), inner)
                .prop_map(|(f, a, b)| Tree::Binary(f, a, b)),
        ]
    })
}

fn place(tree: &Tree, exprs: &mut Vec<Expr>) -> ExprId {
    let expr = match tree {
        Tree::Leaf(expr) => *expr,
        Tree::One(f, a) => f(place(a, exprs)),
        Tree::Unary(f, a) => Expr::Unary(*f, place(a, exprs)),
        Tree::Two(f, a, b) => {
            let a = place(a, exprs);
            f(a, place(b, exprs))
        }
        Tree::Binary(f, a, b) => {
            let a = place(a, exprs);
            Expr::Binary(*f, a, place(b, exprs))
        }
    };
    exprs.push(expr);
    ExprId(exprs.len() as u32 - 1)
}

fn recurrence() -> impl Strategy<Value = Recurrence> {
    (tree(0), tree(1), tree(1), any::<bool>()).prop_map(|(first, second, third, per_group)| {
        let port = |name: &str, shape: &[u32], per_group| Port {
            name: name.into(),
            shape: shape.iter().map(|&dim| DimId(dim)).collect(),
            per_group,
        };
        let mut exprs = Vec::new();
        let [first, second, third] = [first, second, third].map(|tree| place(&tree, &mut exprs));
        Recurrence {
            name: "generated".into(),
            dims: vec!["K".into(), "V_2".into()],
            inputs: vec![port("x", &[0, 1], per_group), port("_y", &[], false)],
            params: vec![port("p", &[1], false)],
            states: vec![port("S", &[0, 0], false)],
            outputs: vec![port("out", &[0], false)],
            lets: vec!["a".into()],
            exprs,
            body: vec![
                Stmt::Let(LetId(0), first),
                Stmt::Update(StateId(0), second),
                Stmt::Output(OutputId(0), third),
            ],
            ..Recurrence::default()
        }
    })
}

/// Pieces of the language in no order, with a whole frame around them or not.
fn soup() -> impl Strategy<Value = String> {
    let pieces = "recurrence dims inputs params state let output per group rows cols outer dot \
        sum l2norm exp max x y S K r 1 2.5 1e3 1e999 . { } [ ] ( ) : ; , = + - * / // @ é ~";
    let piece = prop::sample::select(pieces.split_whitespace().collect::<Vec<_>>());
    let soup = prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.join(" "));
    (soup, any::<bool>()).prop_map(|(soup, framed)| match framed {
        true => format!(
            "recurrence r {{ dims {{ K }} inputs {{ x: [K] }} state {{ S: [K] }} S = S + x;
             output y: [K] = {soup}; }}"
        ),
        false => soup,
    })
}

/// Of a line that no terminal holds only what stands around the place is shown, with the mark below it.
#[test]
fn a_long_line_is_shown_around_its_place() {
    for before in [0, 50, 5000] {
        let source = format!("{} é§ {}", "x ".repeat(before), "y ".repeat(5000));
        let diagnostics = text::parse(&source).unwrap_err();
        let odd = diagnostics.iter().find(|d| d.code == "R001").unwrap();
        let shown = text::render("it", &source, std::slice::from_ref(odd));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() < 200),
            "{shown}"
        );
        let at = |line: &str, what| line.split(what).next().unwrap().chars().count();
        assert_eq!(at(lines[3], "é§"), at(lines[4], "^^"), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same(recurrence in recurrence()) {
        let printed = text::print(&recurrence);
        let parsed = text::parse(&printed);
        prop_assert_eq!(parsed.as_ref(), Ok(&recurrence), "{}", printed);
        // Typing is total, whatever it finds.
        if let Err(diagnostics) = typing::check(&recurrence) {
            prop_assert!(!diagnostics.is_empty());
        }
    }

    #[test]
    fn no_text_makes_anything_panic(source in prop_oneof![soup(), ".*"]) {
        match text::parse(&source) {
            Ok(recurrence) => {
                let printed = text::print(&recurrence);
                prop_assert_eq!(text::parse(&printed), Ok(recurrence));
            }
            Err(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                prop_assert!(!text::render("soup", &source, &diagnostics).is_empty());
            }
        }
    }
}
