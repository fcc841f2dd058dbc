// C = A B in bf16 with f32 sums: tiles of 64 x 64 x 32, two stages of cp.async, ldmatrix, mma.sync.
typedef unsigned short u16;
typedef unsigned int u32;

const int A_ROW = 40, B_ROW = 72;

__device__ u32 address(const void *p)
{
    return (u32)__cvta_generic_to_shared(p);
}

__device__ void copy(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(to)), "l"(from) : "memory");
}

extern "C" __global__ void __launch_bounds__(128) matmul(const u16 *a, const u16 *b, float *c, int n, int k)
{
    __shared__ __align__(16) u16 as[2][64 * A_ROW];
    __shared__ __align__(16) u16 bs[2][32 * B_ROW];
    int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int row0 = blockIdx.y * 64, column0 = blockIdx.x * 64;
    int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
    float sums[2][4][4] = {};

    auto fetch = [&](int stage, int start) {
        for (int i = thread; i < 256; i += 128) {
            int row = i / 4, column = i % 4 * 8;
            copy(&as[stage][row * A_ROW + column], &a[(row0 + row) * k + start + column]);
            row = i / 8, column = i % 8 * 8;
            copy(&bs[stage][row * B_ROW + column], &b[(start + row) * n + column0 + column]);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };

    fetch(0, 0);
    for (int start = 0; start < k; start += 32) {
        int stage = start / 32 % 2;
        if (start + 32 < k) {
            fetch(stage ^ 1, start + 32);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        for (int step = 0; step < 32; step += 16) {
            u32 af[2][4], bf[4][2];
            for (int i = 0; i < 2; i++)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(af[i][0]), "=r"(af[i][1]), "=r"(af[i][2]), "=r"(af[i][3])
                             : "r"(address(&as[stage][(warp_row + 16 * i + lane % 16) * A_ROW + step + lane / 16 * 8]))
                             : "memory");
            for (int j = 0; j < 4; j++)
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                             : "=r"(bf[j][0]), "=r"(bf[j][1])
                             : "r"(address(&bs[stage][(step + lane % 16) * B_ROW + warp_column + 8 * j]))
                             : "memory");
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++)
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                                 : "+f"(sums[i][j][0]), "+f"(sums[i][j][1]), "+f"(sums[i][j][2]), "+f"(sums[i][j][3])
                                 : "r"(af[i][0]), "r"(af[i][1]), "r"(af[i][2]), "r"(af[i][3]), "r"(bf[j][0]),
                                   "r"(bf[j][1]));
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int half = 0; half < 2; half++) {
                int row = row0 + warp_row + 16 * i + lane / 4 + 8 * half;
                int column = column0 + warp_column + 8 * j + lane % 4 * 2;
                *(float2 *)&c[row * n + column] = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
}
