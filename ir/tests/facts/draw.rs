//! Random recurrences that are linear in their states by construction.

/// Numbers without a pattern.
pub struct Noise(pub u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.bits() >> 33) as usize) % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub fn vector(&mut self, len: usize) -> Vec<f64> {
        let mut next = || (self.bits() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        (0..len).map(|_| next()).collect()
    }
}

/// Expressions that are linear in the states, or hold none, drawn with their shapes.
pub struct Draw {
    noise: Noise,
    /// Statements so far.
    body: String,
    /// Names of `let`s, their shapes, whether states are in them.
    lets: Vec<(String, &'static str, bool)>,
    states: Vec<(&'static str, &'static str)>,
}

const SHAPES: [&str; 3] = ["", "K", "V"];

impl Draw {
    fn pure(&mut self, shape: &'static str, depth: usize) -> String {
        let known: Vec<String> = (self.lets.iter())
            .filter(|(_, of, stateful)| *of == shape && !stateful)
            .map(|(name, ..)| name.clone())
            .collect();
        if depth == 0 || self.noise.below(4) == 0 {
            if !known.is_empty() && self.noise.below(2) == 0 {
                return known[self.noise.below(known.len())].clone();
            }
            return self
                .noise
                .of(match shape {
                    "K" => &["q", "k", "p", "a"][..],
                    "V" => &["u", "v", "w"],
                    _ => &["g", "h", "0.5", "rsqrt(K)"],
                })
                .to_string();
        }
        let other = if self.noise.below(3) == 0 { "" } else { shape };
        match self.noise.below(8) {
            0 => format!(
                "({} + {})",
                self.pure(shape, depth - 1),
                self.pure(other, depth - 1)
            ),
            1 => format!(
                "({} - {})",
                self.pure(other, depth - 1),
                self.pure(shape, depth - 1)
            ),
            2 => format!(
                "{} * {}",
                self.pure(shape, depth - 1),
                self.pure(other, depth - 1)
            ),
            3 => format!("tanh({})", self.pure(shape, depth - 1)),
            4 => format!("sigmoid({})", self.pure(shape, depth - 1)),
            5 if shape.is_empty() => {
                let dim = self.noise.of(&["K", "V"]);
                format!(
                    "dot({}, {})",
                    self.pure(dim, depth - 1),
                    self.pure(dim, depth - 1)
                )
            }
            5 => format!("l2norm({})", self.pure(shape, depth - 1)),
            6 if shape.is_empty() => format!("sum({})", self.pure("K", depth - 1)),
            _ => format!("(-{})", self.pure(shape, depth - 1)),
        }
    }

    /// A provably positive scalar or vector below one.
    fn decay(&mut self, shape: &'static str) -> String {
        match self.noise.below(4) {
            0 if shape.is_empty() => "0.75".into(),
            1 => format!("exp(-sigmoid({}))", self.pure(shape, 1)),
            2 => format!("(1 - 0.5 * sigmoid({}))", self.pure(shape, 1)),
            _ => format!("sigmoid({})", self.pure(shape, 2)),
        }
    }

    /// A scalar or vector that is affine in the states.
    fn linear(&mut self, shape: &'static str, depth: usize) -> String {
        let mut leaves: Vec<String> = (self.states.iter())
            .filter(|(_, of)| *of == shape)
            .map(|(name, _)| name.to_string())
            .collect();
        let lets = self.lets.iter();
        leaves.extend(
            lets.filter(|(_, of, s)| *of == shape && *s)
                .map(|(n, ..)| n.clone()),
        );
        let matrices: Vec<(&str, &str)> = (self.states.iter().copied())
            .filter(|(_, of)| of.len() == 2)
            .collect();
        if !leaves.is_empty() && (depth == 0 || self.noise.below(4) == 0) {
            return leaves[self.noise.below(leaves.len())].clone();
        }
        let d = depth.saturating_sub(1);
        match (depth > 0).then(|| self.noise.below(7)) {
            Some(0) => format!("({} + {})", self.linear(shape, d), self.linear(shape, d)),
            Some(1) => format!("({} - {})", self.pure(shape, d), self.linear(shape, d)),
            Some(2) => format!("{} * {}", self.pure("", d), self.linear(shape, d)),
            Some(3) => format!("({} + {})", self.linear(shape, d), self.pure("", d)),
            Some(4) if !shape.is_empty() => {
                format!("{} * {}", self.pure(shape, d), self.linear(shape, d))
            }
            Some(4) => {
                let dim = self.noise.of(&["K", "V"]);
                format!("dot({}, {})", self.pure(dim, d), self.linear(dim, d))
            }
            Some(5) if shape.is_empty() => format!("sum({})", self.linear("K", d)),
            _ if shape.is_empty() => {
                let dim = self.noise.of(&["K", "V"]);
                format!("dot({}, {})", self.linear(dim, d), self.pure(dim, d))
            }
            _ => {
                let fits = matrices.iter().filter(|(_, of)| of.contains(shape));
                let fits: Vec<_> = fits.copied().collect();
                let (name, of) = self.noise.of(&fits);
                let rest = match (&of[..1] == shape, of) {
                    (_, "KK") => "K",
                    (true, "KV") | (false, "VK") => "V",
                    _ => "K",
                };
                let weight = self.pure(rest, d);
                // The vector meets the dim that `shape` is not; of equal dims either.
                match self.noise.below(2) {
                    0 => format!("dot({weight}, {name})"),
                    _ => format!("dot({name}, {weight})"),
                }
            }
        }
    }

