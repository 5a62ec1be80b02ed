/* Pictures: JPEG and PNG of every sort that is taken, what is refused, scaling against a plain
 * twin, and folders of pictures. */
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
#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include "base/rng.h"
#include "data/dataset_impl.h"
#include "data/loader.h"

enum { MAX_FILE = 1 << 20 };

struct bytes {
    uint8_t *data;
    size_t n;
};

/* --- Writing --- */

/* Channel c of pixel (y, x): a slope that JPEG keeps well. */
static uint8_t shade(int y, int x, int c) {
    return (uint8_t)(40 + 2 * y + x + 30 * c);
}

static struct bytes make_jpeg(int height, int width, J_COLOR_SPACE space, bool progressive) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr manager;
    int channels = space == JCS_GRAYSCALE ? 1 : space == JCS_CMYK ? 4 : 3;
    uint8_t *row = malloc((size_t)width * (size_t)channels), *data = NULL;
    unsigned long n = 0;
    assert_non_null(row);
    jpeg.err = jpeg_std_error(&manager);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &n);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = channels;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < height; y++) {
        for (int i = 0; i < width * channels; i++)
            row[i] = shade(y, i / channels, i % channels);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    return (struct bytes){data, n};
}

static void to_memory(png_structp png, png_bytep data, png_size_t n) {
    struct bytes *bytes = png_get_io_ptr(png);
    assert_true(bytes->n + n <= MAX_FILE);
    memcpy(bytes->data + bytes->n, data, n);
    bytes->n += n;
}

static void flush_nothing(png_structp png) {
    (void)png;
}

/* A PNG of the colour type (of libpng) and bit depth. A palette's entry k is (k, 2 k, 255 - k);
 * alpha is 0 in the first column, else 255; 16-bit samples are those of 8 bits, times 257. */
static struct bytes make_png(int height, int width, int type, int depth) {
    struct bytes bytes = {malloc(MAX_FILE), 0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(info);
    png_set_write_fn(png, &bytes, to_memory, flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_color palette[256];
    for (int k = 0; k < 256; k++)
        palette[k] = (png_color){(png_byte)k, (png_byte)(2 * k), (png_byte)(255 - k)};
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 256);
    png_write_info(png, info);
    int channels = png_get_channels(png, info), size = depth / 8;
    bool alpha = type & PNG_COLOR_MASK_ALPHA;
    uint8_t row[4096];
    assert_true((size_t)(width * channels * size) <= sizeof(row));
    for (int y = 0; y < height; y++) {
        for (int i = 0; i < width * channels * size; i++) {
            int x = i / size / channels, c = i / size % channels;
            row[i] = alpha && c == channels - 1 ? (x == 0 ? 0 : 255) : shade(y, x, c);
        }
        png_write_row(png, row);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return bytes;
}

/* --- Decoding --- */

static struct ghn__picture decode(struct bytes bytes, int channels, int enough) {
    struct ghn__picture picture;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn__picture_decode(bytes.data, bytes.n, "x", channels, enough, &picture, &err) != GHN_OK)
        fail_msg("%s", err.message);
    return picture;
}

/* Decoding fails with `expected`, names the file, and says `said`. */
static void expect_refusal(struct bytes bytes, enum ghn_status expected, const char *said) {
    struct ghn__picture picture = {.height = -1};
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn__picture_decode(bytes.data, bytes.n, "a.jpg", 3, 8, &picture, &err),
                     expected);
    assert_int_equal(picture.height, -1);
    assert_string_equal(err.where, "a.jpg");
    if (!strstr(err.message, said))
        fail_msg("\"%s\" does not say \"%s\"", err.message, said);
}

static void expect_near(const struct ghn__picture *picture, int y, int x, int c, int expected,
                        int tolerance) {
    int got = picture->pixels[(y * picture->width + x) * picture->channels + c];
    if (abs(got - expected) > tolerance)
        fail_msg("(%d, %d, %d) is %d, not %d", y, x, c, got, expected);
}

