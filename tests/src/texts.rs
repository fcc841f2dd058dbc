//! Recurrences of the tests: what the built-in ones leave untested, with a chunked form and without.

/// The recurrences that the built-in ones leave untested: several states, a decay for each
/// column, readouts of the entering state, equal dims, dims against their order, every pointwise function, selections; states
/// read in their own update on either side and between updates, with decays of every kind around it; states
/// above others, overwritten ones, and running extremes.
pub const EXTRAS: &[&str] = &[
    "recurrence normalised {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], f: [], i: [] }
        state { S: [K, V], n: [K], m: [] }
        let a = sigmoid(f);
        S = a * S + outer(k, exp(i) * v);
        n = a * n + exp(i) * k;
        m = (1 - sigmoid(f)) * m + tanh(i);
        output o: [V] = dot(q, S) / (max(abs(dot(q, n)), 1) + softplus(m));
    }",
    "recurrence columns {
        dims { K, V }
        inputs { q: [K], k: [K] per group, v: [V], g: [V], h: [K] }
        state { S: [K, V] }
        output before: [V] = silu(dot(q, S)) * v;
        S = cols(exp(g)) * S;
        output middle: [K] = dot(S, v);
        S = 0.5 * rows(sigmoid(h)) * S + outer(relu(k), min(v, sqrt(softplus(v))));
        output after: [K] = dot(S, v) - q;
    }",
    "recurrence turned {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [K] }
        state { S: [V, K] }
        S = cols(exp(g)) * S + outer(v, k);
        output o: [V] = dot(S, q);
    }",
    "recurrence square {
        dims { K }
        inputs { q: [K], k: [K], g: [] }
        params { w: [K] }
        state { S: [K, K], n: [K] }
        S = exp(-softplus(g)) * S + outer(k, l2norm(w * k)) * rsqrt(K);
        n = exp(g * 0.1 - 0.2 * softplus(w)) * n + k;
        output o: [K] = dot(q, S) + dot(S, q) + n * sum(n);
    }",
    "recurrence delta {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], beta: [] }
        state { S: [K, V] }
        let unit = l2norm(k);
        S = S + outer(unit, sigmoid(beta) * (v - dot(unit, S)));
        output o: [V] = dot(q, S) * rsqrt(K);
    }",
    "recurrence gated_product {
        dims { K, V }
        inputs { q: [K], k: [K] per group, l: [K], v: [V], w: [V], g: [K], a: [] }
        state { S: [K, V] }
        S = rows(sigmoid(g)) * S;
        output before: [V] = dot(q, S);
        S = S + outer(l2norm(k), 1.8 * sigmoid(a) * (v - dot(l2norm(k), S)));
        S = sigmoid(a) * S - outer(l2norm(l), w + dot(l2norm(l), S));
        output o: [V] = dot(q, S);
    }",
    "recurrence low_rank {
        dims { K, V }
        inputs { r: [K], k: [K], v: [V], w: [K], kappa: [K], a: [K] }
        params { u: [K] }
        state { S: [V, K] }
        let unit = l2norm(kappa);
        S = cols(exp(-0.6 * sigmoid(w))) * S - outer(dot(S, unit), unit * sigmoid(a)) + outer(v, k);
        output o: [V] = dot(S, r) + sum(r * u * k) * v;
    }",
    "recurrence turned_square {
        dims { K }
        inputs { q: [K], k: [K], v: [K] }
        state { S: [K, K] }
        S = 0.9 * S - outer(0.2 * dot(S, l2norm(k)), l2norm(k)) + outer(v, k);
        output o: [K] = dot(S, q) + dot(q, S);
    }",
    "recurrence coupled {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], a: [] }
        params { u: [K] }
        state { S: [V, K], R: [K, V] }
        S = sigmoid(a) * S + outer(v, k);
        R = 0.9 * R + outer(l2norm(k), v - dot(S, l2norm(k)));
        output o: [V] = dot(q, R) + dot(S, u * k);
    }",
    "recurrence shifted {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [] }
        state { S: [K, V], last: [V], before: [] }
        S = sigmoid(g) * S + outer(k, v - before * last);
        last = v;
        before = tanh(g);
        output o: [V] = dot(q, S);
    }",
    "recurrence cascade {
        dims { K, V }
        inputs { q: [K], k: [K] per group, v: [V], a: [] }
        params { u: [K] }
        state { n: [K], c: [], S: [K, V] }
        n = sigmoid(a) * n + k;
        c = 0.9 * c + sigmoid(sum(u * n));
        S = rows(sigmoid(n)) * S + outer(k, tanh(c) * v);
        output o: [V] = dot(q + tanh(n), S) / (1 + c * c);
    }",
    "recurrence stabilised {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], i: [], f: [], x: [V] }
        state { S: [K, V], n: [K], m: [], low: [V] }
        let entering = m - softplus(-f);
        m = max(entering, i);
        S = exp(entering - m) * S + outer(k, exp(i - m) * v);
        n = exp(entering - m) * n + exp(i - m) * k;
        low = min(low + 0.1, x);
        output o: [V] = dot(q, S) / max(abs(dot(q, n)), exp(-m)) + low;
    }",
    "recurrence chosen {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [K], mark: [], level: [K] per group }
        params { edge: [] }
        state { S: [K, V], n: [K] }
        S = rows(select(mark < edge, pow(sigmoid(g), 0.0625), 0.99)) * S + outer(1 + elu(k), v);
        n = 0.9 * n + select(level > mark, k, pow(1 + q * q, -1.5));
        output o: [V] = gelu_tanh(dot(q, S)) + select(sum(n) >= 0, 1, 2) * v;
    }",
];

