/* lib/tensor: element types, conversions and shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tensor/convert.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* The value of a finite f16, from its definition. */
static double f16_value(uint16_t h) {
    int exponent = h >> 10 & 0x1F, mantissa = h & 0x3FF;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -value : value;
}

/* The f16 of a finite f32, from the definition of rounding: to a multiple of the place's unit, to
 * even in the middle (rint), and to infinity from halfway between the largest f16 and 2^16. */
static uint16_t f16_by_definition(float x) {
    uint16_t sign = bits_of(x) >> 16 & 0x8000;
    double a = fabs((double)x);
    if (a >= 65520)
        return sign | 0x7C00;
    int exponent = a < ldexp(1, -14) ? -14 : ilogb(a);
    double units = rint(ldexp(a, 10 - exponent)); /* in [0, 2048] */
    /* The carry of 2048 units into the exponent is what the addition does. */
    return (uint16_t)(sign | (((exponent + 14) << 10) + (int)units));
}

/* Both forms of a conversion must give `expected` for x, wherever it stands in an array. */
static void check_f16(float x, uint16_t expected) {
    float in[11];
    uint16_t out[11];
    for (int i = 0; i < 11; i++)
        in[i] = x;
    ghn__f16_from_f32_ref(out, in, 11);
    if (out[0] != expected)
        fail_msg("%a: got %04x, expected %04x", (double)x, out[0], expected);
    if (!ghn__convert_fast_available())
        return;
    ghn__f16_from_f32_fast(out, in, 11);
    for (int i = 0; i < 11; i++)
        if (out[i] != expected)
            fail_msg("%a at %d: got %04x, expected %04x", (double)x, i, out[i], expected);
}

static void types_have_names_and_sizes(void **state) {
    (void)state;
    static const size_t sizes[GHN_N_DTYPES] = {4, 2, 2, 8, 8, 4, 2, 1, 1, 1};
    for (int i = 0; i < GHN_N_DTYPES; i++) {
        enum ghn_dtype dtype = GHN_N_DTYPES;
        assert_int_equal(ghn_dtype_parse(ghn_dtype_name((enum ghn_dtype)i), &dtype, NULL), GHN_OK);
        assert_int_equal(dtype, i);
        assert_int_equal(ghn_dtype_size(dtype), sizes[i]);
    }
    static const char *const unknown[] = {"", "f32", "F33", "U16", "F8_E4M3", "F32 "};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        struct ghn_err err = GHN_ERR_INIT;
        enum ghn_dtype dtype = GHN_N_DTYPES;
        assert_int_equal(ghn_dtype_parse(unknown[i], &dtype, &err), GHN_UNSUPPORTED_FILE);
        assert_int_equal(dtype, GHN_N_DTYPES);
        assert_non_null(strstr(err.message, "BF16"));
    }
}

static void every_f16_becomes_its_f32(void **state) {
    (void)state;
    static uint16_t in[65536];
    static float ref[65536], out[65536];
    for (int i = 0; i < 65536; i++)
        in[i] = (uint16_t)i;
    ghn__f16_to_f32_ref(ref, in, 65536);
    ghn_dtype_to_f32(GHN_F16, out, in, 65536);
    for (int i = 0; i < 65536; i++) {
        if ((i & 0x7FFF) > 0x7C00) {
            assert_true(isnan(ref[i]));
        } else if ((i & 0x7FFF) == 0x7C00) {
            assert_true(isinf(ref[i]));
        } else if ((double)ref[i] != f16_value((uint16_t)i)) {
            fail_msg("%04x: got %a", i, (double)ref[i]);
        }
        if (bits_of(ref[i]) != bits_of(out[i]))
            fail_msg("%04x: %08x and %08x", i, bits_of(ref[i]), bits_of(out[i]));
        assert_int_equal(bits_of(ref[i]) >> 31, i >> 15);
    }
}