static void jpegs_of_every_sort_are_read(void **state) {
    (void)state;
    const struct {
        J_COLOR_SPACE space;
        bool progressive;
    } sorts[] = {{JCS_RGB, false}, {JCS_RGB, true}, {JCS_GRAYSCALE, false}};
    for (int s = 0; s < 3; s++) {
        struct bytes bytes = make_jpeg(33, 50, sorts[s].space, sorts[s].progressive);
        struct ghn__picture picture = decode(bytes, 3, 64);
        assert_int_equal(picture.height, 33);
        assert_int_equal(picture.width, 50);
        for (int y = 0; y < 33; y++)
            for (int x = 0; x < 50; x++)
                for (int c = 0; c < 3; c++)
                    expect_near(&picture, y, x, c, shade(y, x, s == 2 ? 0 : c), 4);
        ghn_free(picture.pixels);
        free(bytes.data);
    }
}

/* The shorter side of 64 may become 32, 16 or 8, never less than enough. */
static void a_jpeg_is_reduced_while_it_is_decoded(void **state) {
    (void)state;
    const int cases[][2] = {{65, 64}, {64, 64}, {33, 64}, {32, 32}, {16, 16}, {9, 16}, {2, 8}};
    struct bytes bytes = make_jpeg(64, 80, JCS_RGB, false);
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        struct ghn__picture picture = decode(bytes, 3, cases[k][0]);
        assert_int_equal(picture.height, cases[k][1]);
        assert_int_equal(picture.width, cases[k][1] * 80 / 64);
        ghn_free(picture.pixels);
    }
    free(bytes.data);
}

static void pngs_of_every_sort_are_read(void **state) {
    (void)state;
    const struct {
        int type, depth;
    } sorts[] = {{PNG_COLOR_TYPE_RGB, 8},   {PNG_COLOR_TYPE_RGB, 16},   {PNG_COLOR_TYPE_GRAY, 8},
                 {PNG_COLOR_TYPE_GRAY, 16}, {PNG_COLOR_TYPE_RGBA, 8},   {PNG_COLOR_TYPE_RGBA, 16},
                 {PNG_COLOR_TYPE_GA, 8},    {PNG_COLOR_TYPE_PALETTE, 8}};
    for (size_t s = 0; s < sizeof(sorts) / sizeof(sorts[0]); s++) {
        int type = sorts[s].type;
        bool grey = !(type & PNG_COLOR_MASK_COLOR), alpha = type & PNG_COLOR_MASK_ALPHA;
        struct bytes bytes = make_png(9, 13, type, sorts[s].depth);
        struct ghn__picture picture = decode(bytes, 3, 64);
        assert_int_equal(picture.height, 9);
        assert_int_equal(picture.width, 13);
        for (int y = 0; y < 9; y++)
            for (int x = 0; x < 13; x++) {
                int k = shade(y, x, 0);
                int entry[3] = {k, 2 * k % 256, 255 - k};
                for (int c = 0; c < 3; c++) {
                    int expected = type == PNG_COLOR_TYPE_PALETTE ? entry[c]
                                   : alpha && x == 0              ? 0
                                                                  : shade(y, x, grey ? 0 : c);
                    expect_near(&picture, y, x, c, expected, sorts[s].depth == 16);
                }
            }
        ghn_free(picture.pixels);
        free(bytes.data);
    }
}

static void what_is_no_picture_is_refused(void **state) {
    (void)state;
    struct bytes cmyk = make_jpeg(16, 16, JCS_CMYK, false);
    expect_refusal(cmyk, GHN_UNSUPPORTED_FILE, "CMYK");
    free(cmyk.data);
    uint8_t text[] = "GIF89a, and no more";
    expect_refusal((struct bytes){text, sizeof(text)}, GHN_INVALID_FILE, "neither JPEG nor PNG");
    expect_refusal((struct bytes){text, 0}, GHN_INVALID_FILE, "neither JPEG nor PNG");
}

/* No file that is cut off is taken for a whole one, wherever it ends. */
static void a_file_that_is_cut_off_is_refused(void **state) {
    (void)state;
    struct bytes files[] = {make_jpeg(24, 24, JCS_RGB, false), make_jpeg(24, 24, JCS_RGB, true),
                            make_png(24, 24, PNG_COLOR_TYPE_RGB, 8)};
    for (int k = 0; k < 3; k++) {
        /* What is cut here lies before the last marker, or the last chunk, which hold no picture.
         */
        size_t end = files[k].n - (k == 2 ? 12 + 8 : 2);
        for (size_t n = 0; n < end; n++) {
            uint8_t *exact = malloc(n + 1); /* so that sanitizers see a read beyond it */
            assert_non_null(exact);
            memcpy(exact + 1, files[k].data, n);
            expect_refusal((struct bytes){exact + 1, n}, GHN_INVALID_FILE, "");
            free(exact);
        }
        free(files[k].data);
    }
}

