//! Derivatives of compositions of the pointwise functions, over the whole range of f32.
//!
//! From the lists of functions: every function of every function, by each operand, at numbers of
//! every size and sign, at the borders where functions leave the range, and at infinity. Wherever
//! the composition has a value its derivative is not NaN; it is finite where the true one is; it
//! is right where all that it is made of is in range; and what arrives as zero leaves as zero,
//! whatever overflowed. A NaN stays NaN.
//!
//! "Right" is what no rounding can be blamed for: the derivative lies between those at numbers
//! that the arithmetic could not tell from the operand or from its value.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{forward, gradient};
use baton_ir::pointwise::{binary, chain, slope, slopes, unary};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::text;
use baton_runtime::device::cpu::Cpu;
#[cfg(feature = "mlir")]
use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
use baton_runtime::{Call, Device, Options, Tensor};
use baton_tests::{Case, Decay, Extents, relative_error};

/// A function of one number; binary ones by either operand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Unary(UnaryFn),
    First(BinaryFn),
    Second(BinaryFn),
}

impl Function {
    fn all() -> Vec<Function> {
        let unary = UnaryFn::ALL.iter().map(|&f| Function::Unary(f));
        let binary = BinaryFn::ALL
            .iter()
            .map(|&f| [Function::First(f), Function::Second(f)]);
        unary.chain(binary.flatten()).collect()
    }

    fn text(self, x: &str, c: &str) -> String {
        let (f, a, b) = match self {
            Function::Unary(f) => return format!("{}({x})", f.name()),
            Function::First(f) => (f, x, c),
            Function::Second(f) => (f, c, x),
        };
        match f.name().chars().all(char::is_alphabetic) {
            true => format!("{}({a}, {b})", f.name()),
            false => format!("(({a}) {} ({b}))", f.name()),
        }
    }

    fn value(self, x: f64, c: f64) -> f64 {
        match self {
            Function::Unary(f) => unary(f, x),
            Function::First(f) => binary(f, x, c),
            Function::Second(f) => binary(f, c, x),
        }
    }

    fn slope(self, x: f64, c: f64) -> f64 {
        match self {
            Function::Unary(f) => slope(f, x, unary(f, x)),
            Function::First(f) => slopes(f, x, c)[0],
            Function::Second(f) => slopes(f, c, x)[1],
        }
    }

    /// The least and the largest slope at numbers within `ulps` units of `x`, or whose values are
    /// that close.
    fn slopes_near(self, x: f64, c: f64, ulps: f64) -> [f64; 2] {
        let unit = 2f64.powi(-23) * ulps;
        let value = self.value(x, c);
        let mut range = [self.slope(x, c); 2];
        let turns = matches!(self, Function::Unary(UnaryFn::Sin | UnaryFn::Cos));
        if turns && x.abs() * unit > 1e-3 {
            return [-1.0, 1.0];
        }
        for power in -24..40 {
            for sign in [1.0, -1.0] {
                let step = 2f64.powi(power);
                let near = match power < 1 {
                    true => x * (1.0 + sign * step),
                    false => x * step.powf(sign),
                };
                let same = (self.value(near, c) - value).abs() <= unit * value.abs();
                if same || step <= unit {
                    let slope = self.slope(near, c);
                    range = [range[0].min(slope), range[1].max(slope)];
                }
            }
        }
        range
    }
}

/// The other operands of the inner and the outer function.
const OTHERS: [[f64; 2]; 7] = [
    [1.0, 1.0],
    [0.7, -2.5],
    [-2.5, 0.7],
    [1e-20, 3e20],
    [3e20, 1e-20],
    [0.0, 1.0],
    [1.0, 0.0],
];

