/* IDX files: what they hold, plain and compressed, and every way in which they can be wrong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/mem.h"
#include "data/loader.h"

enum { HEIGHT = 5, WIDTH = 4, PIXELS = HEIGHT * WIDTH, TRAIN = 12, TEST = 6, CLASSES = 3 };

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/ghn-idx-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

static const char *path_of(const char *name) {
    static char path[160];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

/* Writes n bytes to a file, through gzip if its name says so. */
static void write_file(const char *name, const uint8_t *bytes, size_t n) {
    const char *path = path_of(name);
    if (strstr(name, ".gz")) {
        gzFile file = gzopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(gzwrite(file, bytes, (unsigned)n), n);
        assert_int_equal(gzclose(file), Z_OK);
        return;
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void put(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Pixel p of image i. */
static uint8_t pixel(int i, int p) {
    return (uint8_t)(i * 31 + p * 7);
}

/* An image file of n pictures that its header calls `said`, with `extra` bytes more or fewer. */
static void write_images(const char *name, uint32_t magic, int n, uint32_t said, int extra) {
    uint8_t bytes[16 + TRAIN * PIXELS + 8] = {0};
    put(bytes, magic);
    put(bytes + 4, said);
    put(bytes + 8, HEIGHT);
    put(bytes + 12, WIDTH);
    for (int i = 0; i < n; i++)
        for (int p = 0; p < PIXELS; p++)
            bytes[16 + i * PIXELS + p] = pixel(i, p);
    write_file(name, bytes, (size_t)(16 + n * PIXELS + extra));
}

static void write_labels(const char *name, int n) {
    uint8_t bytes[8 + TRAIN] = {0};
    put(bytes, 0x801);
    put(bytes + 4, (uint32_t)n);
    for (int i = 0; i < n; i++)
        bytes[8 + i] = (uint8_t)(i % CLASSES);
    write_file(name, bytes, (size_t)(8 + n));
}

/* A sound set: the training split plain, the other compressed. */
static void write_set(void) {
    write_images("train-images-idx3-ubyte", 0x803, TRAIN, TRAIN, 0);
    write_labels("train-labels-idx1-ubyte", TRAIN);
    write_images("t10k-images-idx3-ubyte.gz", 0x803, TEST, TEST, 0);
    write_labels("t10k-labels-idx1-ubyte.gz", TEST);
}

static struct ghn_dataset *open_set(void) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_dataset_open(folder, &dataset, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return dataset;
}

/* A whole split, in file order, equals what was written; grey serves `channels` by repetition. */
static void expect_split(const struct ghn_dataset *dataset, enum ghn_split split, int n,
                         int channels) {
    const struct ghn_loader_options options = {
        .split = split, .batch = n, .chw = {channels, HEIGHT, WIDTH}};
    struct ghn_loader *loader = NULL;
    const struct ghn_batch *batch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_loader_new(dataset, &options, &loader, &err), GHN_OK);
    assert_int_equal(ghn_loader_next(loader, &batch, &err), GHN_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(batch->labels[i], i % CLASSES);
        for (int p = 0; p < PIXELS; p++)
            for (int c = 0; c < channels; c++) {
                double expected = (pixel(i, p) / 255.0 - dataset->mean[0]) / dataset->std[0];
                double got = batch->images[(i * PIXELS + p) * channels + c];
                assert_true(fabs(got - expected) < 1e-5);
            }
    }
    ghn_loader_free(loader);
}

static void both_forms_are_read(void **state) {
    (void)state;
    write_set();
    struct ghn_dataset *dataset = open_set();
    assert_int_equal(dataset->kind, GHN_DATASET_IDX);
    assert_int_equal(dataset->channels, 1);
    assert_int_equal(dataset->height, HEIGHT);
    assert_int_equal(dataset->width, WIDTH);
    assert_int_equal(dataset->n_classes, CLASSES);
    assert_string_equal(dataset->class_names[2], "2");
    expect_split(dataset, GHN_SPLIT_TRAIN, TRAIN, 1);
    expect_split(dataset, GHN_SPLIT_TEST, TEST, 3);
    double sum = 0, square = 0;
    for (int i = 0; i < TRAIN; i++)
        for (int p = 0; p < PIXELS; p++) {
            sum += pixel(i, p) / 255.0;
            square += pixel(i, p) / 255.0 * pixel(i, p) / 255.0;
        }
    double mean = sum / (TRAIN * PIXELS);
    assert_true(fabs(dataset->mean[0] - mean) < 1e-6);
    assert_true(fabs(dataset->std[0] - sqrt(square / (TRAIN * PIXELS) - mean * mean)) < 1e-6);
    ghn_dataset_free(dataset);
}

static void a_description_has_the_counts(void **state) {
    (void)state;
    write_set();
    struct ghn_dataset *dataset = NULL;
    struct ghn_loader *loader = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_dataset_describe(folder, &dataset, &err), GHN_OK);
    assert_int_equal(dataset->n[GHN_SPLIT_TRAIN], TRAIN);
    assert_int_equal(dataset->n[GHN_SPLIT_TEST], TEST);
    assert_int_equal(dataset->n_classes, CLASSES);
    const struct ghn_loader_options options = {.batch = 2, .chw = {1, HEIGHT, WIDTH}};
    assert_int_equal(ghn_loader_new(dataset, &options, &loader, &err), GHN_OUT_OF_RANGE);
    assert_null(loader);
    ghn_dataset_free(dataset);
}

static void expect_refusal(const char *named, const char *said) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_dataset_open(folder, &dataset, &err), GHN_INVALID_FILE);
    assert_null(dataset);
    if (!strstr(err.where, named) || !strstr(err.message, said))
        fail_msg("\"%s: %s\" does not name %s and say \"%s\"", err.where, err.message, named, said);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    const char *images = "train-images-idx3-ubyte", *labels = "train-labels-idx1-ubyte";
    write_set();
    write_images(images, 0x801, TRAIN, TRAIN, 0);
    expect_refusal(images, "magic");
    write_images(images, 0x803, TRAIN, TRAIN, -1);
    expect_refusal(images, "too early");
    write_images(images, 0x803, TRAIN, TRAIN, 1);
    expect_refusal(images, "longer");
    write_images(images, 0x803, TRAIN, 0, 0);
    expect_refusal(images, "extents");
    write_images(images, 0x803, TRAIN, 0xffffffff, 0);
    expect_refusal(images, "extents");
    /* More than the file can hold however well it is compressed: refused before memory is taken. */
    write_images(images, 0x803, TRAIN, 1 << 20, 0);
    expect_refusal(images, "extents");
    write_file(images, (const uint8_t *)"", 0);
    expect_refusal(images, "too early");
    write_images(images, 0x803, TRAIN, TRAIN, 0);
    write_labels(labels, TRAIN - 1);
    expect_refusal(labels, "labels for");
    assert_int_equal(unlink(path_of(labels)), 0);
    expect_refusal(labels, "missing");
}

