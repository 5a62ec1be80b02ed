/* lib/data: files of each kind, what is wrong with them, and batches that depend on nothing but
 * their number. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "data/loader.h"

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE, BATCH = 7 };

static struct ghn_dataset *open_set(const char *path) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_dataset_open(path, &dataset, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return dataset;
}

static struct ghn_loader *open_loader(const struct ghn_dataset *dataset,
                                      const struct ghn_loader_options *options) {
    struct ghn_loader *loader = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_loader_new(dataset, options, &loader, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return loader;
}

static const struct ghn_batch *next(struct ghn_loader *loader) {
    const struct ghn_batch *batch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_loader_next(loader, &batch, &err), GHN_OK);
    return batch;
}

static const struct ghn_loader_options augmented = {
    .batch = BATCH,
    .chw = {3, SIDE, SIDE},
    .count = 40,
    .shuffle = true,
    .augmentation = {.pad = 4, .flip = true, .cutout = 8},
    .seed = 3};

/* Any number of threads, and coming back by a seek, gives the same bytes. */
static void batches_depend_on_their_number_alone(void **state) {
    (void)state;
    struct ghn_dataset *dataset = open_set("shapes");
    struct ghn_loader_options options = augmented;
    struct ghn_loader *one = open_loader(dataset, &options);
    options.threads = 3;
    struct ghn_loader *three = open_loader(dataset, &options);
    size_t bytes = (size_t)BATCH * PIXELS * sizeof(float);
    float *ninth = malloc(bytes);
    for (int i = 0; i < 20; i++) {
        const struct ghn_batch *a = next(one), *b = next(three);
        assert_int_equal(a->number, i);
        assert_int_equal(b->number, i);
        assert_int_equal(a->n, i % 6 == 5 ? 5 : BATCH);
        assert_memory_equal(a->labels, b->labels, (size_t)a->n * sizeof(*a->labels));
        assert_memory_equal(a->images, b->images, (size_t)a->n * PIXELS * sizeof(float));
        if (i == 9)
            memcpy(ninth, a->images, bytes);
    }
    ghn_loader_seek(three, 9);
    assert_memory_equal(next(three)->images, ninth, bytes);
    free(ninth);
    ghn_loader_free(one);
    ghn_loader_free(three);
    ghn_dataset_free(dataset);
}

/* --- CIFAR --- */

/* A folder with n records of `labels` label bytes in each named file; image i is all (i * 7 + c).
 */
static void write_records(const char *folder, const char *name, int labels, int n, int label) {
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < labels; k++)
            (void)fputc(k == labels - 1 ? (label < 0 ? i % 10 : label) : 0, file);
        for (int p = 0; p < PIXELS; p++)
            (void)fputc((i * 7 + p / (SIDE * SIDE)) % 256, file);
    }
    assert_int_equal(fclose(file), 0);
}

static char *cifar_folder(void) {
    static char folder[] = "/tmp/ghn-data-XXXXXX";
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    for (int i = 1; i <= 5; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "data_batch_%d.bin", i);
        write_records(folder, name, 1, 10, -1);
    }
    write_records(folder, "test_batch.bin", 1, 20, -1);
    return folder;
}

static void remove_folder(const char *folder) {
    char command[256];
    (void)snprintf(command, sizeof(command), "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void cifar10_is_read(void **state) {
    (void)state;
    char *folder = cifar_folder();
    struct ghn_dataset *dataset = open_set(folder);
    assert_int_equal(dataset->kind, GHN_DATASET_CIFAR10);
    assert_int_equal(dataset->n_classes, 10);
    assert_int_equal(dataset->n[GHN_SPLIT_TRAIN], 50);
    assert_int_equal(dataset->n[GHN_SPLIT_TEST], 20);
    const struct ghn_loader_options options = {
        .split = GHN_SPLIT_TEST, .batch = 20, .chw = {3, SIDE, SIDE}};
    struct ghn_loader *loader = open_loader(dataset, &options);
    const struct ghn_batch *batch = next(loader);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(batch->labels[i], i % 10);
        for (int c = 0; c < 3; c++) {
            double expected = ((i * 7 + c) / 255.0 - dataset->mean[c]) / dataset->std[c];
            assert_true(fabs(batch->images[i * PIXELS + 500 * 3 + c] - expected) < 1e-5);
        }
    }
    ghn_loader_free(loader);
    ghn_dataset_free(dataset);
    remove_folder(folder);
}