static void f32_rounds_to_the_nearest_f16(void **state) {
    (void)state;
    /* Every f16, the middle between it and the next, and the f32 on both sides of these. */
    for (int i = 0; i < 0x7C00; i++) {
        double low = f16_value((uint16_t)i);
        double high = i == 0x7BFF ? 65536 : f16_value((uint16_t)(i + 1));
        float points[2] = {(float)low, (float)((low + high) / 2)};
        for (int p = 0; p < 2; p++)
            for (int step = -1; step <= 1; step++) {
                float x = step ? nextafterf(points[p], step * INFINITY) : points[p];
                check_f16(x, f16_by_definition(x));
                check_f16(-x, f16_by_definition(-x));
            }
    }
    for (uint64_t i = 0; i < 300000; i++) {
        float x = float_of((uint32_t)ghn_rng_bits(1, 2, i));
        if (isfinite(x))
            check_f16(x, f16_by_definition(x));
    }
}

static void f16_edges(void **state) {
    (void)state;
    check_f16(0.0f, 0x0000);
    check_f16(-0.0f, 0x8000);
    check_f16(65504.0f, 0x7BFF);
    check_f16(65519.996f, 0x7BFF);
    check_f16(65520.0f, 0x7C00);
    check_f16(3e38f, 0x7C00);
    check_f16(INFINITY, 0x7C00);
    check_f16(-INFINITY, 0xFC00);
    check_f16(0x1p-24f, 0x0001);
    check_f16(0x1p-25f, 0x0000);
    check_f16(0x1.000002p-25f, 0x0001);
    check_f16(0x1p-14f, 0x0400);
    check_f16(float_of(1), 0x0000);
    /* NaN stays one, even if all its set bits are below those that are kept. */
    check_f16(float_of(0x7FC00000), 0x7E00);
    check_f16(float_of(0xFFC00000), 0xFE00);
    check_f16(float_of(0x7F800001), 0x7E00);
    check_f16(float_of(0x7FFFE000), 0x7FFF);
}