/// Both signs of every size, the borders, the infinities, and one NaN.
fn points() -> Vec<f64> {
    let sizes = (-90..78).map(|half| 10f64.powf(f64::from(half) / 2.0));
    let borders = [
        0.0,
        1.0,
        16.6,
        17.4,
        43.0,
        87.3,
        87.4,
        88.0,
        88.7,
        88.73,
        89.0,
        103.9,
        104.1,
        150.0,
        709.7,
        745.2,
        1e-45,
        1.2e-38,
        5.9e-39,
        2.9e-39,
        3.4028235e38,
        f64::INFINITY,
    ];
    let signed = sizes.chain(borders).flat_map(|x| [x, -x]);
    signed
        .chain([f64::NAN])
        .map(|x| f64::from(x as f32))
        .collect()
}

/// Pairs of outer and inner functions as one recurrence: an input and an output for each, over
/// [`points`] and [`OTHERS`].
struct Pairs {
    pairs: Vec<[Function; 2]>,
    text: String,
}

const WIDTH: usize = 16;

impl Pairs {
    fn new(pairs: Vec<[Function; 2]>) -> Pairs {
        let inputs: String = (0..pairs.len()).map(|i| format!(", x{i}: [K]")).collect();
        let outputs: String = pairs
            .iter()
            .enumerate()
            .map(|(i, [outer, inner])| {
                let inner = inner.text(&format!("x{i}"), "b");
                format!(
                    "output y{i}: [K] = {} + 0 * (b + c);\n",
                    outer.text(&inner, "c")
                )
            })
            .collect();
        let text = format!(
            "recurrence pairs {{ dims {{ K, V }}
            inputs {{ k: [K], v: [V], b: [K], c: [K]{inputs} }}
            state {{ S: [K, V] }}
            S = 0.5 * S + outer(k, v);
            output o: [V] = dot(k, S);
            {outputs} }}"
        );
        Pairs { pairs, text }
    }

    /// The numbers that stand at each place: point, inner and outer operand.
    fn places() -> Vec<[f64; 3]> {
        let places = OTHERS
            .iter()
            .map(|others| others.map(|x| f64::from(x as f32)))
            .flat_map(|[b, c]| points().into_iter().map(move |x| [x, b, c]));
        let mut places: Vec<_> = places.collect();
        places.resize(places.len().next_multiple_of(WIDTH), [1.0; 3]);
        places
    }

    /// The inputs, each over all places.
    fn inputs(&self) -> Vec<Vec<f64>> {
        let places = Pairs::places();
        let column = |i: usize| places.iter().map(|place| place[i]).collect::<Vec<_>>();
        let zeros = vec![0.0; places.len()];
        let mut all = vec![zeros.clone(), zeros, column(1), column(2)];
        all.extend(self.pairs.iter().map(|_| column(0)));
        all
    }

    /// What is wrong with the values and derivatives that were computed for outer and inner
    /// functions, when `arriving` arrives everywhere.
    fn faults(&self, computed: &[(Vec<f64>, Vec<f64>)], arriving: f64, ulps: f64) -> Vec<String> {
        let mut faults = vec![];
        for ([outer, inner], (values, slopes)) in self.pairs.iter().zip(computed) {
            let all = Pairs::places().into_iter().zip(values).zip(slopes);
            for (([x, b, c], &value), &slope) in all {
                let why = match fault([*outer, *inner], [x, b, c], value, slope, arriving, ulps) {
                    Some(why) => why,
                    None => continue,
                };
                let text = outer.text(&inner.text("x", "b"), "c");
                faults.push(format!(
                    "{text} at x = {x:e}, b = {b:e}, c = {c:e}: value {value:e}, derivative {slope:e}: {why}"
                ));
            }
        }
        faults
    }
}

/// Normal numbers of f32, and zero.
fn regular(x: f64) -> bool {
    x == 0.0 || (1.2e-38..=3.4e38).contains(&x.abs())
}

