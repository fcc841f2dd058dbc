/* ggml's gated_delta_net, timed on one shape through ggml's public C interface.
 *
 * S [K, V] per head, K = V as ggml asks for, q scaled by K^-1/2 in the operation:
 *     S = exp(g_t) * S      S = S + beta_t * outer(k_t, v_t - S' k_t)      o_t = S' q_t
 * for q, k, v [B, T, H, K], beta [B, T, H] and g [B, T, H]; with one g for each key, [B, T, H, K], it is KDA's
 * operation. o and the last S are both outputs. These are the layouts that ggml takes, so nothing is transposed.
 *
 * A time counts only if the result was right, as in ggml_ssm_scan.c: every head of a small shape, the first and
 * the last of the measured one, over its first LOOKED_AT steps, against a float64 recurrence.
 *
 * Timed: ggml_graph_compute alone, on a thread pool that lives as long as the program. Forward only: ggml has no
 * backward of this operation.
 */
#include "ggml_peer.h"

typedef struct {
    int64_t b, t, h, k, gates; /* gates: 1 for a head, K for each key */
} Shape;

typedef struct {
    Shape shape;
    struct ggml_context *ctx;
    struct ggml_tensor *q, *k, *v, *g, *beta, *state, *out;
    Run run;
} Rule;

static Rule rule_new(Shape s, int threads, struct ggml_threadpool *pool, int zero_state) {
    Rule rule = {.shape = s};
    const int64_t steps = s.b * s.t * s.h;
    const int64_t values = steps * (4 * s.k + s.gates + 1) + 2 * s.b * s.h * s.k * s.k;
    struct ggml_init_params params = {.mem_size = (size_t)values * sizeof(float) + (16u << 20)};
    rule.ctx = ggml_init(params);
    if (!rule.ctx) die("ggml gave no context");
    struct ggml_tensor **wide[] = {&rule.q, &rule.k, &rule.v};
    for (int i = 0; i < 3; i++) *wide[i] = ggml_new_tensor_4d(rule.ctx, GGML_TYPE_F32, s.k, s.h, s.t, s.b);
    rule.g = ggml_new_tensor_4d(rule.ctx, GGML_TYPE_F32, s.gates, s.h, s.t, s.b);
    rule.beta = ggml_new_tensor_4d(rule.ctx, GGML_TYPE_F32, 1, s.h, s.t, s.b);
    rule.state = ggml_new_tensor_4d(rule.ctx, GGML_TYPE_F32, s.k, s.k, s.h, s.b);

    uint64_t seed = 20240531;
    fill_normal(rule.state, &seed);
    if (zero_state) memset(rule.state->data, 0, ggml_nbytes(rule.state));
    for (int i = 0; i < 3; i++) fill_normal(*wide[i], &seed);
    float *k = rule.k->data, *g = rule.g->data, *beta = rule.beta->data;
    for (int64_t row = 0; row < steps; row++) { /* keys of length one */
        double sum = 0.0;
        for (int64_t i = 0; i < s.k; i++) sum += (double)k[row * s.k + i] * k[row * s.k + i];
        for (int64_t i = 0; i < s.k; i++) k[row * s.k + i] = (float)(k[row * s.k + i] / sqrt(sum));
        for (int64_t i = 0; i < s.gates; i++) g[row * s.gates + i] = (float)(-0.1 * uniform(&seed));
        beta[row] = (float)uniform(&seed);
    }
    rule.out = ggml_gated_delta_net(rule.ctx, rule.q, rule.k, rule.v, rule.g, rule.beta, rule.state, 1);
    rule.run = run_new(rule.ctx, rule.out, threads, pool);
    return rule;
}

static void rule_free(Rule *rule) {
    free(rule->run.plan.work_data);
    ggml_free(rule->ctx);
}

/* Largest |got - want| over largest |want| of one head in every sequence, o and last state together. */
static double head_error(const Rule *rule, int64_t head) {
    const Shape s = rule->shape;
    const int64_t looked = s.t < LOOKED_AT ? s.t : LOOKED_AT;
    const float *q = rule->q->data, *k = rule->k->data, *v = rule->v->data, *g = rule->g->data;
    const float *beta = rule->beta->data, *first = rule->state->data, *o = rule->out->data;
    const float *last = o + s.b * s.t * s.h * s.k;
    const double scale = 1.0 / sqrt((double)s.k);
    double worst = 0.0, largest = 0.0;
    double *state = malloc((size_t)(s.k * s.k) * sizeof(double)); /* a row for each column of S, as ggml has it */
    if (!state) die("no memory for the float64 recurrence");
    for (int64_t seq = 0; seq < s.b; seq++) {
        const int64_t block = (seq * s.h + head) * s.k * s.k;
        for (int64_t i = 0; i < s.k * s.k; i++) state[i] = first[block + i];
        for (int64_t t = 0; t < looked; t++) {
            const int64_t row = (seq * s.t + t) * s.h + head;
            for (int64_t j = 0; j < s.k; j++) {
                double read = 0.0, sum = 0.0, *column = state + j * s.k;
                for (int64_t i = 0; i < s.k; i++) {
                    column[i] *= exp((double)g[row * s.gates + i % s.gates]);
                    read += column[i] * k[row * s.k + i];
                }
                const double written = beta[row] * (v[row * s.k + j] - read);
                for (int64_t i = 0; i < s.k; i++) {
                    column[i] += written * k[row * s.k + i];
                    sum += column[i] * q[row * s.k + i];
                }
                worst = fmax(worst, fabs(o[row * s.k + j] - scale * sum));
                largest = fmax(largest, fabs(scale * sum));
            }
        }
        for (int64_t i = 0; looked == s.t && i < s.k * s.k; i++) {
            worst = fmax(worst, fabs(last[block + i] - state[i]));
            largest = fmax(largest, fabs(state[i]));
        }
    }
    free(state);
    for (int64_t i = 0; i < ggml_nelements(rule->out); i++) { /* fmax drops a NaN */
        if (isnan(o[i])) return INFINITY;
    }
    return worst / largest;
}

int main(int argc, char **argv) {
    Shape shape = {0};
    int64_t columns;
    int threads;
    double seconds;
    char gates[8];
    if (argc != 4 ||
        sscanf(argv[1], "%ld,%ld,%ld,%ld,%ld,%7s", &shape.b, &shape.t, &shape.h, &shape.k, &columns, gates) != 6 ||
        (threads = atoi(argv[2])) < 1 || (seconds = atof(argv[3])) <= 0 ||
        (strcmp(gates, "head") && strcmp(gates, "key"))) {
        die("expected B,T,H,K,V,head|key THREADS SECONDS, for example 1,2048,16,128,128,head 2 5");
    }
    if (shape.b < 1 || shape.t < 1 || shape.h < 1 || shape.k < 1 || columns != shape.k) {
        die("every size must be at least 1 and K the same as V");
    }
    const int keys = !strcmp(gates, "key");
    shape.gates = keys ? shape.k : 1;
    struct ggml_threadpool *pool = pool_new(threads);

    Rule rule = rule_new(shape, threads, pool, 1);
    run_once(&rule.run);
    const double cold = since_begun();
    double error = fmax(head_error(&rule, 0), head_error(&rule, shape.h - 1));

    Rule small = rule_new((Shape){2, 37, 3, 24, keys ? 24 : 1}, threads, pool, 0);
    run_once(&small.run);
    for (int64_t head = 0; head < small.shape.h; head++) error = fmax(error, head_error(&small, head));
    rule_free(&small);

    measure(&rule.run, seconds, cold, error);
    rule_free(&rule);
    ggml_threadpool_free(pool);
    return 0;
}
