/* What the ggml peers of this folder share: numbers, the clock, and the record that is printed. */
#ifndef GGML_PEER_H
#define GGML_PEER_H

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
#define WARM_UP 1
#define LEAST_REPETITIONS 3
#define LOOKED_AT 4096 /* steps of the measured shape that are checked */
#define MOST_REPETITIONS 1000

static void die(const char *message) {
    fprintf(stderr, "ggml peer: %s\n", message);
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

/* The thread pool and the buffer that a graph of one operation runs with. */
typedef struct {
    struct ggml_cgraph *graph;
    struct ggml_cplan plan;
} Run;

static Run run_new(struct ggml_context *ctx, struct ggml_tensor *out, int threads, struct ggml_threadpool *pool) {
    Run run = {.graph = ggml_new_graph(ctx)};
    ggml_build_forward_expand(run.graph, out);
    run.plan = ggml_graph_plan(run.graph, threads, pool);
    if (run.plan.work_size > 0) {
        run.plan.work_data = malloc(run.plan.work_size);
        if (!run.plan.work_data) die("no memory for ggml's work buffer");
    }
    return run;
}

static void run_once(Run *run) {
    if (ggml_graph_compute(run->graph, &run->plan) != GGML_STATUS_SUCCESS) die("ggml_graph_compute failed");
}

static struct ggml_threadpool *pool_new(int threads) {
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    struct ggml_threadpool *pool = ggml_threadpool_new(&params);
    if (!pool) die("ggml gave no thread pool");
    return pool;
}

/* Milliseconds since BENCH_BEGUN (seconds since 1970, which the caller sets before it starts this program). */
static double since_begun(void) {
    struct timespec time;
    const char *begun = getenv("BENCH_BEGUN");
    if (!begun) return 0.0;
    clock_gettime(CLOCK_REALTIME, &time);
    return ((double)time.tv_sec - atof(begun)) * 1e3 + (double)time.tv_nsec * 1e-6;
}

/* Times the run and prints its record, unless its error is too large: then it is the program that fails. */
static void measure(Run *run, double seconds, double cold, double error) {
    static double times[MOST_REPETITIONS];
    int count = 0;
    if (!(error <= TOLERANCE)) {
        fprintf(stderr, "wrong by %.3g of the largest number, allowed %.3g\n", error, TOLERANCE);
        exit(1);
    }
    for (int i = 0; i < WARM_UP; i++) run_once(run);
    const double start = now_ms();
    while (count < LEAST_REPETITIONS || (count < MOST_REPETITIONS && now_ms() - start < seconds * 1e3)) {
        const double before = now_ms();
        run_once(run);
        times[count++] = now_ms() - before;
    }
    qsort(times, (size_t)count, sizeof(double), ascending);
    printf("{\"version\": \"ggml %s (%s)\", \"cold_start_ms\": %.3f, \"checked_error\": %.3g, \"phases\": {\"forward\": "
           "{\"median_ms\": %.4f, \"p10_ms\": %.4f, \"p90_ms\": %.4f, \"repetitions\": %d}}}\n",
           ggml_version(), PEER_SOURCE, cold, error, quantile(times, count, 0.5), quantile(times, count, 0.1),
           quantile(times, count, 0.9), count);
}

#endif
