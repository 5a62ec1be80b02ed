/* Products of small matrices in f32, as attention needs them: rows are padded to whole vectors. */
#include "nn/kernels.h"
#include "nn/kernels/isa.h"
#include "nn/simd.h"

enum { ROWS = 4, COLUMNS = 2 };

/* c (rows, columns vectors) = or += a b; rows is at most ROWS, columns at most COLUMNS. */
GHN__INLINE void tile(float *c, int64_t ldc, bool add, const float *a, int64_t a_row, int64_t a_col,
                      const float *b, int64_t ldb, const int rows, const int columns, int64_t k) {
    ghn__vf sums[ROWS][COLUMNS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < columns; v++)
            sums[r][v] = add ? ghn__load(c, GHN_F32, r * ldc + v * GHN__LANES) : ghn__splat(0);
    for (int64_t j = 0; j < k; j++) {
        ghn__vf row[COLUMNS];
        for (int v = 0; v < columns; v++)
            row[v] = ghn__load(b, GHN_F32, j * ldb + v * GHN__LANES);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < columns; v++)
                sums[r][v] += row[v] * a[r * a_row + j * a_col];
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < columns; v++)
            ghn__store(c, GHN_F32, r * ldc + v * GHN__LANES, sums[r][v]);
}

/* All rows of c, `columns` vectors wide. */
GHN__INLINE void stripe(float *c, int64_t ldc, bool add, const float *a, int64_t a_row,
                        int64_t a_col, const float *b, int64_t ldb, int64_t m, const int columns,
                        int64_t k) {
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        tile(c + i * ldc, ldc, add, a + i * a_row, a_row, a_col, b, ldb, ROWS, columns, k);
    for (; i < m; i++)
        tile(c + i * ldc, ldc, add, a + i * a_row, a_row, a_col, b, ldb, 1, columns, k);
}

void GHN__K(small_gemm)(float *c, int64_t ldc, bool add, const float *a, int64_t a_row,
                        int64_t a_col, const float *b, int64_t ldb, int64_t m, int64_t n,
                        int64_t k) {
    int64_t j = 0;
    for (; j + COLUMNS * GHN__LANES <= n; j += COLUMNS * GHN__LANES)
        stripe(c + j, ldc, add, a, a_row, a_col, b + j, ldb, m, COLUMNS, k);
    for (; j < n; j += GHN__LANES)
        stripe(c + j, ldc, add, a, a_row, a_col, b + j, ldb, m, 1, k);
}

/* c (rows, columns) = a b^T: every element a sum along both rows. */
GHN__INLINE void dots(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                      int64_t ldb, const int rows, const int columns, int64_t k) {
    ghn__vf sums[ROWS][ROWS];
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < columns; s++)
            sums[r][s] = ghn__splat(0);
    for (int64_t j = 0; j < k; j += GHN__LANES)
        for (int s = 0; s < columns; s++) {
            ghn__vf other = ghn__load(b, GHN_F32, s * ldb + j);
            for (int r = 0; r < rows; r++)
                sums[r][s] += ghn__load(a, GHN_F32, r * lda + j) * other;
        }
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < columns; s++)
            c[r * ldc + s] = ghn__sum(sums[r][s]);
}

GHN__INLINE void dot_rows(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                          int64_t ldb, const int rows, int64_t n, int64_t k) {
    int64_t j = 0;
    for (; j + ROWS <= n; j += ROWS)
        dots(c + j, ldc, a, lda, b + j * ldb, ldb, rows, ROWS, k);
    for (; j < n; j++)
        dots(c + j, ldc, a, lda, b + j * ldb, ldb, rows, 1, k);
}

void GHN__K(small_gemm_transposed)(float *c, int64_t ldc, const float *a, int64_t lda,
                                   const float *b, int64_t ldb, int64_t m, int64_t n, int64_t k) {
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        dot_rows(c + i * ldc, ldc, a + i * lda, lda, b, ldb, ROWS, n, k);
    for (; i < m; i++)
        dot_rows(c + i * ldc, ldc, a + i * lda, lda, b, ldb, 1, n, k);
}