fn fault(
    [outer, inner]: [Function; 2],
    [x, b, c]: [f64; 3],
    value: f64,
    derivative: f64,
    arriving: f64,
    ulps: f64,
) -> Option<String> {
    let y = inner.value(x, b);
    let truth = outer.value(y, c);
    let factors = [outer.slope(y, c), inner.slope(x, b)];
    let exact = chain(factors[0], factors[1]);
    if truth.is_nan() {
        let lost = !value.is_nan() || (exact.is_nan() && !derivative.is_nan() && arriving != 0.0);
        return (x.is_nan() && lost).then(|| "a NaN is lost".into());
    }
    let in_range = regular(y) && regular(truth) && regular(x);
    if value.is_nan() {
        return in_range.then(|| "the value is NaN".into());
    }
    if derivative.is_nan() {
        return Some("NaN".into());
    }
    if arriving == 0.0 {
        return (derivative != 0.0).then(|| "zero arrives".into());
    }
    if exact.abs() <= 3.4e38 && derivative.is_infinite() {
        return Some(format!("expected {exact:e}, finite"));
    }
    let slack = ulps * 2f64.powi(-23);
    if (derivative - exact).abs() <= slack * exact.abs() {
        return None;
    }
    if in_range && factors.into_iter().chain([exact]).all(regular) {
        let outers = [-1.0, 0.0, 1.0]
            .map(|off| outer.slopes_near(y * (1.0 + off * ulps * 2f64.powi(-23)), c, ulps));
        let low = outers
            .iter()
            .map(|range| range[0])
            .fold(f64::INFINITY, f64::min);
        let high = outers
            .iter()
            .map(|range| range[1])
            .fold(f64::NEG_INFINITY, f64::max);
        let inners = inner.slopes_near(x, b, ulps);
        let corners = [low, high]
            .into_iter()
            .flat_map(|o| inners.map(|i| chain(o, i)));
        let corners: Vec<f64> = corners.collect();
        let low = corners.iter().copied().fold(f64::INFINITY, f64::min);
        let high = corners.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let within = low - slack * low.abs() - 1.2e-38 <= derivative
            && derivative <= high + slack * high.abs() + 1.2e-38;
        return (!within).then(|| format!("expected {exact:e}, within {low:e} and {high:e}"));
    }
    None
}

/// Values and derivatives by the step interpreter.
fn interpreted(pairs: &Pairs, arriving: f64) -> Vec<(Vec<f64>, Vec<f64>)> {
    let recurrence = text::parse(&pairs.text).expect("it is well-formed");
    let mut inputs = pairs.inputs();
    let places = inputs[0].len();
    inputs[1].truncate(places / WIDTH);
    let problem = Problem {
        recurrence: &recurrence,
        sizes: vec![WIDTH, 1],
        batch: 1,
        time: places / WIDTH,
        heads: 1,
        groups: 1,
        cu_seqlens: None,
        inputs: inputs.iter().map(Vec::as_slice).collect(),
        params: vec![],
        states: vec![None],
    };
    let arriving = vec![arriving; places];
    let mut d_outputs = vec![Some(arriving.as_slice()); recurrence.outputs.len()];
    d_outputs[0] = None;
    let outcome = forward(&problem).expect("it runs");
    let gradient = gradient(&problem, &d_outputs, &[None]).expect("it runs");
    let outputs = outcome.outputs.into_iter().skip(1);
    outputs.zip(gradient.inputs.into_iter().skip(4)).collect()
}