/* Every cut and every flipped bit of a compressed file is noticed: gzip has a checksum. */
static void a_damaged_gzip_file_is_refused(void **state) {
    (void)state;
    const char *name = "t10k-images-idx3-ubyte.gz";
    write_set();
    uint8_t bytes[1024];
    FILE *file = fopen(path_of(name), "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, sizeof(bytes), file);
    assert_int_equal(fclose(file), 0);
    assert_in_range(n, 30, sizeof(bytes) - 1);
    for (size_t cut = 1; cut < n; cut++) {
        file = fopen(path_of(name), "wb");
        assert_int_equal(fwrite(bytes, 1, cut, file), cut);
        assert_int_equal(fclose(file), 0);
        expect_refusal(name, "");
    }
    /* Behind the header and the first byte of the stored block, which have bits of no consequence.
     */
    for (size_t at = 11; at < n; at++) {
        bytes[at] ^= 0x10;
        file = fopen(path_of(name), "wb");
        assert_int_equal(fwrite(bytes, 1, n, file), n);
        assert_int_equal(fclose(file), 0);
        bytes[at] ^= 0x10;
        expect_refusal(name, "");
    }
}

static void running_out_of_memory_is_reported(void **state) {
    (void)state;
    write_set();
    int failures = 0;
    for (int n = 1; n < 1000; n++) {
        struct ghn_dataset *dataset = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        ghn_mem_fail_at(n, 0);
        enum ghn_status status = ghn_dataset_open(folder, &dataset, &err);
        ghn_mem_fail_at(0, 0);
        if (status == GHN_OK) {
            ghn_dataset_free(dataset);
            break;
        }
        assert_int_equal(status, GHN_NO_MEMORY);
        assert_null(dataset);
        failures++;
    }
    assert_in_range(failures, 5, 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
        CASE(both_forms_are_read),
        CASE(a_description_has_the_counts),
        CASE(what_is_wrong_is_named),
        CASE(a_damaged_gzip_file_is_refused),
        CASE(running_out_of_memory_is_reported),
#undef CASE
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