/* A header that promises more than 64 megapixels is enough to refuse a file, before any is decoded.
 */
static void bombs_are_refused(void **state) {
    (void)state;
    struct bytes jpeg = make_jpeg(8, 8, JCS_RGB, false);
    size_t at = 0;
    while (!(jpeg.data[at] == 0xff && jpeg.data[at + 1] == 0xc0))
        at++;
    memcpy(jpeg.data + at + 5, "\xff\xdc\xff\xdc", 4); /* 65,500 x 65,500 */
    expect_refusal(jpeg, GHN_TOO_LARGE, "pixels");
    free(jpeg.data);
    struct bytes png = make_png(8, 8, PNG_COLOR_TYPE_RGB, 8);
    memcpy(png.data + 16, "\x00\x00\x40\x00\x00\x00\x20\x00", 8); /* 16,384 x 8,192 */
    uLong sum = crc32(crc32(0, NULL, 0), png.data + 12, 17);
    for (int i = 0; i < 4; i++)
        png.data[29 + i] = (uint8_t)(sum >> (24 - 8 * i));
    expect_refusal(png, GHN_TOO_LARGE, "pixels");
    free(png.data);
}

/* A progressive file that goes on refining the same band: its last scan, a thousand times over. */
static void endless_scans_are_refused(void **state) {
    (void)state;
    struct bytes jpeg = make_jpeg(16, 16, JCS_GRAYSCALE, true);
    size_t scan = 0;
    for (size_t i = 0; i + 1 < jpeg.n; i++)
        if (jpeg.data[i] == 0xff && jpeg.data[i + 1] == 0xda)
            scan = i;
    size_t length = jpeg.n - 2 - scan, n = jpeg.n + 1000 * length;
    uint8_t *data = malloc(n);
    assert_non_null(data);
    memcpy(data, jpeg.data, jpeg.n - 2);
    for (size_t k = 0; k < 1000; k++)
        memcpy(data + jpeg.n - 2 + k * length, jpeg.data + scan, length);
    memcpy(data + n - 2, "\xff\xd9", 2);
    expect_refusal((struct bytes){data, n}, GHN_INVALID_FILE, "rogress");
    free(data);
    free(jpeg.data);
}

/* --- Scaling --- */

/* Weight of input i for an output whose centre lies at `centre`, by the triangle filter. */
static double triangle(double i, double centre, double reach) {
    return fmax(0, 1 - fabs((i + 0.5 - centre) / reach));
}

/* One value of the scaled picture, by both sums at once. */
static double plain(const struct ghn__picture *p, const struct ghn__rectangle *r, int height,
                    int width, int oy, int ox, int c) {
    double sy = r->height / height, sx = r->width / width;
    double cy = r->top + (oy + 0.5) * sy, cx = r->left + (ox + 0.5) * sx, sum = 0, weights = 0;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            double w = triangle(y, cy, fmax(sy, 1)) * triangle(x, cx, fmax(sx, 1));
            sum += w * p->pixels[(y * p->width + x) * p->channels + c];
            weights += w;
        }
    return sum / weights;
}

static void scaling_equals_the_plain_twin(void **state) {
    (void)state;
    static const struct {
        int height, width;
        struct ghn__rectangle from;
        int out_height, out_width;
    } cases[] = {{20, 30, {0, 0, 20, 30}, 7, 11},
                 {20, 30, {0, 0, 20, 30}, 20, 30},
                 {9, 5, {0, 0, 9, 5}, 24, 17},
                 {40, 33, {7, 3, 21, 28}, 8, 8},
                 {40, 33, {2.5, 1.25, 35, 30.5}, 16, 13},
                 {1, 1, {0, 0, 1, 1}, 4, 3},
                 {64, 3, {0, 0, 64, 3}, 2, 9},
                 {31, 31, {30, 30, 1, 1}, 5, 5}};
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        int height = cases[k].out_height, width = cases[k].out_width;
        uint8_t pixels[3 * 40 * 40];
        float out[3 * 40 * 40];
        struct ghn__picture picture = {cases[k].height, cases[k].width, 3, pixels};
        struct ghn_err err = GHN_ERR_INIT;
        for (int i = 0; i < picture.height * picture.width * 3; i++)
            pixels[i] = (uint8_t)ghn_rng_bits(5, k, (uint64_t)i);
        assert_int_equal(ghn__resize(&picture, &cases[k].from, height, width, out, &err), GHN_OK);
        for (int i = 0; i < height * width * 3; i++) {
            double expected =
                plain(&picture, &cases[k].from, height, width, i / 3 / width, i / 3 % width, i % 3);
            if (fabs(out[i] - expected) > 1e-3)
                fail_msg("case %zu: value %d is %g, not %g", k, i, (double)out[i], expected);
        }
    }
}

