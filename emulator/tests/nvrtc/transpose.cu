// A transpose through shared memory, with and without a padded row.
template <int PAD>
__device__ void turn(const float *x, float *y, int rows, int columns)
{
    __shared__ float tile[32][32 + PAD];
    int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8)
        if (row + i < rows && column < columns)
            tile[threadIdx.y + i][threadIdx.x] = x[(row + i) * columns + column];
    __syncthreads();
    column = blockIdx.y * 32 + threadIdx.x;
    row = blockIdx.x * 32 + threadIdx.y;
    for (int i = 0; i < 32; i += 8)
        if (row + i < columns && column < rows)
            y[(row + i) * rows + column] = tile[threadIdx.x][threadIdx.y + i];
}

extern "C" __global__ void padded(const float *x, float *y, int rows, int columns)
{
    turn<1>(x, y, rows, columns);
}

extern "C" __global__ void conflicting(const float *x, float *y, int rows, int columns)
{
    turn<0>(x, y, rows, columns);
}
