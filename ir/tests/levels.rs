//! The texts of levels 2 and 3: `parse(print(x)) == x` for random programs, and every error of a
//! bad text at its place.

use baton_ir::chunked::{self, Axis, Builder, Direction, Interval, Op, Partial, Target, ValueId};
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{
    BinaryFn, DimId, InputId, OutputId, ParamId, Port, Recurrence, StateId, UnaryFn,
};
use baton_ir::text;
use baton_ir::tile::{
    self, Along, CarryDecl, CarryId, CarryRole, Effect, Fill, Held, Op as TileOp, Pace, PortDecl,
    PortId, Reduce, Region, Role, Scalar, TileId, Triangle,
};
use baton_ir::verify;
use proptest::prelude::*;

/// Choices drawn one after the other; zero when they run out.
struct Choices(Vec<u32>);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        (self.0.pop().unwrap_or(0) as usize) % n.max(1)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn number(&mut self) -> f64 {
        let bits = (self.below(1 << 32) as u64) << 32 | self.below(1 << 32) as u64;
        let any = f64::from_bits(bits);
        match self.below(4) {
            0 if any.is_finite() => any,
            1 => -0.0,
            2 => self.below(100) as f64 - 50.0,
            _ => self.below(1000) as f64 / 7.0,
        }
    }
}

fn port(name: &str, shape: &[u32], per_group: bool) -> Port {
    Port {
        name: name.into(),
        shape: shape.iter().map(|&dim| DimId(dim)).collect(),
        per_group,
    }
}

/// A dim has the name of an axis, a state the same dim twice.
fn recurrence() -> Recurrence {
    Recurrence {
        name: "random".into(),
        dims: vec!["K".into(), "t".into(), "dim".into()],
        inputs: vec![
            port("q", &[0], false),
            port("x", &[1], true),
            port("g", &[], false),
        ],
        params: vec![port("d", &[1], false)],
        states: vec![port("S", &[0, 0], false), port("z", &[1, 2], false)],
        outputs: vec![port("o", &[0], false), port("input", &[], false)],
        ..Recurrence::default()
    }
}

const INTERVALS: [Interval; 4] = [
    Interval::Between,
    Interval::Start,
    Interval::End,
    Interval::Total,
];
const PARTIALS: [Partial; 4] = [
    Partial::Weights,
    Partial::Query,
    Partial::Key,
    Partial::LogDecay,
];

fn random_chunked(mut c: Choices) -> chunked::Draft {
    let direction = Direction::Reverse;
    let mut build = Builder::new(&recurrence(), "random_reverse".into(), direction);
    let axes = [
        Axis::Head,
        Axis::Time,
        Axis::Source,
        Axis::Middle,
        Axis::Dim(DimId(0)),
        Axis::Dim(DimId(1)),
        Axis::Dim(DimId(2)),
        Axis::Prime(DimId(0)),
    ];
    for _ in 0..60 {
        let count = build.program().ops.len();
        let v = |c: &mut Choices| ValueId(c.below(count) as u32);
        let small = |c: &mut Choices, n| c.below(n) as u32;
        let op = match c.below(21) {
            0 => Op::Input(InputId(small(&mut c, 3))),
            1 => Op::Param(ParamId(0)),
            2 => Op::State(StateId(small(&mut c, 2))),
            3 => Op::DOutput(OutputId(small(&mut c, 2))),
            4 => Op::DState(StateId(small(&mut c, 2))),
            5 => Op::Number(c.number()),
            6 => Op::Size(DimId(small(&mut c, 3))),
            7 => Op::Unary(c.of(UnaryFn::ALL), v(&mut c)),
            8 => Op::Binary(c.of(BinaryFn::ALL), v(&mut c), v(&mut c)),
            9 => Op::Select(v(&mut c), v(&mut c), v(&mut c), v(&mut c)),
            10 => Op::Valid(v(&mut c)),
            11 => Op::Broadcast(v(&mut c), c.of(&axes)),
            12 => Op::Causal(v(&mut c), c.flag()),
            13 => match c.flag() {
                true => Op::Relabel(v(&mut c), Axis::Time, Axis::Source),
                false => Op::Relabel(v(&mut c), axes[4], axes[7]),
            },
            14 => Op::Sum(v(&mut c), c.of(&axes)),
            15 => Op::Contract(v(&mut c), v(&mut c), c.of(&axes)),
            16 | 17 => {
                let interval = c.of(&INTERVALS);
                let reader = matches!(interval, Interval::Between | Interval::Start);
                let strict = c.flag() && reader;
                match c.flag() {
                    true => Op::Decay(interval, strict, v(&mut c)),
                    false => Op::Spread(interval, strict, v(&mut c)),
                }
            }
            18 => Op::Solve(c.flag(), v(&mut c), v(&mut c)),
            _ => {
                let partial = c.of(&PARTIALS);
                let count = if partial == Partial::LogDecay { 3 } else { 2 };
                let operands = (0..count).map(|_| v(&mut c)).collect();
                Op::Trilinear(partial, c.flag(), operands, v(&mut c))
            }
        };
        let _ = build.push(op);
    }
    let targets = [
        Target::DInput(InputId(0)),
        Target::DInput(InputId(1)),
        Target::DParam(ParamId(0)),
        Target::DState(StateId(0)),
        Target::DState(StateId(1)),
    ];
    for target in targets {
        let expected = build.program().target_axes(target).unwrap();
        let value = ValueId(c.below(build.program().ops.len()) as u32);
        if build.axes(value).iter().all(|axis| expected.contains(axis)) {
            build.result(target, value);
        }
    }
    // Not `finish`: ops without a user are part of the program.
    build.program().clone()
}