/// Values and derivatives by a device.
fn executed(pairs: &Pairs, device: &dyn Device, arriving: f64) -> Vec<(Vec<f64>, Vec<f64>)> {
    let recurrence = text::parse(&pairs.text).expect("it is well-formed");
    let tensor = |values: &[f64]| Tensor {
        shape: vec![1, values.len() / WIDTH, 1, WIDTH],
        data: values.iter().map(|&x| x as f32).collect(),
    };
    let inputs: Vec<Tensor> = pairs.inputs().iter().map(|values| tensor(values)).collect();
    let sizes = [WIDTH; 2];
    let kernel = device
        .load(&recurrence, &sizes, &Options::default())
        .expect("it loads");
    let call = Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: vec![],
        states: vec![None],
        cu_seqlens: None,
    };
    let arriving = tensor(&vec![arriving; inputs[0].data.len()]);
    let mut d_outputs = vec![Some(arriving.view()); recurrence.outputs.len()];
    d_outputs[0] = None;
    let forward = kernel.forward(&call, true).expect("it runs");
    let gradients = kernel
        .backward(&call, forward.saved.as_ref(), &d_outputs, &[None])
        .expect("it runs");
    let wide = |tensor: Tensor| tensor.data.into_iter().map(f64::from).collect::<Vec<_>>();
    let outputs = forward.outputs.into_iter().skip(1).map(wide);
    outputs
        .zip(gradients.inputs.into_iter().skip(4).map(wide))
        .collect()
}

/// The pairs with one outer function.
fn under(outer: Function) -> Pairs {
    Pairs::new(
        Function::all()
            .into_iter()
            .map(|inner| [outer, inner])
            .collect(),
    )
}

fn assert_none(faults: Vec<String>) {
    let count = faults.len();
    let first: Vec<_> = faults
        .into_iter()
        .step_by(count.div_ceil(40).max(1))
        .collect();
    assert!(
        first.is_empty(),
        "{count} faults, among them\n{}",
        first.join("\n")
    );
}

#[test]
fn every_pair_by_the_interpreter() {
    let mut faults = vec![];
    for outer in Function::all() {
        let pairs = under(outer);
        for arriving in [1.0, 0.0] {
            faults.extend(pairs.faults(&interpreted(&pairs, arriving), arriving, 1e-3));
        }
    }
    assert_none(faults);
}

#[test]
fn every_pair_on_the_cpu() {
    let cpu = Cpu::new(Some(1)).expect("a CPU");
    let mut faults = vec![];
    for outer in Function::all() {
        let pairs = under(outer);
        for arriving in [1.0, 0.0] {
            faults.extend(pairs.faults(&executed(&pairs, &cpu, arriving), arriving, 16.0));
        }
    }
    assert_none(faults);
}

/// The slope of every function of one number has its digits also where the function saturates, whose value the
/// other bounds take for the same as its neighbours': within 16 units of slopes at numbers that f32 cannot tell apart.
/// Products that a power is made of leave the range long before what is made of them has a slope.
#[test]
fn powers_that_overflow_have_slopes() {
    let bodies = [
        "pow(x0, -8)",
        "sigmoid(pow(x1, 8))",
        "exp(-pow(x2, 4))",
        "tanh(pow(x3, 3))",
    ];
    let outputs = bodies.iter().enumerate();
    let outputs = outputs.map(|(i, body)| format!("output y{i}: [K] = {body} + 0 * (b + c);"));
    let outputs: String = outputs.collect();
    let pairs = Pairs {
        pairs: vec![[Function::Unary(UnaryFn::Exp); 2]; bodies.len()],
        text: format!(
            "recurrence powers {{ dims {{ K, V }}
            inputs {{ k: [K], v: [V], b: [K], c: [K], x0: [K], x1: [K], x2: [K], x3: [K] }}
            state {{ S: [K, V] }}
            S = 0.5 * S + outer(k, v);
            output o: [V] = dot(k, S);
            {outputs} }}"
        ),
    };
    let cpu = Cpu::new(Some(1)).expect("a CPU");
    for (body, (_, slopes)) in bodies.iter().zip(executed(&pairs, &cpu, 1.0)) {
        for ([x, ..], slope) in Pairs::places().into_iter().zip(slopes) {
            let flat = (1e4..1e18).contains(&x);
            assert!(!flat || slope.abs() < 1e-30, "{body} at {x:e}: {slope:e}");
        }
    }
}