/* n images of each class, the first ones. */
static void shots_are_the_first_of_each_class(void **state) {
    (void)state;
    char *folder = cifar_folder();
    struct ghn_dataset *dataset = open_set(folder);
    const struct ghn_loader_options options = {
        .batch = 20, .chw = {3, SIDE, SIDE}, .n_shots = 2, .drop_last = true};
    struct ghn_loader *loader = open_loader(dataset, &options);
    assert_int_equal(ghn_loader_images(loader), 20);
    const struct ghn_batch *batch = next(loader);
    int counts[10] = {0};
    for (int i = 0; i < 20; i++)
        counts[batch->labels[i]]++;
    for (int k = 0; k < 10; k++)
        assert_int_equal(counts[k], 2);
    ghn_loader_free(loader);
    ghn_dataset_free(dataset);
    remove_folder(folder);
}

static void expect_refusal(const char *folder, enum ghn_status expected, const char *named) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_dataset_open(folder, &dataset, &err), expected);
    assert_null(dataset);
    if (!strstr(err.where, named))
        fail_msg("\"%s\" does not name %s", err.where, named);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    char *folder = cifar_folder(), path[256];
    write_records(folder, "data_batch_3.bin", 1, 4, 10);
    expect_refusal(folder, GHN_INVALID_FILE, "data_batch_3.bin");
    write_records(folder, "data_batch_3.bin", 2, 4, 1);
    expect_refusal(folder, GHN_INVALID_FILE, "data_batch_3.bin");
    (void)snprintf(path, sizeof(path), "%s/data_batch_3.bin", folder);
    assert_int_equal(unlink(path), 0);
    expect_refusal(folder, GHN_INVALID_FILE, "data_batch_3.bin");
    remove_folder(folder);
    expect_refusal(folder, GHN_IO, folder);
}

static void sizes_must_fit(void **state) {
    (void)state;
    struct ghn_dataset *dataset = open_set("shapes");
    struct ghn_err err = GHN_ERR_INIT;
    const int64_t fits[3] = {3, 32, 32}, half[3] = {3, 16, 16}, oblong[3] = {3, 16, 32},
                  part[3] = {3, 24, 24}, larger[3] = {3, 224, 224}, grey[3] = {1, 32, 32},
                  bordered[3] = {3, 40, 36}, odd[3] = {3, 33, 32}, wide[3] = {3, 42, 42};
    assert_int_equal(ghn_dataset_fits(dataset, fits, &err), GHN_OK);
    assert_int_equal(ghn_dataset_fits(dataset, half, &err), GHN_OK);
    assert_int_equal(ghn_dataset_fits(dataset, bordered, &err), GHN_OK);
    assert_int_equal(ghn_dataset_fits(dataset, odd, &err), GHN_SHAPE_MISMATCH);
    assert_int_equal(ghn_dataset_fits(dataset, wide, &err), GHN_SHAPE_MISMATCH);
    assert_int_equal(ghn_dataset_fits(dataset, oblong, &err), GHN_SHAPE_MISMATCH);
    assert_int_equal(ghn_dataset_fits(dataset, part, &err), GHN_SHAPE_MISMATCH);
    err = (struct ghn_err)GHN_ERR_INIT;
    assert_int_equal(ghn_dataset_fits(dataset, larger, &err), GHN_SHAPE_MISMATCH);
    assert_non_null(strstr(err.message, "224"));
    assert_int_equal(ghn_dataset_fits(dataset, grey, &err), GHN_SHAPE_MISMATCH);
    ghn_dataset_free(dataset);
}