fn random_body(c: &mut Choices, operands: usize, chunk: bool) -> Vec<Scalar> {
    let mut body: Vec<Scalar> = Vec::new();
    for _ in 0..1 + c.below(9) {
        let count = body.len();
        // Often the entry just made, so that formulas arise beside shared entries.
        let at = |c: &mut Choices| match c.below(3) {
            0 => c.below(count) as u32,
            n => count.saturating_sub(n) as u32,
        };
        let kind = if count == 0 { c.below(2) } else { c.below(8) };
        body.push(match kind {
            0 if operands > 0 => Scalar::Operand(c.below(operands) as u32),
            0 | 1 => Scalar::Number(c.number()),
            2 | 3 => Scalar::Unary(c.of(UnaryFn::ALL), at(c)),
            4 | 5 => Scalar::Binary(c.of(BinaryFn::ALL), at(c), at(c)),
            6 if chunk => match c.flag() {
                true => Scalar::Valid(at(c)),
                false => Scalar::Causal(at(c), c.flag()),
            },
            _ => Scalar::Select(at(c), at(c), at(c), at(c)),
        });
    }
    body
}

const C: u32 = 8;

fn random_tile(mut c: Choices) -> tile::Draft {
    let port = |name: &str, role, pace, per_head, dims: &[u32]| PortDecl {
        name: name.into(),
        role,
        pace,
        per_head,
        held: match role {
            Role::Param(_) => Held::F32,
            Role::DParam(_) => Held::Parts,
            _ => Held::Storage,
        },
        dims: dims.to_vec(),
    };
    let direction = c.of(&[Direction::Forward, Direction::Reverse]);
    let mut build = tile::Builder::new("random_reverse".into(), C, direction);
    for decl in [
        port("q", Role::Input(0), Pace::Step, true, &[C]),
        port("store", Role::Input(1), Pace::Step, false, &[4]),
        port("d", Role::Param(0), Pace::Task, true, &[]),
        port("entering", Role::Entering(0), Pace::Chunk, true, &[C, 4]),
        port("y", Role::Output(0), Pace::Step, true, &[4]),
        port("d_d", Role::DParam(0), Pace::Task, true, &[]),
        port("x", Role::DInput(1), Pace::Step, false, &[4]),
    ] {
        build.port(decl);
    }
    build.carry(CarryDecl {
        name: "S".into(),
        role: CarryRole::DState(0),
        dims: vec![C, 4],
    });
    for i in 0..60 {
        let region = [Region::Before, Region::Heads, Region::After][i / 20];
        let count = build.program().nodes.len();
        let v = |c: &mut Choices| TileId(c.below(count) as u32);
        let op = match c.below(13) {
            0 | 1 => TileOp::Load(PortId(c.below(4) as u32), c.of(&[Fill::Zero, Fill::Repeat])),
            2 => TileOp::Carry(CarryId(0)),
            3..=6 => {
                let shape = c.of(&[&[C, C][..], &[C, 4], &[C], &[4], &[1]]).to_vec();
                let mut operands = Vec::new();
                for _ in 0..c.below(4) {
                    let tile = v(&mut c);
                    let of = build.program().nodes.get(tile.index());
                    let of = of.map(|node| node.shape.clone());
                    let along = match of.as_deref() {
                        Some([]) => Along::None,
                        Some([n]) if *n == shape[0] => Along::First,
                        Some([n]) if Some(n) == shape.get(1) => Along::Second,
                        Some(of) if of.len() == 2 && *of == shape[..] => Along::Both,
                        _ => continue,
                    };
                    operands.push((tile, along));
                }
                let body = random_body(&mut c, operands.len(), shape == [C, C]);
                let reduce = match shape.len() {
                    2 => c.of(&[Reduce::None, Reduce::First, Reduce::Second, Reduce::All]),
                    _ => c.of(&[Reduce::None, Reduce::All]),
                };
                TileOp::Map {
                    shape,
                    operands,
                    body,
                    reduce,
                }
            }
            7 | 8 => TileOp::Matmul {
                a: v(&mut c),
                ta: c.flag(),
                b: v(&mut c),
                tb: c.flag(),
                add: c.flag().then(|| v(&mut c)),
                triangle: c.of(&[Triangle::None, Triangle::A, Triangle::Out]),
            },
            9 => TileOp::Decay(c.of(&INTERVALS), c.flag(), v(&mut c)),
            10 => TileOp::Spread(c.of(&INTERVALS), c.flag(), v(&mut c)),
            11 => TileOp::Solve {
                transposed: c.flag(),
                l: v(&mut c),
                r: v(&mut c),
            },
            _ => match c.flag() {
                true => TileOp::HeadSum(v(&mut c)),
                false => {
                    let partial = c.of(&PARTIALS);
                    let count = if partial == Partial::LogDecay { 3 } else { 2 };
                    let operands = (0..count).map(|_| v(&mut c)).collect();
                    TileOp::Trilinear(partial, c.flag(), operands, v(&mut c))
                }
            },
        };
        let _ = build.push(op, region);
    }
    let mut program = build.program().clone();
    let find = |shape: &[u32], per_head: bool| {
        let mut nodes = program.nodes.iter();
        let fits = nodes.position(|n| n.shape == shape && per_head == (n.region == Region::Heads));
        fits.map(|i| TileId(i as u32))
    };
    let stores = [
        find(&[C, 4], true).map(|tile| Effect::Store(PortId(4), tile)),
        find(&[], true).map(|tile| Effect::Accumulate(PortId(5), tile)),
        find(&[C, 4], false).map(|tile| Effect::Store(PortId(6), tile)),
    ];
    let carry = find(&[C, 4], true).map(|tile| Effect::Carry(CarryId(0), tile));
    program.effects = stores.into_iter().flatten().collect();
    match carry {
        Some(carry) => program.effects.push(carry),
        // The carry that nobody replaces goes, with all that reads it.
        None => {
            program.nodes.clear();
            program.effects.clear();
            program.carries.clear();
        }
    }
    program
}

