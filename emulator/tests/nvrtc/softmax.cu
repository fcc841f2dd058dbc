// Softmax over rows, one warp for a row.
extern "C" __global__ void softmax(const float *x, float *y, int rows, int columns)
{
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows)
        return;
    float largest = -__int_as_float(0x7f800000);
    for (int i = lane; i < columns; i += 32)
        largest = fmaxf(largest, x[row * columns + i]);
    for (int step = 16; step > 0; step /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, step));
    float sum = 0.f;
    for (int i = lane; i < columns; i += 32)
        sum += __expf(x[row * columns + i] - largest);
    for (int step = 16; step > 0; step /= 2)
        sum += __shfl_xor_sync(~0u, sum, step);
    for (int i = lane; i < columns; i += 32)
        y[row * columns + i] = __fdividef(__expf(x[row * columns + i] - largest), sum);
}
