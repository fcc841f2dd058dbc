// Inclusive sums of a block's integers: within warps by shuffles, then over the warps.
extern "C" __global__ void scan(const int *x, long long *y, int n)
{
    __shared__ long long warps[32];
    int i = threadIdx.x, lane = i % 32, warp = i / 32;
    long long sum = i < n ? x[i] : 0;
    for (int step = 1; step < 32; step *= 2) {
        long long before = __shfl_up_sync(~0u, sum, step);
        if (lane >= step)
            sum += before;
    }
    if (lane == 31)
        warps[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        long long total = lane < blockDim.x / 32 ? warps[lane] : 0;
        for (int step = 1; step < 32; step *= 2) {
            long long before = __shfl_up_sync(~0u, total, step);
            if (lane >= step)
                total += before;
        }
        __syncwarp();
        warps[lane] = total;
    }
    __syncthreads();
    if (warp > 0)
        sum += warps[warp - 1];
    if (i < n)
        y[i] = sum;
}
