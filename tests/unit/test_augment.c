/* Which images a batch has, and what is done to them, against plain twins that look for the crop,
 * the mirroring and the square that were drawn. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/dataset_impl.h"
#include "data/loader.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE * 3, BATCH = 50 };

static struct ghn_dataset *shapes;

static int open_shapes(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    return ghn_dataset_open("shapes", &shapes, &err) == GHN_OK ? 0 : -1;
}

static int close_shapes(void **state) {
    (void)state;
    ghn_dataset_free(shapes);
    return 0;
}

static struct ghn_loader *open_loader(struct ghn_loader_options options) {
    struct ghn_loader *loader = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    options.chw[0] = 3;
    options.chw[1] = options.chw[2] = SIDE;
    if (ghn_loader_new(shapes, &options, &loader, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return loader;
}

static const struct ghn_batch *next(struct ghn_loader *loader) {
    const struct ghn_batch *batch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_loader_next(loader, &batch, &err), GHN_OK);
    return batch;
}

/* --- Which images --- */

/* The value of a byte, as normalised. */
static float normal(int byte) {
    return (float)((byte / 255.0 - 0.5) / 0.25);
}

static bool same(float got, float expected) {
    return fabsf(got - expected) < 1e-5f;
}

/* The image of [first, first + n) that these pixels show; -1 if none. */
static int recognise(const float *image, enum ghn_split split, int first, int n) {
    for (int i = first; i < first + n; i++) {
        uint8_t drawn[PIXELS];
        ghn__shapes_draw(split, i, drawn);
        int p = 0;
        while (p < PIXELS && same(image[p], normal(drawn[p])))
            p++;
        if (p == PIXELS)
            return i;
    }
    return -1;
}

static void without_shuffling_the_order_is_the_files(void **state) {
    (void)state;
    struct ghn_loader *loader = open_loader((struct ghn_loader_options){
        .split = GHN_SPLIT_TEST, .batch = 8, .first = 100, .count = 20});
    assert_int_equal(ghn_loader_images(loader), 20);
    assert_int_equal(ghn_loader_batches(loader), 3);
    for (int k = 0; k < 6; k++) {
        const struct ghn_batch *batch = next(loader);
        assert_int_equal(batch->n, k % 3 == 2 ? 4 : 8);
        for (int i = 0; i < batch->n; i++) {
            int image = 100 + k % 3 * 8 + i;
            assert_int_equal(recognise(batch->images + i * PIXELS, GHN_SPLIT_TEST, image, 1),
                             image);
            assert_int_equal(batch->labels[i], ghn__shapes_label(image));
        }
    }
    ghn_loader_free(loader);
}

static void an_epoch_can_drop_its_last_batch(void **state) {
    (void)state;
    struct ghn_loader_options options = {.batch = 8, .count = 20, .drop_last = true};
    struct ghn_loader *loader = open_loader(options);
    assert_int_equal(ghn_loader_batches(loader), 2);
    for (int k = 0; k < 5; k++)
        assert_int_equal(next(loader)->n, 8);
    ghn_loader_free(loader);
    struct ghn_err err = GHN_ERR_INIT;
    options = (struct ghn_loader_options){
        .batch = 21, .chw = {3, SIDE, SIDE}, .count = 20, .drop_last = true};
    assert_int_equal(ghn_loader_new(shapes, &options, &loader, &err), GHN_OUT_OF_RANGE);
    options = (struct ghn_loader_options){.batch = 8, .chw = {3, SIDE, SIDE}, .first = 50000};
    assert_int_equal(ghn_loader_new(shapes, &options, &loader, &err), GHN_OUT_OF_RANGE);
}

