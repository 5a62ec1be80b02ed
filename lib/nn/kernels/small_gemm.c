#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

enum { ROWS = 4 };

/* rows (at most ROWS) x one vector of columns. */
GHN__INLINE void tile(float *c, int64_t ldc, bool add, const float *a, int64_t a_row, int64_t a_col,
                      const float *b, int64_t ldb, int rows, int64_t k) {
    ghn__vf sums[ROWS];
    for (int r = 0; r < rows; r++)
        sums[r] = add ? ghn__load(c, GHN_F32, r * ldc) : ghn__splat(0);
    for (int64_t j = 0; j < k; j++) {
        ghn__vf row = ghn__load(b, GHN_F32, j * ldb);
        for (int r = 0; r < rows; r++)
            sums[r] += row * a[r * a_row + j * a_col];
    }
    for (int r = 0; r < rows; r++)
        ghn__store(c, GHN_F32, r * ldc, sums[r]);
}

void GHN__K(small_gemm)(float *c, int64_t ldc, bool add, const float *a, int64_t a_row,
                        int64_t a_col, const float *b, int64_t ldb, int64_t m, int64_t n,
                        int64_t k) {
    for (int64_t i = 0; i < m; i += ROWS)
        for (int64_t j = 0; j < n; j += GHN__LANES) {
            const float *rows = a + i * a_row;
            switch (m - i) {
            case 1:
                tile(c + i * ldc + j, ldc, add, rows, a_row, a_col, b + j, ldb, 1, k);
                break;
            case 2:
                tile(c + i * ldc + j, ldc, add, rows, a_row, a_col, b + j, ldb, 2, k);
                break;
            case 3:
                tile(c + i * ldc + j, ldc, add, rows, a_row, a_col, b + j, ldb, 3, k);
                break;
            default:
                tile(c + i * ldc + j, ldc, add, rows, a_row, a_col, b + j, ldb, ROWS, k);
            }
        }
}