/* Zero pixels all around, mirrored images as well. */
static void images_get_a_border(void **state) {
    (void)state;
    enum { LARGE = 40, AT = (LARGE - SIDE) / 2, N = 16 };
    struct ghn_dataset *dataset = open_set("shapes");
    struct ghn_loader_options options = {
        .batch = N, .count = N, .chw = {3, SIDE, SIDE}, .augmentation = {.flip = true}, .seed = 5};
    struct ghn_loader *plain = open_loader(dataset, &options);
    options.chw[1] = options.chw[2] = LARGE;
    struct ghn_loader *bordered = open_loader(dataset, &options);
    const struct ghn_batch *small = next(plain), *large = next(bordered);
    for (int i = 0; i < N; i++)
        for (int y = 0; y < LARGE; y++)
            for (int x = 0; x < LARGE; x++)
                for (int c = 0; c < 3; c++) {
                    bool in = y >= AT && y < AT + SIDE && x >= AT && x < AT + SIDE;
                    float expected =
                        in ? small->images[((i * SIDE + y - AT) * SIDE + x - AT) * 3 + c]
                           : -dataset->mean[c] / dataset->std[c];
                    assert_true(large->images[((i * LARGE + y) * LARGE + x) * 3 + c] == expected);
                }
    ghn_loader_free(plain);
    ghn_loader_free(bordered);
    ghn_dataset_free(dataset);
}

/* Smaller images are the means of 2 x 2 pixels of those that the same augmentation gives. */
static void images_are_shrunk(void **state) {
    (void)state;
    enum { HALF = SIDE / 2 };
    struct ghn_dataset *dataset = open_set("shapes");
    struct ghn_loader_options options = augmented;
    options.augmentation.cutout = 0;
    struct ghn_loader *whole = open_loader(dataset, &options);
    options.chw[1] = options.chw[2] = HALF;
    struct ghn_loader *half = open_loader(dataset, &options);
    const struct ghn_batch *large = next(whole), *small = next(half);
    assert_memory_equal(large->labels, small->labels, BATCH * sizeof(*large->labels));
    for (int n = 0; n < BATCH; n++)
        for (int i = 0; i < HALF * HALF * 3; i++) {
            int c = i % 3, x = i / 3 % HALF, y = i / 3 / HALF;
            const float *at = large->images + n * PIXELS + (2 * y * SIDE + 2 * x) * 3 + c;
            float mean = (at[0] + at[3] + at[SIDE * 3] + at[SIDE * 3 + 3]) / 4;
            assert_float_equal(small->images[n * HALF * HALF * 3 + i], mean, 1e-5f);
        }
    ghn_loader_free(whole);
    ghn_loader_free(half);
    ghn_dataset_free(dataset);
}

/* Every epoch is a permutation, and not the same one. */
static void an_epoch_has_every_image_once(void **state) {
    (void)state;
    char *folder = cifar_folder();
    struct ghn_dataset *dataset = open_set(folder);
    const struct ghn_loader_options options = {
        .batch = 10, .chw = {3, SIDE, SIDE}, .count = 30, .shuffle = true, .seed = 1};
    struct ghn_loader *loader = open_loader(dataset, &options);
    float first[2];
    for (int epoch = 0; epoch < 2; epoch++) {
        int counts[10] = {0};
        for (int i = 0; i < 3; i++) {
            const struct ghn_batch *batch = next(loader);
            for (int k = 0; k < batch->n; k++)
                counts[batch->labels[k]]++;
            if (i == 0)
                first[epoch] = batch->images[0] + 10 * batch->images[PIXELS];
        }
        for (int k = 0; k < 10; k++)
            assert_int_equal(counts[k], 3);
    }
    assert_true(first[0] != first[1]);
    ghn_loader_free(loader);
    ghn_dataset_free(dataset);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_depend_on_their_number_alone),
        cmocka_unit_test(cifar10_is_read),
        cmocka_unit_test(shots_are_the_first_of_each_class),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(sizes_must_fit),
        cmocka_unit_test(images_are_shrunk),
        cmocka_unit_test(images_get_a_border),
        cmocka_unit_test(an_epoch_has_every_image_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
