/* ggml's ssm_scan, timed on one shape through ggml's public C interface.
 *
 * The problem is the one every peer of this folder solves: with delta = softplus(dt), a < 0 per head and
 * S [P, N] per head,
 *     S_t = exp(a * delta_t) * S_{t-1} + delta_t * outer(x_t, b_t)        y_t = S_t c_t
 * for x [B, T, H, P], dt [B, T, H], b and c [B, T, G, N]; y and the last S are both outputs. ssm_scan does
 * the softplus itself and takes exactly these layouts, so nothing is transposed or copied around it.
 *
 * With P = 1 heads are channels and the operation is Mamba-1's: a is [H, N], a decay for every number of the
 * state. ggml tells the two apart by the shape of a.
 *
 * A time counts only if the result was right: the same code path is compared with a float64 recurrence, on a
 * small shape (with a non-zero first state, two groups and a state size that leaves a vector tail) and on the
 * first and last head of the measured shape, over its first LOOKED_AT steps. The error printed is the larger of
 * both, relative to the largest reference magnitude; above TOLERANCE the program fails and prints no time.
 *
 * Timed: ggml_graph_compute alone, on a thread pool that lives as long as the program. Forward only: ggml has
 * no backward of this operation.
 */
#include "ggml_peer.h"

typedef struct {
    int64_t b, t, h, p, n, g;
} Shape;

/* One scan: its tensors, the graph of the single operation, and where both live. */
typedef struct {
    Shape shape;
    struct ggml_context *ctx;
    struct ggml_tensor *state, *x, *dt, *a, *b, *c, *ids, *out;
    int64_t rates; /* decays of a head: 1, or N of a channel */
    Run run;
} Scan;

static Scan scan_new(Shape shape, int threads, struct ggml_threadpool *pool, int zero_state) {
    Scan scan = {.shape = shape, .rates = shape.p == 1 ? shape.n : 1};
    int64_t values = shape.b * shape.h * shape.p * shape.n * 2 + shape.b * shape.t * shape.h * (2 * shape.p + 1) +
                     2 * shape.b * shape.t * shape.g * shape.n + shape.h * scan.rates + shape.b;
    struct ggml_init_params params = {.mem_size = (size_t)values * sizeof(float) + (16u << 20)};
    scan.ctx = ggml_init(params);
    if (!scan.ctx) die("ggml gave no context");

    scan.state = ggml_new_tensor_4d(scan.ctx, GGML_TYPE_F32, shape.n, shape.p, shape.h, shape.b);
    scan.x = ggml_new_tensor_4d(scan.ctx, GGML_TYPE_F32, shape.p, shape.h, shape.t, shape.b);
    scan.dt = ggml_new_tensor_3d(scan.ctx, GGML_TYPE_F32, shape.h, shape.t, shape.b);
    scan.a = ggml_new_tensor_2d(scan.ctx, GGML_TYPE_F32, scan.rates, shape.h);
    scan.b = ggml_new_tensor_4d(scan.ctx, GGML_TYPE_F32, shape.n, shape.g, shape.t, shape.b);
    scan.c = ggml_new_tensor_4d(scan.ctx, GGML_TYPE_F32, shape.n, shape.g, shape.t, shape.b);
    scan.ids = ggml_new_tensor_1d(scan.ctx, GGML_TYPE_I32, shape.b);

    uint64_t seed = 20240531;
    fill_normal(scan.state, &seed);
    if (zero_state) memset(scan.state->data, 0, ggml_nbytes(scan.state));
    fill_normal(scan.x, &seed);
    fill_normal(scan.b, &seed);
    fill_normal(scan.c, &seed);
    /* Mamba-2's own ranges: delta log-uniform in [0.001, 0.1], a uniform in [-16, -1]. */
    float *dt = ggml_get_data_f32(scan.dt), *a = ggml_get_data_f32(scan.a);
    for (int64_t i = 0; i < ggml_nelements(scan.dt); i++) {
        dt[i] = (float)log(expm1(0.001 * pow(100.0, uniform(&seed))));
    }
    for (int64_t i = 0; i < shape.h * scan.rates; i++) a[i] = (float)(-1.0 - 15.0 * uniform(&seed));
    for (int64_t i = 0; i < shape.b; i++) ((int32_t *)scan.ids->data)[i] = (int32_t)i;

    scan.out = ggml_ssm_scan(scan.ctx, scan.state, scan.x, scan.dt, scan.a, scan.b, scan.c, scan.ids, 1);
    scan.run = run_new(scan.ctx, scan.out, threads, pool);
    return scan;
}