/* For sizes about powers of two, where the walk of the permutation is longest and shortest. */
static void shuffling_is_a_permutation(void **state) {
    (void)state;
    const int sizes[] = {1, 2, 3, 4, 5, 16, 17, 63};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        int n = sizes[k], order[3][64], moved = 0;
        struct ghn_loader *loader = open_loader((struct ghn_loader_options){
            .batch = n, .first = 7, .count = n, .shuffle = true, .seed = 9, .threads = 2});
        for (int epoch = 0; epoch < 3; epoch++) {
            const struct ghn_batch *batch = next(loader);
            uint64_t seen = 0;
            for (int i = 0; i < n; i++) {
                int image = recognise(batch->images + i * PIXELS, GHN_SPLIT_TRAIN, 7, n);
                assert_in_range(image, 7, 7 + n - 1);
                assert_int_equal(batch->labels[i], ghn__shapes_label(image));
                seen |= UINT64_C(1) << (image - 7);
                order[epoch][i] = image;
                moved += image != 7 + i;
            }
            assert_true(seen == (UINT64_C(1) << n) - 1);
        }
        if (n >= 16) {
            assert_true(moved > 2 * n);
            assert_memory_not_equal(order[0], order[1], sizeof(int) * (size_t)n);
            assert_memory_not_equal(order[1], order[2], sizeof(int) * (size_t)n);
        }
        ghn_loader_free(loader);
    }
}

/* --- What is done to them --- */

/* What was drawn for an image. */
struct drawn {
    int dy, dx;
    bool flip;
};

/* Pixel p (row, column, channel) of the plain twin: the crop of the padded picture, then mirrored.
 */
static float twin(const uint8_t *hwc, const struct drawn *d, int p) {
    int y = p / 3 / SIDE, x = p / 3 % SIDE, c = p % 3;
    if (d->flip)
        x = SIDE - 1 - x;
    y += d->dy;
    x += d->dx;
    bool inside = y >= 0 && y < SIDE && x >= 0 && x < SIDE;
    return normal(inside ? hwc[(y * SIDE + x) * 3 + c] : 0);
}

/* How many of the image's values differ from the twin's; all of them must then be zeros. */
static int differences(const float *image, const uint8_t *hwc, const struct drawn *d) {
    int n = 0;
    for (int p = 0; p < PIXELS; p++) {
        if (same(image[p], twin(hwc, d, p)))
            continue;
        if (image[p] != 0)
            return PIXELS;
        n++;
    }
    return n;
}

/* Looks for the crop and the mirroring that give the image but for `most` values cut out. */
static bool find(const float *image, int i, int pad, int most, struct drawn *ret) {
    uint8_t hwc[PIXELS];
    ghn__shapes_draw(GHN_SPLIT_TRAIN, i, hwc);
    for (int k = 0; k < 2 * (2 * pad + 1) * (2 * pad + 1); k++) {
        struct drawn d = {k / 2 / (2 * pad + 1) - pad, k / 2 % (2 * pad + 1) - pad, k % 2};
        if (differences(image, hwc, &d) <= most) {
            *ret = d;
            return true;
        }
    }
    return false;
}

static void crops_and_mirroring_equal_the_plain_twin(void **state) {
    (void)state;
    enum { PAD = 2, PLACES = 2 * PAD + 1 };
    struct ghn_loader *loader = open_loader((struct ghn_loader_options){
        .batch = BATCH, .augmentation = {.pad = PAD, .flip = true}, .seed = 5});
    int counts[PLACES][PLACES] = {0}, flips = 0, n = 0;
    for (int k = 0; k < 8; k++) {
        const struct ghn_batch *batch = next(loader);
        for (int i = 0; i < BATCH; i++, n++) {
            struct drawn d;
            if (!find(batch->images + i * PIXELS, n, PAD, 0, &d))
                fail_msg("image %d is no crop of what it was", n);
            counts[d.dy + PAD][d.dx + PAD]++;
            flips += d.flip;
        }
    }
    /* 400 draws: each of the 25 places 16 times on average, with a deviation of 4; half mirrored,
     * with a deviation of 10. */
    for (int y = 0; y < PLACES; y++)
        for (int x = 0; x < PLACES; x++)
            assert_in_range(counts[y][x], 2, 36);
    assert_in_range(flips, 155, 245);
    ghn_loader_free(loader);
}

/* Bounds of the zeros of an image, as (top, bottom, left, right), the ends excluded; false if they
 * are no full rectangle. */