/// Recurrences that no chunk derivation takes: a state that is read over both of its sides, or over one while
/// the other decays, a vector that is read in its own update, and matrices that are no sum of outer products.
pub const STEPPED: &[&str] = &[
    "recurrence both {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], w: [V], beta: [] }
        state { S: [K, V] }
        let unit = l2norm(k);
        S = S + outer(unit, sigmoid(beta) * (v - dot(unit, S)));
        S = 0.9 * S - outer(0.3 * dot(S, l2norm(w)), l2norm(w));
        output o: [V] = dot(q, S) * rsqrt(K);
    }",
    "recurrence crossed {
        dims { K, V }
        inputs { q: [K], k: [K] per group, v: [V], g: [V], a: [] }
        state { S: [K, V] }
        S = cols(exp(g)) * S;
        output before: [V] = dot(q, S);
        S = S + outer(l2norm(k), sigmoid(a) * (v - dot(l2norm(k), S)));
        output o: [V] = silu(dot(q, S));
    }",
    "recurrence vector {
        dims { K }
        inputs { q: [K], k: [K], v: [K], a: [] }
        state { S: [K, K], n: [K] }
        n = n + 0.5 * l2norm(k) * (a - dot(l2norm(k), n));
        S = 0.8 * S + outer(k, v);
        output o: [K] = dot(S, q) + dot(q, n) * v;
    }",
    "recurrence replaced {
        dims { K, V }
        inputs { k: [K], v: [V] }
        params { w: [K, V] }
        state { S: [K, V], n: [K] }
        n = tanh(k);
        S = outer(n, v) + w;
        output o: [V] = dot(n, S);
    }",
    // Mamba-3 of rank two: each of two keys with its value, each of two queries with its output.
    "recurrence mimo {
        dims { R, V }
        inputs { qx: [R] per group, qy: [R] per group, px: [R] per group, py: [R] per group,
                 kx: [R] per group, ky: [R] per group, lx: [R] per group, ly: [R] per group,
                 v: [V], u: [V], adt: [], dt: [], trap: [], angle: [R] }
        params { d: [] }
        state { theta: [R], X: [R, V], Y: [R, V], ax: [R], ay: [R], bx: [R], by: [R], av: [V], bv: [V] }
        theta = wrap(theta + tanh(angle) * dt);
        let turn = 3.141592653589793 * theta;
        let c = cos(turn);
        let s = sin(turn);
        let old = sigmoid(-trap) * dt;
        let new = sigmoid(trap) * dt;
        X = exp(adt) * (X + outer(ax, old * av) + outer(bx, old * bv));
        Y = exp(adt) * (Y + outer(ay, old * av) + outer(by, old * bv));
        ax = c * kx - s * ky;
        ay = s * kx + c * ky;
        bx = c * lx - s * ly;
        by = s * lx + c * ly;
        av = v;
        bv = u;
        X = X + outer(ax, new * v) + outer(bx, new * u);
        Y = Y + outer(ay, new * v) + outer(by, new * u);
        output o: [V] = dot(c * qx - s * qy, X) + dot(s * qx + c * qy, Y) + d * v;
        output w: [V] = dot(c * px - s * py, X) + dot(s * px + c * py, Y) + d * u;
    }",
    "recurrence full_rank {
        dims { D, N }
        inputs { u: [D], dt: [D], b: [N] per group, c: [N] per group }
        params { a: [D, N] }
        state { S: [D, N] }
        S = exp(-(rows(softplus(dt)) * exp(a))) * S + outer(softplus(dt) * u, b);
        output y: [D] = dot(S, c);
    }",
];
