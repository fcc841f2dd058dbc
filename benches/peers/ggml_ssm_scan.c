/* ggml's ssm_scan, timed on one shape through ggml's public C interface.
 *
 * The problem is the one every peer of this folder solves: with delta = softplus(dt), a < 0 per head and
 * S [P, N] per head,
 *     S_t = exp(a * delta_t) * S_{t-1} + delta_t * outer(x_t, b_t)        y_t = S_t c_t
 * for x [B, T, H, P], dt [B, T, H], b and c [B, T, G, N]; y and the last S are both outputs. ssm_scan does
 * the softplus itself and takes exactly these layouts, so nothing is transposed or copied around it.
 *
 * A time counts only if the result was right: the same code path is compared with a float64 recurrence, on a
 * small shape (with a non-zero first state, two groups and a state size that leaves a vector tail) and on the
 * first and last head of the measured shape. The error printed is the larger of both, relative to the largest
 * reference magnitude; above TOLERANCE the program fails and prints no time.
 *
 * Timed: ggml_graph_compute alone, on a thread pool that lives as long as the program. Forward only: ggml has
 * no backward of this operation.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-cpu.h"
#include "ggml.h"

#ifndef PEER_SOURCE
#error "define PEER_SOURCE: the package the ggml sources were taken from, with its version"
#endif

#define TOLERANCE 1e-4
#define WARM_UP 2
#define LEAST_REPETITIONS 7
#define MOST_REPETITIONS 1000

typedef struct {
    int64_t b, t, h, p, n, g;
} Shape;

/* One scan: its tensors, the graph of the single operation, and where both live. */
typedef struct {
    Shape shape;
    struct ggml_context *ctx;
    struct ggml_tensor *state, *x, *dt, *a, *b, *c, *ids, *out;
    struct ggml_cgraph *graph;
    struct ggml_cplan plan;
} Scan;

static void die(const char *message) {
    fprintf(stderr, "ggml_ssm_scan: %s\n", message);
    exit(1);
}

/* Uniform in [0, 1), from a 64-bit linear congruential generator: the data is the same in every run. */
static double uniform(uint64_t *seed) {
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(*seed >> 11) / 9007199254740992.0;
}

static void fill_normal(struct ggml_tensor *tensor, uint64_t *seed) {
    float *data = ggml_get_data_f32(tensor);
    for (int64_t i = 0; i < ggml_nelements(tensor); i++) {
        double radius = sqrt(-2.0 * log(1.0 - uniform(seed)));
        data[i] = (float)(radius * cos(6.283185307179586 * uniform(seed)));
    }
}

static Scan scan_new(Shape shape, int threads, struct ggml_threadpool *pool, int zero_state) {
    Scan scan = {.shape = shape};
    int64_t values = shape.b * shape.h * shape.p * shape.n * 2 + shape.b * shape.t * shape.h * (2 * shape.p + 1) +
                     2 * shape.b * shape.t * shape.g * shape.n + shape.h + shape.b;
    struct ggml_init_params params = {.mem_size = (size_t)values * sizeof(float) + (16u << 20)};
    scan.ctx = ggml_init(params);
    if (!scan.ctx) die("ggml gave no context");

    scan.state = ggml_new_tensor_4d(scan.ctx, GGML_TYPE_F32, shape.n, shape.p, shape.h, shape.b);
    scan.x = ggml_new_tensor_4d(scan.ctx, GGML_TYPE_F32, shape.p, shape.h, shape.t, shape.b);
    scan.dt = ggml_new_tensor_3d(scan.ctx, GGML_TYPE_F32, shape.h, shape.t, shape.b);
    scan.a = ggml_new_tensor_2d(scan.ctx, GGML_TYPE_F32, 1, shape.h);
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
    for (int64_t i = 0; i < shape.h; i++) a[i] = (float)(-1.0 - 15.0 * uniform(&seed));
    for (int64_t i = 0; i < shape.b; i++) ((int32_t *)scan.ids->data)[i] = (int32_t)i;

    scan.out = ggml_ssm_scan(scan.ctx, scan.state, scan.x, scan.dt, scan.a, scan.b, scan.c, scan.ids, 1);
    scan.graph = ggml_new_graph(scan.ctx);
    ggml_build_forward_expand(scan.graph, scan.out);
    scan.plan = ggml_graph_plan(scan.graph, threads, pool);
    if (scan.plan.work_size > 0) {
        scan.plan.work_data = malloc(scan.plan.work_size);
        if (!scan.plan.work_data) die("no memory for ggml's work buffer");
    }
    return scan;
}

