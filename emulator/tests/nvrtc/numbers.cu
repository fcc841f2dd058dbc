// f64, 64-bit integers, conversions, and the library's slow paths.
extern "C" __global__ void numbers(const double *x, double *y, const long long *p, long long *q, float *z, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    double v = x[i];
    y[i] = sqrt(fabs(v)) + exp(-v * v) * fma(v, 0.5, 1.0) / (1.0 + v * v);
    long long a = p[i], b = (i % 9) - 4;
    q[i] = b == 0 ? __mul64hi(a, a) : a / b + a % b;
    float s = (float)v;
    z[i] = sinf(s * 1000.f) + logf(fabsf(s) + 1.f) + expf(-s) + rsqrtf(fabsf(s) + 0.5f) + tanhf(s) + floorf(s);
}