/* --- Folders --- */

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/ghn-pictures-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

static const char *path_of(const char *name) {
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void save(const char *name, struct bytes bytes) {
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.n, file), bytes.n);
    assert_int_equal(fclose(file), 0);
    free(bytes.data);
}

/* Two classes; the test split is called val; beside the pictures lies what is to be passed over. */
static void write_folder(void) {
    const char *folders[] = {"train", "train/cat", "train/ant", "val", "val/cat", "elsewhere"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        assert_int_equal(mkdir(path_of(folders[i]), 0700), 0);
    save("train/cat/2.jpg", make_jpeg(40, 60, JCS_RGB, false));
    save("train/cat/1.PNG", make_png(35, 31, PNG_COLOR_TYPE_PALETTE, 8));
    save("train/ant/1.jpeg", make_jpeg(64, 32, JCS_GRAYSCALE, false));
    save("val/cat/1.png", make_png(32, 32, PNG_COLOR_TYPE_GRAY, 8));
    save("elsewhere/secret.png", make_png(32, 32, PNG_COLOR_TYPE_GRAY, 8));
    save("train/cat/notes.txt", (struct bytes){calloc(1, 1), 1});
    save("train/cat/.hidden.png", (struct bytes){calloc(1, 1), 1});
    char target[256];
    (void)snprintf(target, sizeof(target), "%s", path_of("elsewhere/secret.png"));
    assert_int_equal(symlink(target, path_of("train/cat/link.png")), 0);
    assert_int_equal(symlink("../elsewhere", path_of("train/linked")), 0);
}

static struct ghn_dataset *open_folder(void) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_dataset_open(folder, &dataset, &err) != GHN_OK)
        fail_msg("%s: %s", err.where, err.message);
    return dataset;
}

static struct ghn_loader *open_loader(const struct ghn_dataset *dataset, enum ghn_split split,
                                      int batch, bool augmented) {
    const struct ghn_loader_options options = {
        .split = split,
        .batch = batch,
        .chw = {3, 16, 16},
        .augmentation = {.resized_crop = augmented, .flip = augmented},
        .seed = 4,
        .threads = 2};
    struct ghn_loader *loader = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_loader_new(dataset, &options, &loader, &err), GHN_OK);
    return loader;
}

static void a_folder_is_indexed(void **state) {
    (void)state;
    write_folder();
    struct ghn_dataset *dataset = open_folder();
    assert_int_equal(dataset->kind, GHN_DATASET_FOLDER);
    assert_int_equal(dataset->n_classes, 2);
    assert_string_equal(dataset->class_names[0], "ant");
    assert_string_equal(dataset->class_names[1], "cat");
    assert_int_equal(dataset->n[GHN_SPLIT_TRAIN], 3);
    assert_int_equal(dataset->n[GHN_SPLIT_TEST], 1);
    assert_int_equal(dataset->passed_over, 2);
    assert_string_equal(dataset->impl->files[0][0], "train/ant/1.jpeg");
    assert_string_equal(dataset->impl->files[0][1], "train/cat/1.PNG");
    assert_string_equal(dataset->impl->files[0][2], "train/cat/2.jpg");
    struct ghn_loader *loader = open_loader(dataset, GHN_SPLIT_TEST, 1, false);
    const struct ghn_batch *batch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_loader_next(loader, &batch, &err), GHN_OK);
    assert_int_equal(batch->labels[0], 1);
    /* The middle seven eighths of 32 x 32 on 16 x 16: output (y, x) is centred on 2 + 1.75 (y +
     * 1/2). On a slope the filter keeps the value there. */
    for (int y = 2; y < 14; y++)
        for (int x = 2; x < 14; x++) {
            double value = 40 + 2 * (1.5 + 1.75 * (y + 0.5)) + 1.5 + 1.75 * (x + 0.5);
            double expected = (value / 255 - 0.485) / 0.229;
            assert_true(fabs(batch->images[(y * 16 + x) * 3] - expected) < 0.02);
        }
    ghn_loader_free(loader);
    ghn_dataset_free(dataset);
}