fn choices() -> impl Strategy<Value = Choices> {
    proptest::collection::vec(any::<u32>(), 1500).prop_map(Choices)
}

impl std::fmt::Debug for Choices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} choices", self.0.len())
    }
}

fn show(source: &str, diagnostics: &[Diagnostic]) -> String {
    format!("{source}\n{}", text::render("random", source, diagnostics))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn level_2_text_is_the_program(choices in choices()) {
        let program = random_chunked(choices);
        prop_assert!(program.ops.len() > 10);
        let source = text::chunked::print(&program);
        let (parsed, spans) = text::chunked::parse(&source)
            .unwrap_or_else(|errors| panic!("{}", show(&source, &errors)));
        prop_assert_eq!(bits2(&parsed), bits2(&program));
        prop_assert_eq!(&parsed, &program);
        verify::chunked::verify(parsed, &spans)
            .unwrap_or_else(|errors| panic!("{}", show(&source, &errors)));
        for (i, span) in spans.ops.iter().enumerate() {
            let text = &source[span.start as usize..span.end as usize];
            let begin = format!("%{i}: ");
            prop_assert!(text.starts_with(&begin) && !text.contains('\n'));
        }
    }

    #[test]
    fn level_3_text_is_the_program(choices in choices()) {
        let program = random_tile(choices);
        prop_assume!(program.nodes.len() > 10);
        let source = text::tile::print(&program);
        let (parsed, spans) = text::tile::parse(&source)
            .unwrap_or_else(|errors| panic!("{}", show(&source, &errors)));
        prop_assert_eq!(format!("{parsed:?}"), format!("{program:?}"));
        prop_assert_eq!(&parsed, &program);
        verify::tile::verify(parsed, &spans)
            .unwrap_or_else(|errors| panic!("{}", show(&source, &errors)));
    }

    #[test]
    fn no_text_makes_a_parser_panic(
        choices in choices(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,3}"), 1..4),
        level in 2..4,
    ) {
        let mut source = match level {
            2 => text::chunked::print(&random_chunked(choices)),
            _ => text::tile::print(&random_tile(choices)),
        };
        for (at, put) in cuts {
            let at = at.index(source.len());
            let end = (at + put.len()).min(source.len());
            source.replace_range(at..end, &put);
        }
        if let Ok((program, spans)) = text::chunked::parse(&source) {
            let _ = text::chunked::print(&program);
            let _ = verify::chunked::verify(program, &spans);
        }
        if let Ok((program, spans)) = text::tile::parse(&source) {
            let _ = text::tile::print(&program);
            let _ = verify::tile::verify(program, &spans);
        }
    }
}

