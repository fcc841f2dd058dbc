// Divergent control flow, a call, tables in constant and global memory, local memory.
__constant__ int primes[6] = {2, 3, 5, 7, 11, 13};
__device__ unsigned calls = 0;

__noinline__ __device__ int collatz(long long n)
{
    int steps = 0;
    while (n != 1) {
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
        steps++;
    }
    return steps;
}

extern "C" __global__ void flow(int *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int digits[10] = {};
    for (int rest = i * 7919; rest > 0; rest /= 10)
        digits[rest % 10]++;
    int result = digits[i % 10];
    switch (i % 7) {
    case 0: result += collatz(i + 1); break;
    case 1: result -= primes[i % 6]; break;
    case 2: result *= 3; break;
    case 3: result = __popc(i) + __clz(i) + __brev(i) % 5; break;
    case 4: for (int j = 0; j < i % 13; j++) result += j * j; break;
    case 5: result ^= 0x55; // falls through
    default: result += 1;
    }
    atomicAdd(&calls, 1u);
    y[i] = result;
}

extern "C" __global__ void count(unsigned *y)
{
    y[0] = calls;
}