/* Augmented batches are the same whenever they are asked for. */
static void crops_depend_on_the_batch_alone(void **state) {
    (void)state;
    write_folder();
    struct ghn_dataset *dataset = open_folder();
    struct ghn_loader *loader = open_loader(dataset, GHN_SPLIT_TRAIN, 3, true);
    const struct ghn_batch *batch = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    float seen[4][3 * 16 * 16 * 3];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ghn_loader_next(loader, &batch, &err), GHN_OK);
        memcpy(seen[i], batch->images, sizeof(seen[i]));
    }
    assert_memory_not_equal(seen[0], seen[1], sizeof(seen[0]));
    for (int i = 3; i >= 0; i--) {
        ghn_loader_seek(loader, i);
        assert_int_equal(ghn_loader_next(loader, &batch, &err), GHN_OK);
        assert_memory_equal(batch->images, seen[i], sizeof(seen[i]));
    }
    ghn_loader_free(loader);
    ghn_dataset_free(dataset);
}

/* A picture that cannot be decoded, or has become a link, is named by the batch that wants it; the
 * loader goes on after it. */
static void a_bad_picture_is_named(void **state) {
    (void)state;
    write_folder();
    struct ghn_dataset *dataset = open_folder();
    save("train/cat/1.PNG", (struct bytes){calloc(1, 20), 20});
    assert_int_equal(unlink(path_of("train/cat/2.jpg")), 0);
    assert_int_equal(symlink("../../elsewhere/secret.png", path_of("train/cat/2.jpg")), 0);
    struct ghn_loader *loader = open_loader(dataset, GHN_SPLIT_TRAIN, 1, false);
    const struct ghn_batch *batch = NULL;
    struct ghn_err err[4] = {GHN_ERR_INIT, GHN_ERR_INIT, GHN_ERR_INIT, GHN_ERR_INIT};
    assert_int_equal(ghn_loader_next(loader, &batch, &err[0]), GHN_OK);
    assert_int_equal(ghn_loader_next(loader, &batch, &err[1]), GHN_INVALID_FILE);
    assert_non_null(strstr(err[1].where, "train/cat/1.PNG"));
    assert_int_equal(ghn_loader_next(loader, &batch, &err[2]), GHN_IO);
    assert_non_null(strstr(err[2].where, "train/cat/2.jpg"));
    assert_int_equal(ghn_loader_next(loader, &batch, &err[3]), GHN_OK);
    ghn_loader_free(loader);
    ghn_dataset_free(dataset);
}

/* 120 files of three classes, which need no pictures to be listed. */
static void write_classes(const char *below) {
    static const char *const classes[] = {"a", "b", "c"};
    char name[64];
    if (*below)
        assert_int_equal(mkdir(path_of(below), 0700), 0);
    for (int k = 0; k < 3; k++) {
        (void)snprintf(name, sizeof(name), "%s%s", below, classes[k]);
        assert_int_equal(mkdir(path_of(name), 0700), 0);
        for (int i = 0; i < 40; i++) {
            (void)snprintf(name, sizeof(name), "%s%s/%d.png", below, classes[k], i);
            save(name, (struct bytes){calloc(1, 1), 1});
        }
    }
}

/* Any part of the order has all classes, and the split, where it has to be made, as many of each.
 */