static void scan_run(Scan *scan) {
    if (ggml_graph_compute(scan->graph, &scan->plan) != GGML_STATUS_SUCCESS) die("ggml_graph_compute failed");
}

static void scan_free(Scan *scan) {
    free(scan->plan.work_data);
    ggml_free(scan->ctx);
}

/* Largest |got - want| over largest |want| of one head in every sequence, y and last state together. */
static double head_error(const Scan *scan, int64_t head) {
    const Shape s = scan->shape;
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
        for (int64_t t = 0; t < s.t; t++) {
            const int64_t token = seq * s.t + t;
            const double delta = log1p(exp((double)dt[token * s.h + head]));
            const double decay = exp((double)a[head] * delta);
            const float *bt = b + (token * s.g + group) * s.n, *ct = c + (token * s.g + group) * s.n;
            for (int64_t p = 0; p < s.p; p++) {
                const int64_t at = (token * s.h + head) * s.p + p;
                const double scaled = delta * x[at];
                double sum = 0.0;
                for (int64_t n = 0; n < s.n; n++) {
                    double *cell = &state[p * s.n + n];
                    *cell = decay * *cell + scaled * bt[n];
                    sum += *cell * ct[n];
                }
                worst = fmax(worst, fabs(y[at] - sum));
                largest = fmax(largest, fabs(sum));
            }
        }
        for (int64_t i = 0; i < s.p * s.n; i++) {
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

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static int ascending(const void *left, const void *right) {
    double l = *(const double *)left, r = *(const double *)right;
    return (l > r) - (l < r);
}

/* Quantile of sorted values, linear between order statistics. */
static double quantile(const double *sorted, int count, double q) {
    double place = q * (count - 1);
    int below = (int)place;
    int above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
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
    struct ggml_threadpool_params pool_params = ggml_threadpool_params_default(threads);
    struct ggml_threadpool *pool = ggml_threadpool_new(&pool_params);
    if (!pool) die("ggml gave no thread pool");

    double error = 0.0;
    Scan small = scan_new((Shape){2, 37, 6, 8, 80, 2}, threads, pool, 0);
    scan_run(&small);
    for (int64_t head = 0; head < small.shape.h; head++) error = fmax(error, head_error(&small, head));
    scan_free(&small);

    Scan scan = scan_new(shape, threads, pool, 1);
    for (int i = 0; i < WARM_UP; i++) scan_run(&scan);
    error = fmax(error, fmax(head_error(&scan, 0), head_error(&scan, shape.h - 1)));
    if (!(error <= TOLERANCE)) {
        fprintf(stderr, "ggml_ssm_scan: relative error %.3g, expected at most %.3g\n", error, TOLERANCE);
        return 1;
    }

    static double times[MOST_REPETITIONS];
    int count = 0;
    const double start = now_ms();
    while (count < LEAST_REPETITIONS || (count < MOST_REPETITIONS && now_ms() - start < seconds * 1e3)) {
        const double before = now_ms();
        scan_run(&scan);
        times[count++] = now_ms() - before;
    }
    qsort(times, (size_t)count, sizeof(double), ascending);
    printf("[{\"peer\": \"ggml ssm_scan\", \"version\": \"ggml %s (%s)\", "
           "\"shape\": \"B%ld T%ld H%ld P%ld N%ld G%ld f32\", \"threads\": %d, \"phase\": \"forward\", "
           "\"median_ms\": %.4f, \"min_ms\": %.4f, \"p10_ms\": %.4f, \"p90_ms\": %.4f, \"repetitions\": %d, "
           "\"checked_error\": %.3g}]\n",
           ggml_version(), PEER_SOURCE, shape.b, shape.t, shape.h, shape.p, shape.n, shape.g, threads,
           quantile(times, count, 0.5), times[0], quantile(times, count, 0.1), quantile(times, count, 0.9), count,
           error);
    scan_free(&scan);
    ggml_threadpool_free(pool);
    return 0;
}