static bool zeros_of(const float *image, int box[4]) {
    int n = 0;
    box[0] = box[2] = SIDE;
    box[1] = box[3] = 0;
    for (int p = 0; p < PIXELS; p += 3) {
        int y = p / 3 / SIDE, x = p / 3 % SIDE;
        if (image[p] != 0 || image[p + 1] != 0 || image[p + 2] != 0)
            continue;
        n++;
        box[0] = y < box[0] ? y : box[0];
        box[1] = y >= box[1] ? y + 1 : box[1];
        box[2] = x < box[2] ? x : box[2];
        box[3] = x >= box[3] ? x + 1 : box[3];
    }
    return n == (box[1] - box[0]) * (box[3] - box[2]);
}

/* A square of zeros centred on any pixel, so that at a border half of it may be missing, no more.
 */
static void a_square_is_cut_out(void **state) {
    (void)state;
    enum { CUT = 8 };
    struct ghn_loader *loader = open_loader(
        (struct ghn_loader_options){.batch = BATCH, .augmentation = {.cutout = CUT}, .seed = 6});
    int whole = 0, tops[SIDE] = {0}, n = 0, distinct = 0;
    for (int k = 0; k < 8; k++) {
        const struct ghn_batch *batch = next(loader);
        for (int i = 0; i < BATCH; i++, n++) {
            const float *image = batch->images + i * PIXELS;
            int box[4];
            struct drawn d;
            assert_true(zeros_of(image, box));
            int height = box[1] - box[0], width = box[3] - box[2];
            assert_in_range(height, CUT / 2, CUT);
            assert_in_range(width, CUT / 2, CUT);
            assert_true(height == CUT || box[0] == 0 || box[1] == SIDE);
            assert_true(width == CUT || box[2] == 0 || box[3] == SIDE);
            assert_true(find(image, n, 0, 3 * height * width, &d));
            whole += height == CUT && width == CUT;
            tops[box[0]]++;
        }
    }
    for (int y = 0; y < SIDE; y++)
        distinct += tops[y] > 0;
    assert_in_range(whole, 190, 290); /* (25 / 32)^2 of 400 are 244 */
    assert_true(distinct >= SIDE - CUT);
    ghn_loader_free(loader);
}

/* Epochs draw anew, and so do seeds; the same seed gives the same. */
static void draws_depend_on_seed_and_epoch(void **state) {
    (void)state;
    struct ghn_loader_options options = {
        .batch = 20, .count = 20, .augmentation = {.pad = 4, .flip = true}, .seed = 1};
    size_t bytes = 20 * PIXELS * sizeof(float);
    struct ghn_loader *a = open_loader(options), *b = open_loader(options);
    options.seed = 2;
    struct ghn_loader *c = open_loader(options);
    float *first = malloc(bytes);
    assert_non_null(first);
    memcpy(first, next(a)->images, bytes);
    assert_memory_equal(first, next(b)->images, bytes);
    assert_memory_not_equal(first, next(c)->images, bytes);
    assert_memory_not_equal(first, next(a)->images, bytes);
    free(first);
    ghn_loader_free(a);
    ghn_loader_free(b);
    ghn_loader_free(c);
}

static void running_out_of_memory_is_reported(void **state) {
    (void)state;
    const struct ghn_loader_options options = {
        .batch = 4, .chw = {3, SIDE, SIDE}, .n_shots = 3, .threads = 3};
    int failures = 0;
    for (int n = 1; n < 100; n++) {
        struct ghn_loader *loader = NULL;
        struct ghn_err err = GHN_ERR_INIT;
        ghn_mem_fail_at(n, 0);
        enum ghn_status status = ghn_loader_new(shapes, &options, &loader, &err);
        ghn_mem_fail_at(0, 0);
        if (status == GHN_OK) {
            ghn_loader_free(loader);
            break;
        }
        assert_int_equal(status, GHN_NO_MEMORY);
        assert_null(loader);
        failures++;
    }
    assert_in_range(failures, 5, 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_shuffling_the_order_is_the_files),
        cmocka_unit_test(an_epoch_can_drop_its_last_batch),
        cmocka_unit_test(shuffling_is_a_permutation),
        cmocka_unit_test(crops_and_mirroring_equal_the_plain_twin),
        cmocka_unit_test(a_square_is_cut_out),
        cmocka_unit_test(draws_depend_on_seed_and_epoch),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, open_shapes, close_shapes);
}