static void scan_free(Scan *scan) {
    free(scan->run.plan.work_data);
    ggml_free(scan->ctx);
}

/* Largest |got - want| over largest |want| of one head in every sequence, y and last state together. */
static double head_error(const Scan *scan, int64_t head) {
    const Shape s = scan->shape;
    const int64_t looked = s.t < LOOKED_AT ? s.t : LOOKED_AT;
    const float *x = scan->x->data, *dt = scan->dt->data, *a = scan->a->data, *b = scan->b->data;
    const float *c = scan->c->data, *first = scan->state->data, *y = scan->out->data;
    const float *last = y + s.b * s.t * s.h * s.p;
    const int64_t group = head / (s.h / s.g);
    double worst = 0.0, largest = 0.0;
    double *state = malloc((size_t)(s.p * s.n) * sizeof(double));
    if (!state) die("no memory for the float64 recurrence");

    for (int64_t seq = 0; seq < s.b; seq++) {
        const int64_t block = (seq * s.h + head) * s.p * s.n;
        for (int64_t i = 0; i < s.p * s.n; i++) state[i] = first[block + i];
        for (int64_t t = 0; t < looked; t++) {
            const int64_t token = seq * s.t + t;
            const double delta = log1p(exp((double)dt[token * s.h + head]));
            const float *bt = b + (token * s.g + group) * s.n, *ct = c + (token * s.g + group) * s.n;
            for (int64_t p = 0; p < s.p; p++) {
                const int64_t at = (token * s.h + head) * s.p + p;
                const double scaled = delta * x[at];
                double sum = 0.0;
                for (int64_t n = 0; n < s.n; n++) {
                    const double rate = a[head * scan->rates + n % scan->rates];
                    const double decay = exp(rate * delta);
                    double *cell = &state[p * s.n + n];
                    *cell = decay * *cell + scaled * bt[n];
                    sum += *cell * ct[n];
                }
                worst = fmax(worst, fabs(y[at] - sum));
                largest = fmax(largest, fabs(sum));
            }
        }
        for (int64_t i = 0; looked == s.t && i < s.p * s.n; i++) {
            worst = fmax(worst, fabs(last[block + i] - state[i]));
            largest = fmax(largest, fabs(state[i]));
        }
    }
    free(state);
    /* fmax drops a NaN, so a NaN in the result must be looked for by itself. */
    for (int64_t i = 0; i < ggml_nelements(scan->out); i++) {
        if (isnan(y[i])) return INFINITY;
    }
    return worst / largest;
}

int main(int argc, char **argv) {
    Shape shape;
    int threads;
    double seconds;
    if (argc != 4 ||
        sscanf(argv[1], "%ld,%ld,%ld,%ld,%ld,%ld", &shape.b, &shape.t, &shape.h, &shape.p, &shape.n, &shape.g) != 6 ||
        (threads = atoi(argv[2])) < 1 || (seconds = atof(argv[3])) <= 0) {
        die("expected B,T,H,P,N,G THREADS SECONDS, for example 1,2048,80,64,128,1 2 5");
    }
    if (shape.b < 1 || shape.t < 1 || shape.h < 1 || shape.p < 1 || shape.n < 1 || shape.g < 1 ||
        shape.h % shape.g) {
        die("every size must be at least 1 and H a multiple of G");
    }
    struct ggml_threadpool *pool = pool_new(threads);

    Scan scan = scan_new(shape, threads, pool, 1);
    run_once(&scan.run);
    const double cold = since_begun();
    double error = fmax(head_error(&scan, 0), head_error(&scan, shape.h - 1));

    const int64_t channels = shape.p == 1;
    Scan small = scan_new((Shape){2, 37, 6, channels ? 1 : 8, channels ? 19 : 80, 2}, threads, pool, 0);
    run_once(&small.run);
    for (int64_t head = 0; head < small.shape.h; head++) error = fmax(error, head_error(&small, head));
    scan_free(&small);

    measure(&scan.run, seconds, cold, error);
    scan_free(&scan);
    ggml_threadpool_free(pool);
    return 0;
}
