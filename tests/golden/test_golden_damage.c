/* A golden checkpoint, and the same as safetensors, cut and with flipped bits: read as it was or
 * refused for a reason, whatever the damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "golden.h"
#include "tensor/tensors.h"

/* The whole file at path, by malloc. */
static unsigned char *load(const char *path, size_t *ret_n) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long n = ftell(file);
    assert_true(n > 1000);
    rewind(file);
    unsigned char *bytes = malloc((size_t)n);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)n, file), n);
    assert_int_equal(fclose(file), 0);
    *ret_n = (size_t)n;
    return bytes;
}

static enum ghn_status parse(const unsigned char *bytes, size_t n, struct ghn_tensors **ret) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_tensors_parse(bytes, n, "damaged", ret, &err);
    assert_int_equal(status, err.status);
    if (status != GHN_OK) {
        assert_true(status == GHN_INVALID_FILE || status == GHN_UNSUPPORTED_FILE ||
                    status == GHN_TOO_LARGE);
        assert_string_equal(err.where, "damaged");
        assert_true(err.message[0] != '\0');
        assert_null(*ret);
    }
    return status;
}

static bool same(const struct ghn_tensors *a, const struct ghn_tensors *b) {
    if (a->n != b->n || !json_equal(a->metadata, b->metadata))
        return false;
    for (int i = 0; i < a->n; i++) {
        const struct ghn_tensor *x = &a->items[i], *y = &b->items[i];
        if (strcmp(x->name, y->name) != 0 || x->dtype != y->dtype || x->n_bytes != y->n_bytes ||
            !ghn_shape_equal(&x->shape, &y->shape) || memcmp(x->data, y->data, x->n_bytes) != 0)
            return false;
    }
    return true;
}

/* Cuts to 0, step, 2 step ... bytes. Parsing copies what it is given, so that AddressSanitizer sees
 * what is read beyond it. */
static void cut(const unsigned char *bytes, size_t n, size_t step) {
    for (size_t left = 0; left < n; left += step) {
        struct ghn_tensors *set = NULL;
        if (parse(bytes, left, &set) == GHN_OK)
            fail_msg("cut to %zu of %zu bytes, and read all the same", left, n);
    }
}

/* Returns how many flips went unnoticed and changed something. */
static int flip(unsigned char *bytes, size_t n, uint64_t flips, const struct ghn_tensors *original,
                int *ret_read) {
    int changed = 0, read = 0;
    for (uint64_t i = 0; i < flips; i++) {
        size_t at = (size_t)(ghn_rng_bits(7, 0, i) % n);
        unsigned char bit = (unsigned char)(1 << ghn_rng_bits(7, 1, i) % 8);
        struct ghn_tensors *set = NULL;
        /* Half of them where the formats keep their own words: at the beginning and the end. */
        if (i % 4 == 0)
            at = at % 5000;
        else if (i % 4 == 1)
            at = n - 1 - at % 2500;
        bytes[at] ^= bit;
        if (parse(bytes, n, &set) == GHN_OK) {
            read++;
            changed += !same(set, original);
        }
        ghn_tensors_free(set);
        bytes[at] ^= bit;
    }
    *ret_read = read;
    return changed;
}

static char path[4096];

/* Every bit of a PyTorch file's values and names is under a checksum or said twice: what a flip
 * leaves readable (padding, dates) changes nothing. */
static void a_torch_file_survives(void **state) {
    (void)state;
    size_t n;
    int read;
    unsigned char *bytes = load(path, &n);
    struct ghn_tensors *original = NULL;
    assert_int_equal(parse(bytes, n, &original), GHN_OK);
    cut(bytes, n, 97);
    assert_int_equal(flip(bytes, n, 2000, original, &read), 0);
    assert_true(read < 500);
    ghn_tensors_free(original);
    free(bytes);
}

/* A safetensors file has no checksum: flips in the data go unnoticed, cuts do not. */
static void a_safetensors_file_survives(void **state) {
    (void)state;
    char copy[] = "/tmp/ghn-damage-XXXXXX";
    int fd = mkstemp(copy), read;
    size_t n;
    struct ghn_tensors *original = NULL;
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(ghn_tensors_read(path, &original, NULL), GHN_OK);
    assert_int_equal(ghn_safetensors_write(copy, original->items, original->n, NULL, NULL), GHN_OK);
    ghn_tensors_free(original);
    unsigned char *bytes = load(copy, &n);
    assert_int_equal(unlink(copy), 0);
    original = NULL;
    assert_int_equal(parse(bytes, n, &original), GHN_OK);
    cut(bytes, n, 997);
    assert_true(flip(bytes, n, 800, original, &read) > 200);
    assert_true(read > 200 && read < 800);
    ghn_tensors_free(original);
    free(bytes);
}

int main(void) {
    const char *folder = golden_folder();
    if (!folder)
        return GOLDEN_SKIPPED;
    (void)snprintf(path, sizeof(path), "%s/checkpoints/ghn2_small.pt", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_torch_file_survives),
        cmocka_unit_test(a_safetensors_file_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