/// Zero and minus zero are equal as numbers, but not as bits.
fn bits2(program: &chunked::Draft) -> Vec<u64> {
    let number = |op: &Op| match op {
        Op::Number(number) => Some(number.to_bits()),
        _ => None,
    };
    program.ops.iter().filter_map(number).collect()
}

#[test]
fn a_map_reads_as_a_formula() {
    let source = "\
tile f forward 8 {
    port q: [4] step = input 0
    port y: [] task = d_param 0

  before
    %0: [8, 4] = load q repeat
    %1: [8] = map [8, 4] a = %0 both { x2 = exp(-(a)), x2 * (x2 - -0.5) / min(x2, 1e-6) } sum second
    %2: [8, 8] = matmul %0, %0' lower result
    %3: [8, 8] = map [8, 8] a = %2 both, b = %1 first { causal_strict(a * b) * valid(-(2)) }
    %4: [8, 4] = matmul %3', %0 + %0 lower first
    %5: [] = map [8, 4] a = %4 both { select(a, 0, a, -a) } sum all

  effects
    accumulate y = %5
}
";
    let (program, spans) = text::tile::parse(source).unwrap();
    let program = verify::tile::verify(program, &spans).unwrap();
    let printed = text::tile::print(&program);
    assert_eq!(printed, source.replace("x2 = exp(-(a))", "x2 = exp(-a)"));
}

fn codes(source: &str, diagnostics: &[Diagnostic]) -> Vec<(String, String)> {
    let mut found: Vec<_> = diagnostics
        .iter()
        .map(|d| {
            let text = &source[d.span.start as usize..d.span.end as usize];
            (d.code.to_string(), text.to_string())
        })
        .collect();
    found.sort();
    found
}