#[test]
fn slopes_keep_their_digits() {
    let functions: Vec<Function> = UnaryFn::ALL.iter().map(|&f| Function::Unary(f)).collect();
    let identity = Function::First(BinaryFn::Mul);
    let pairs = Pairs::new(functions.iter().map(|&f| [identity, f]).collect());
    let cpu = Cpu::new(Some(1)).expect("a CPU");
    let unit = 2f64.powi(-23);
    let mut faults = vec![];
    for (function, (_, slopes)) in functions.iter().zip(executed(&pairs, &cpu, 1.0)) {
        for ([x, _, c], found) in Pairs::places().into_iter().zip(slopes) {
            let near = [1.0 - unit, 1.0, 1.0 + unit].map(|off| function.slope(x * off, c));
            let known = [x, function.value(x, c), near[1]].into_iter().all(regular);
            let spread = (near[0] - near[1]).abs() + (near[2] - near[1]).abs();
            let within = 16.0 * (unit * near[1].abs() + spread);
            if c == 1.0 && known && near[1] != 0.0 && (found - near[1]).abs() > within {
                faults.push(format!(
                    "{function:?} at {x:e}: {found:e}, not {:e}",
                    near[1]
                ));
            }
        }
    }
    assert_none(faults);
}

/// Every function of the one after it in the list, a few in each kernel.
#[cfg(feature = "mlir")]
#[test]
fn every_function_on_the_emulator() {
    let target = Gpu::sm_80(Storage::F32);
    let device = Emulator::new(target);
    let all = Function::all();
    let next = all.iter().cycle().skip(1);
    let pairs = all.iter().zip(next).map(|(&f, &g)| [f, g]);
    let mut faults = vec![];
    for pairs in pairs.collect::<Vec<_>>().chunks(6) {
        let pairs = Pairs::new(pairs.to_vec());
        for arriving in [1.0, 0.0] {
            faults.extend(pairs.faults(&executed(&pairs, &device, arriving), arriving, 512.0));
        }
    }
    assert_none(faults);
}

/// Values of every function of one number at every size. Of sines and cosines also where an angle has no digit of a turn, of
/// logarithms below f32's normal numbers.
#[cfg(feature = "mlir")]
#[test]
fn every_value_on_the_emulator() {
    let identity = Function::First(BinaryFn::Mul);
    let device = Emulator::new(Gpu::sm_80(Storage::F32));
    for functions in UnaryFn::ALL.chunks(4) {
        let pairs = functions.iter().map(|&f| [identity, Function::Unary(f)]);
        let pairs = Pairs::new(pairs.collect());
        for (&function, (values, _)) in functions.iter().zip(executed(&pairs, &device, 1.0)) {
            let places = Pairs::places().into_iter().zip(values);
            for ([x, ..], found) in places.filter(|([x, _, c], _)| *c == 1.0 && x.is_finite()) {
                let truth = unary(function, x);
                let off = (found - truth).abs();
                let within = match function {
                    UnaryFn::Sin | UnaryFn::Cos | UnaryFn::Wrap | UnaryFn::Log => {
                        4e-7 * truth.abs().max(1e-3)
                    }
                    _ => 5e-6 * truth.abs() + 1.2e-38,
                };
                let alike = found == f64::from(truth as f32) || found.is_nan() && truth.is_nan();
                assert!(
                    alike || off <= within,
                    "{function:?} of {x:e}: {found:e}, not {truth:e}"
                );
            }
        }
    }
}

/// Mamba-2 with decays whose logarithms overflow.
fn overflowing() -> Case {
    let extents = Extents {
        sizes: vec![16, 16],
        batch: 1,
        time: 40,
        heads: 8,
        groups: 1,
        cu_seqlens: None,
    };
    let mut case = Case::builtin("mamba2", extents, Decay::Weak, 5);
    case.params[0] = [88.0, 88.7, 88.73, 89.0, 100.0, 1e5, 3e38, -1.0]
        .map(|x| f64::from(x as f32))
        .to_vec();
    case
}