static void f32_rounds_to_the_nearest_bf16(void **state) {
    (void)state;
    static const uint32_t lows[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    float in[6];
    uint16_t out[2][6];
    for (uint32_t high = 0; high < 65536; high++) {
        for (int i = 0; i < 6; i++)
            in[i] = float_of(high << 16 | lows[i]);
        ghn__bf16_from_f32_ref(out[0], in, 6);
        ghn_dtype_from_f32(GHN_BF16, out[1], in, 6);
        for (int i = 0; i < 6; i++) {
            bool up = lows[i] > 0x8000 || (lows[i] == 0x8000 && high & 1);
            uint32_t expected = isnan(in[i]) ? (high | 0x40) : high + up;
            if (out[0][i] != expected || out[1][i] != expected)
                fail_msg("%08x: got %04x and %04x", bits_of(in[i]), out[0][i], out[1][i]);
        }
    }
}

/* Any number of values goes to any address, and nothing beyond. */
static void conversions_keep_within_their_arrays(void **state) {
    (void)state;
    static const enum ghn_dtype types[] = {GHN_F16, GHN_BF16, GHN_F32};
    float in[40], back[40];
    for (int i = 0; i < 40; i++)
        in[i] = (float)(i - 20) * 0.5f;
    for (size_t t = 0; t < 3; t++)
        for (size_t n = 0; n <= 40; n++)
            for (size_t shift = 0; shift < 2; shift++) {
                unsigned char bytes[168];
                memset(bytes, 0xA5, sizeof(bytes));
                ghn_dtype_from_f32(types[t], bytes + shift, in, n);
                size_t end = shift + n * ghn_dtype_size(types[t]);
                for (size_t i = 0; i < sizeof(bytes); i++)
                    if (i < shift || i >= end)
                        assert_int_equal(bytes[i], 0xA5);
                ghn_dtype_to_f32(types[t], back, bytes + shift, n);
                for (size_t i = 0; i < n; i++)
                    assert_true(back[i] == in[i]);
            }
    ghn_dtype_from_f32(GHN_F32, in, in, 40);
    assert_true(in[3] == -8.5f);
}

static void other_types_become_f32(void **state) {
    (void)state;
    float out[3];
    ghn_dtype_to_f32(GHN_F64, out, (double[]){0.1, -1e300, 3}, 3);
    assert_true(out[0] == 0.1f && isinf(out[1]) && out[1] < 0 && out[2] == 3);
    ghn_dtype_to_f32(GHN_I64, out, (int64_t[]){INT64_MIN, 16777217, 7}, 3);
    assert_true(out[0] == -0x1p63f && out[1] == 16777216 && out[2] == 7);
    ghn_dtype_to_f32(GHN_I32, out, (int32_t[]){INT32_MIN, -1, INT32_MAX}, 3);
    assert_true(out[0] == -0x1p31f && out[1] == -1 && out[2] == 0x1p31f);
    ghn_dtype_to_f32(GHN_I16, out, (int16_t[]){-32768, 0, 32767}, 3);
    assert_true(out[0] == -32768 && out[1] == 0 && out[2] == 32767);
    ghn_dtype_to_f32(GHN_I8, out, (int8_t[]){-128, 1, 127}, 3);
    assert_true(out[0] == -128 && out[1] == 1 && out[2] == 127);
    ghn_dtype_to_f32(GHN_U8, out, (uint8_t[]){0, 128, 255}, 3);
    assert_true(out[0] == 0 && out[1] == 128 && out[2] == 255);
    ghn_dtype_to_f32(GHN_BOOL, out, (uint8_t[]){0, 1, 2}, 3);
    assert_true(out[0] == 0 && out[1] == 1 && out[2] == 1);
    ghn_dtype_to_f32(GHN_BF16, out, (uint16_t[]){0x3F80, 0x0001, 0xFF80}, 3);
    assert_true(out[0] == 1 && out[1] == 0x1p-133f && isinf(out[2]));
}

static void numel_notices_overflow(void **state) {
    (void)state;
    static const struct {
        struct ghn_shape shape;
        int64_t numel; /* -1: refused */
    } cases[] = {
        {{0, {0}}, 1},
        {{1, {0}}, 0},
        {{4, {64, 3, 7, 7}}, 9408},
        {{3, {5, 0, 7}}, 0},
        {{2, {-1, 5}}, -1},
        {{2, {0, -1}}, -1},
        {{1, {INT64_MAX}}, INT64_MAX},
        {{2, {INT64_MAX, 1}}, INT64_MAX},
        {{2, {INT64_MAX, 2}}, -1},
        {{2, {(int64_t)1 << 32, (int64_t)1 << 31}}, -1},
        {{2, {(int64_t)1 << 32, ((int64_t)1 << 31) - 1}}, INT64_MAX - UINT32_MAX},
        {{3, {(int64_t)1 << 40, (int64_t)1 << 40, 0}}, -1},
        {{3, {0, (int64_t)1 << 40, (int64_t)1 << 40}}, -1},
        {{8, {256, 256, 256, 256, 256, 256, 256, 256}}, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t numel = -7;
        bool good = ghn_shape_numel(&cases[i].shape, &numel);
        assert_int_equal(good, cases[i].numel >= 0);
        assert_true(numel == (good ? cases[i].numel : -7));
    }
}

static void shapes_compare_and_print(void **state) {
    (void)state;
    struct ghn_shape a = {4, {64, 3, 7, 7}}, b = a, scalar = {0, {0}}, largest = {8, {0}};
    char text[GHN_SHAPE_TEXT], cut[8];
    assert_true(ghn_shape_equal(&a, &b));
    b.dim[3] = 8;
    assert_false(ghn_shape_equal(&a, &b));
    b = a;
    b.ndim = 3;
    assert_false(ghn_shape_equal(&a, &b));
    b.ndim = 4;
    b.dim[5] = 9; /* beyond its dimensions: of no matter */
    assert_true(ghn_shape_equal(&a, &b));
    assert_string_equal(ghn_shape_text(&a, text, sizeof(text)), "[64, 3, 7, 7]");
    assert_string_equal(ghn_shape_text(&scalar, text, sizeof(text)), "[]");
    assert_string_equal(ghn_shape_text(&a, cut, sizeof(cut)), "[64, 3,");
    for (int i = 0; i < 8; i++)
        largest.dim[i] = INT64_MAX;
    (void)ghn_shape_text(&largest, text, sizeof(text));
    assert_int_equal(strlen(text), 8 * 19 + 7 * 2 + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(every_f16_becomes_its_f32),
        cmocka_unit_test(f32_rounds_to_the_nearest_f16),
        cmocka_unit_test(f16_edges),
        cmocka_unit_test(f32_rounds_to_the_nearest_bf16),
        cmocka_unit_test(conversions_keep_within_their_arrays),
        cmocka_unit_test(other_types_become_f32),
        cmocka_unit_test(numel_notices_overflow),
        cmocka_unit_test(shapes_compare_and_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