static void check_order(const struct ghn_dataset *dataset) {
    assert_int_equal(dataset->n_classes, 3);
    assert_string_equal(dataset->class_names[2], "c");
    assert_int_equal(dataset->n[GHN_SPLIT_TRAIN], 108);
    assert_int_equal(dataset->n[GHN_SPLIT_TEST], 12);
    for (int at = 0; at + 36 <= 108; at += 36) {
        int seen[3] = {0};
        for (int i = at; i < at + 36; i++)
            seen[ghn__dataset_label(dataset, GHN_SPLIT_TRAIN, i)]++;
        for (int k = 0; k < 3; k++)
            assert_in_range(seen[k], 5, 20);
    }
    int held[3] = {0};
    for (int i = 0; i < 12; i++) {
        const char *file = dataset->impl->files[GHN_SPLIT_TEST][i];
        held[ghn__dataset_label(dataset, GHN_SPLIT_TEST, i)]++;
        for (int j = 0; j < 108; j++)
            assert_string_not_equal(file, dataset->impl->files[GHN_SPLIT_TRAIN][j]);
    }
    for (int k = 0; k < 3; k++)
        assert_int_equal(held[k], 4);
}

static void classes_are_mixed_and_a_test_split_is_made(void **state) {
    (void)state;
    write_classes("");
    struct ghn_dataset *dataset = open_folder();
    check_order(dataset);
    ghn_dataset_free(dataset);
    write_classes("train/"); /* then the others are no classes */
    dataset = open_folder();
    check_order(dataset);
    ghn_dataset_free(dataset);
}

static void expect_no_folder(enum ghn_status expected, const char *named) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    assert_int_equal(ghn_dataset_open(folder, &dataset, &err), expected);
    assert_null(dataset);
    if (!strstr(err.where, named))
        fail_msg("\"%s\" does not name %s", err.where, named);
}

static void folders_that_are_none_are_refused(void **state) {
    (void)state;
    expect_no_folder(GHN_UNSUPPORTED_FILE, folder);
    assert_int_equal(symlink("/", path_of("train")), 0);
    expect_no_folder(GHN_UNSUPPORTED_FILE, folder);
    assert_int_equal(unlink(path_of("train")), 0);
    assert_int_equal(mkdir(path_of("train"), 0700), 0);
    expect_no_folder(GHN_INVALID_FILE, "train");
    assert_int_equal(mkdir(path_of("train/cat"), 0700), 0);
    expect_no_folder(GHN_INVALID_FILE, "train");
    save("train/cat/1.png", make_png(8, 8, PNG_COLOR_TYPE_RGB, 8));
    expect_no_folder(GHN_INVALID_FILE, "train"); /* none can be held out */
    assert_int_equal(mkdir(path_of("test"), 0700), 0);
    assert_int_equal(mkdir(path_of("train/dog"), 0700), 0);
    expect_no_folder(GHN_INVALID_FILE, "train/dog"); /* a class without a picture */
    assert_int_equal(rmdir(path_of("train/dog")), 0);
    assert_int_equal(mkdir(path_of("test/dog"), 0700), 0);
    expect_no_folder(GHN_INVALID_FILE, "test/dog");
}

static void running_out_of_memory_is_reported(void **state) {
    (void)state;
    write_folder();
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
    struct bytes files[] = {make_jpeg(24, 24, JCS_RGB, false),
                            make_png(24, 24, PNG_COLOR_TYPE_RGB, 8)};
    for (int k = 0; k < 2; k++) {
        struct ghn__picture picture;
        struct ghn_err err = GHN_ERR_INIT;
        ghn_mem_fail_at(k == 0 ? 2 : 1, 0);
        assert_int_equal(ghn__picture_decode(files[k].data, files[k].n, "x", 3, 8, &picture, &err),
                         GHN_NO_MEMORY);
        ghn_mem_fail_at(0, 0);
        free(files[k].data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpegs_of_every_sort_are_read),
        cmocka_unit_test(a_jpeg_is_reduced_while_it_is_decoded),
        cmocka_unit_test(pngs_of_every_sort_are_read),
        cmocka_unit_test(what_is_no_picture_is_refused),
        cmocka_unit_test(a_file_that_is_cut_off_is_refused),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(endless_scans_are_refused),
        cmocka_unit_test(scaling_equals_the_plain_twin),
#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
        IN_FOLDER(a_folder_is_indexed),
        IN_FOLDER(crops_depend_on_the_batch_alone),
        IN_FOLDER(a_bad_picture_is_named),
        IN_FOLDER(classes_are_mixed_and_a_test_split_is_made),
        IN_FOLDER(folders_that_are_none_are_refused),
        IN_FOLDER(running_out_of_memory_is_reported),
#undef IN_FOLDER
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