fn expect(found: Vec<(String, String)>, expected: &[(&str, &str)]) {
    let found: Vec<_> = found
        .iter()
        .map(|(c, t)| (c.as_str(), t.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_error_of_a_level_2_text() {
    let source = "\
chunked f forward {
    dims { K }
    inputs { q: [K], w: [V], g: [] }
    states { S: [K] }
    outputs { o: [K] }

    %0: [h, t, K] = input r
    %1: [h, t, K] = frob %0
    %5: [h, t] = input g
    %3: [h, t] = exp
    %4: [h, t, x] = input q
    output p = %1
}
";
    let errors = text::chunked::parse(source).unwrap_err();
    expect(
        codes(source, &errors),
        &[
            ("R003", "%"),
            ("R003", "%5"),
            ("R012", "V"),
            ("R012", "frob"),
            ("R012", "p"),
            ("R012", "r"),
            ("R012", "x"),
        ],
    );
}

#[test]
fn every_breach_of_a_level_2_program() {
    let source = "\
chunked f forward {
    dims { K }
    inputs { q: [K], g: [], q: [] }
    states { S: [K, K] }
    outputs { o: [K], y: [] }

    %0: [h, t, K] = input q
    %1: [h, t] = valid %7
    %2: [h, K] = input q
    %3: [h, t, K] = d_output o
    %4: [h, K, K'] = state S
    %5: [h, t, K, K'] = mul %0, %4
    %6: [h, s, K] = relabel %0, t, h
    %7: [h, t, s] = decay between %0

    output o = %4
    output y = %99
    d_input g = %7
    state S = %4
    state S = %4
}
";
    let (program, spans) = text::chunked::parse(source).unwrap();
    let errors = verify::chunked::verify(program, &spans).unwrap_err();
    expect(
        codes(source, &errors),
        &[
            ("C001", "q"),
            ("C002", "%1: [h, t] = valid %7"),
            ("C002", "%5: [h, t, K, K'] = mul %0, %4"),
            ("C002", "%6: [h, s, K] = relabel %0, t, h"),
            ("C002", "%7: [h, t, s] = decay between %0"),
            ("C003", "%2: [h, K] = input q"),
            ("C004", "output y = %99"),
            ("C005", "d_input g = %7"),
            ("C005", "output o = %4"),
            ("C006", "%3: [h, t, K] = d_output o"),
            ("C006", "d_input g = %7"),
            ("C007", "state S = %4"),
        ],
    );
    let mut program = random_chunked(Choices(vec![]));
    program.ops[0] = Op::Number(f64::NAN);
    program.axes[0] = vec![];
    let errors = verify::chunked::verify(program, &Default::default()).unwrap_err();
    assert!(errors.iter().any(|d| d.code == "C008"));
}

#[test]
fn every_breach_of_a_level_3_program() {
    let source = "\
tile f forward 8 {
    port q: [4] step per head = input 0
    port q: [] step = input 1
    port y: [4] step per head = output 0
    port d: [] task = d_param 0
    port z: [8, 0] chunk = entering 0
    carry S: [4] = state 0
    carry R: [4] = state 1

  before
    %0: [8, 4] = load q zero
    %1: [] = load d zero
  heads
    %2: [8, 4] = load q zero
    %3: [8, 8] = matmul %2, %9'
    %4: [8] = map [8, 4] a = %2 first { a }
    %5: [8, 4] = map [8, 4] a = %2 both { a } sum first
    %6: [8, 4] = matmul %2, %3 lower first
  after
    %7: [8, 4] = map [8, 4] a = %2 both { a }
    %8: [8, 4] = head_sum %2
  heads
    %9: [4] = carry S
    %10: [8] = matmul %2, %9'

  effects
    store y = %8
    store q = %2
    accumulate y = %2
    carry S = %9
    carry S = %2
    accumulate d = %77
}
";
    let (program, spans) = text::tile::parse(source).unwrap();
    let errors = verify::tile::verify(program, &spans).unwrap_err();
    expect(
        codes(source, &errors),
        &[
            ("T001", "port q: [] step = input 1"),
            ("T002", "%10: [8] = matmul %2, %9'"),
            ("T002", "%3: [8, 8] = matmul %2, %9'"),
            ("T002", "%4: [8] = map [8, 4] a = %2 first { a }"),
            ("T002", "%6: [8, 4] = matmul %2, %3 lower first"),
            (
                "T003",
                "%5: [8, 4] = map [8, 4] a = %2 both { a } sum first",
            ),
            ("T004", "%0: [8, 4] = load q zero"),
            ("T004", "%10: [8] = matmul %2, %9'"),
            ("T004", "%7: [8, 4] = map [8, 4] a = %2 both { a }"),
            ("T004", "%9: [4] = carry S"),
            ("T005", "accumulate d = %77"),
            ("T006", "accumulate y = %2"),
            ("T006", "carry S = %2"),
            ("T006", "store q = %2"),
            ("T006", "store y = %8"),
            ("T007", "carry R: [4] = state 1"),
            ("T007", "carry S: [4] = state 0"),
            ("T007", "port y: [4] step per head = output 0"),
            ("T008", "port z: [8, 0] chunk = entering 0"),
            ("T009", "%1: [] = load d zero"),
        ],
    );
}