    fn matrix_term(&mut self, of: &'static str) -> String {
        let (rows, cols) = match of {
            "KV" => ("K", "V"),
            "VK" => ("V", "K"),
            _ => ("K", "K"),
        };
        let d = 2;
        let term = match self.noise.below(5) {
            0 => format!("outer({}, {})", self.pure(rows, d), self.pure(cols, d)),
            1 => format!("outer({}, {})", self.linear(rows, d), self.pure(cols, d)),
            2 => format!(
                "{} * outer({}, {})",
                self.linear("", d),
                self.pure(rows, d),
                self.pure(cols, d)
            ),
            _ => format!("outer({}, {})", self.pure(rows, d), self.linear(cols, d)),
        };
        match self.noise.below(5) {
            0 => format!("rows({}) * ({term})", self.pure(rows, 1)),
            1 => format!("cols({}) * ({term})", self.pure(cols, 1)),
            _ => term,
        }
    }

    fn update(&mut self) -> String {
        let (name, of) = self.noise.of(&self.states.clone());
        let old = match (of, self.noise.below(4)) {
            (_, 0) => format!("{} * {name}", self.decay("")),
            ("KV" | "KK", 1) => format!("rows({}) * {name}", self.decay("K")),
            ("VK", 1) => format!("rows({}) * {name}", self.decay("V")),
            ("VK" | "KK", 2) => format!("cols({}) * {name}", self.decay("K")),
            ("KV", 2) => format!("cols({}) * {name}", self.decay("V")),
            ("K" | "V", 1) => format!("{} * {name}", self.decay(of)),
            (_, 3) => format!("0.5 * {name} + 0.25 * {name}"),
            _ => name.to_string(),
        };
        let mut update = format!("{name} = {old}");
        let states = self.states.clone();
        if of.len() < 2 {
            // What takes itself away has no certain decay.
            self.states.retain(|&(other, _)| other != name);
        }
        for _ in 0..self.noise.below(3) {
            let sign = self.noise.of(&["+", "-"]);
            let term = match of.len() {
                2 => self.matrix_term(of),
                _ => format!("({})", self.linear(of, 2)),
            };
            update += &format!(" {sign} {term}");
        }
        self.states = states;
        update + ";\n"
    }

    /// A whole text.
    pub fn recurrence(seed: u64) -> String {
        let mut noise = Noise(seed);
        noise.bits();
        let mut states = vec![("S", noise.of(&["KV", "KK", "VK"]))];
        for (name, shapes) in [
            ("R", &["KV", "VK"][..]),
            ("n", &["K"]),
            ("m", &["V"]),
            ("c", &[""]),
        ] {
            if noise.below(2) == 0 {
                states.push((name, noise.of(shapes)));
            }
        }
        if !states
            .iter()
            .any(|(_, of)| of.len() == 2 && of.contains('V'))
        {
            states.push(("Q", "KV"));
        }
        let mut draw = Draw {
            noise,
            body: String::new(),
            lets: vec![],
            states,
        };
        for names in 0..3 + draw.noise.below(7) {
            match draw.noise.below(6) {
                0 | 1 => {
                    let shape = draw.noise.of(&SHAPES);
                    let stateful = draw.noise.below(2) == 0;
                    let value = match stateful {
                        true => draw.linear(shape, 2),
                        false => draw.pure(shape, 2),
                    };
                    let name = format!("x{names}");
                    draw.body += &format!("let {name} = {value};\n");
                    draw.lets.push((name, shape, stateful));
                }
                2 => {
                    let shape = draw.noise.of(&SHAPES);
                    let value = draw.linear(shape, 3);
                    let value = match draw.noise.below(3) {
                        0 => format!("tanh({value}) * {}", draw.linear(shape, 1)),
                        1 => format!("({value}) / (2 + sigmoid({}))", draw.linear(shape, 1)),
                        _ => value,
                    };
                    draw.body += &format!("output y{names}: [{shape}] = {value};\n");
                }
                _ => {
                    let update = draw.update();
                    draw.body += &update;
                }
            }
        }
        // Everything is read, every state updated, with a decay of its own.
        let mut all = "sum(q) + sum(k) + sum(p) + sum(a) + sum(u) + sum(v) + sum(w) + g + h".into();
        for (name, shape, _) in &draw.lets {
            all = match shape.is_empty() {
                true => format!("{all} + {name}"),
                false => format!("{all} + sum({name})"),
            };
        }
        let mut declared = vec![];
        for &(name, of) in &draw.states.clone() {
            let dims: Vec<String> = of.chars().map(String::from).collect();
            declared.push(format!("{name}: [{}]", dims.join(", ")));
            draw.body += &format!("{name} = 0.875 * {name};\n");
            all = match of.len() {
                0 => format!("{all} + {name}"),
                1 => format!("{all} + sum({name})"),
                _ if of.starts_with('V') => format!("{all} + sum(dot(u, {name}))"),
                _ => format!("{all} + sum(dot(k, {name}))"),
            };
        }
        format!(
            "recurrence r {{ dims {{ K, V }}
            inputs {{ q: [K], k: [K] per group, p: [K], u: [V], v: [V], w: [V], g: [], h: [] per group }}
            params {{ a: [K] }}
            state {{ {} }}
            {}output all: [] = {all};
            }}",
            declared.join(", "),
            draw.body
        )
    }
}