fn assert_right(device: &dyn Device) {
    let case = overflowing();
    let (outcome, truth) = case.truth();
    let tensor = |values: &Vec<f64>, shape: Vec<usize>| Tensor {
        shape,
        data: values.iter().map(|&x| x as f32).collect::<Vec<_>>(),
    };
    let r = &case.recurrence;
    let shape = |port: &baton_ir::recurrence::Port, outer: &[usize]| {
        let heads = if port.per_group { 1 } else { 8 };
        let dims = port.shape.iter().map(|_| 16);
        outer
            .iter()
            .copied()
            .chain([heads])
            .chain(dims)
            .collect::<Vec<_>>()
    };
    let all = |values: &[Vec<f64>], ports: &[baton_ir::recurrence::Port], outer: &[usize]| {
        let pairs = values.iter().zip(ports);
        pairs
            .map(|(v, port)| tensor(v, shape(port, outer)))
            .collect::<Vec<_>>()
    };
    let inputs = all(&case.inputs, &r.inputs, &[1, 40]);
    let params = all(&case.params, &r.params, &[]);
    let states = all(&case.states, &r.states, &[1]);
    let d_outputs = all(&case.d_outputs, &r.outputs, &[1, 40]);
    let d_states = all(&case.d_states, &r.states, &[1]);
    let call = Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: params.iter().map(Tensor::view).collect(),
        states: states.iter().map(|t| Some(t.view())).collect(),
        cu_seqlens: None,
    };
    let kernel = device
        .load(r, &case.extents.sizes, &Options::default())
        .expect("it loads");
    let forward = kernel.forward(&call, true).expect("it runs");
    let d_o: Vec<_> = d_outputs.iter().map(|t| Some(t.view())).collect();
    let d_s: Vec<_> = d_states.iter().map(|t| Some(t.view())).collect();
    let found = kernel
        .backward(&call, forward.saved.as_ref(), &d_o, &d_s)
        .expect("it runs");
    let same = |found: &[Tensor], truth: &[Vec<f64>], what: &str| {
        for (i, (found, truth)) in found.iter().zip(truth).enumerate() {
            let error = relative_error(&found.data, truth);
            assert!(error <= 1e-5, "{}: {what} {i}: {error:e}", device.name());
        }
    };
    same(&forward.outputs, &outcome.outputs, "output");
    same(&forward.states, &outcome.states, "state");
    same(&found.inputs, &truth.inputs, "gradient of input");
    same(&found.params, &truth.params, "gradient of param");
    same(&found.states, &truth.states, "gradient of state");
}

#[test]
fn a_log_decay_that_overflows_has_gradients() {
    assert_right(&Cpu::new(Some(1)).expect("a CPU"));
    #[cfg(feature = "mlir")]
    assert_right(&Emulator::new(Gpu::sm_80(Storage::F32)));
}

#[test]
fn a_wrong_derivative_is_found() {
    let pairs = Pairs::new(Function::all().into_iter().map(|f| [f, f]).collect());
    let right = interpreted(&pairs, 1.0);
    for pair in 0..pairs.pairs.len() {
        for plant in [|_: f64| f64::NAN, |x: f64| x * 1.0001, |x: f64| x / 0.0] {
            let mut wrong = right.clone();
            wrong[pair].1.iter_mut().for_each(|x| *x = plant(*x));
            assert!(
                !pairs.faults(&wrong, 1.0, 1e-3).is_empty(),
                "{:?}",
                pairs.pairs[pair]
            );
        }
        let mut wrong = right.clone();
        wrong[pair].1.iter_mut().for_each(|x| *x = 1e-9);
        assert!(
            !pairs.faults(&wrong, 0.0, 1e-3).is_empty(),
            "{:?}",
            pairs.pairs[pair]
        );
    }
}
