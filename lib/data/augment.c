#include "data/augment.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"

enum { DRAWS = 64 }; /* of an image */

static double uniform(const struct ghn__draws *draws, int k) {
    return ghn_rng_uniform(draws->seed, draws->stream,
                           (uint64_t)draws->position * DRAWS + (uint64_t)k);
}

/* An integer in [0, n). */
static int below(const struct ghn__draws *draws, int k, int n) {
    return (int)(uniform(draws, k) * n);
}

/* Where an image of fixed size is read from: a row of zero pixels lies beyond its border. */
struct placement {
    int dy, dx;
    bool flip;
};

/* A pixel's channel of the network's input out of the data set's. */
static int source_channel(const struct ghn_dataset *dataset, int c) {
    return dataset->channels == 1 ? 0 : c;
}

/* The image in the middle of height x width pixels. */
static void place(const struct ghn_dataset *dataset, const struct ghn_loader_options *options,
                  const uint8_t *hwc, const struct placement *at, int height, int width,
                  float *out) {
    int channels = (int)options->chw[0];
    int top = (height - dataset->height) / 2, left = (width - dataset->width) / 2;
    float scale[3], offset[3];
    for (int c = 0; c < channels; c++) {
        int from = source_channel(dataset, c);
        scale[c] = 1.0f / (255.0f * dataset->std[from]);
        offset[c] = -dataset->mean[from] / dataset->std[from];
    }
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int fy = y - top + at->dy, fx = (at->flip ? width - 1 - x : x) - left + at->dx;
            bool in = fy >= 0 && fy < dataset->height && fx >= 0 && fx < dataset->width;
            const uint8_t *pixel = in ? hwc + (fy * dataset->width + fx) * dataset->channels : NULL;
            float *to = out + (y * width + x) * channels;
            for (int c = 0; c < channels; c++)
                to[c] =
                    (in ? (float)pixel[source_channel(dataset, c)] * scale[c] : 0.0f) + offset[c];
        }
}

/* The means of squares of n x n pixels: (n H, n W, C) -> (H, W, C). */
static void shrink(const struct ghn_loader_options *options, int n, const float *from, float *out) {
    int channels = (int)options->chw[0], height = (int)options->chw[1],
        width = (int)options->chw[2];
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) {
                float sum = 0;
                for (int dy = 0; dy < n; dy++)
                    for (int dx = 0; dx < n; dx++)
                        sum += from[((n * y + dy) * n * width + n * x + dx) * channels + c];
                out[(y * width + x) * channels + c] = sum / (float)(n * n);
            }
}

/* As place, but shrunk. */
static enum ghn_status place_shrunk(const struct ghn_dataset *dataset,
                                    const struct ghn_loader_options *options, const uint8_t *hwc,
                                    const struct placement *at, float *out, struct ghn_err *err) {
    float *whole = ghn_malloc((size_t)options->chw[0] * (size_t)dataset->height *
                              (size_t)dataset->width * sizeof *whole);
    if (!whole)
        return ghn_fail_memory(err);
    place(dataset, options, hwc, at, dataset->height, dataset->width, whole);
    shrink(options, dataset->height / (int)options->chw[1], whole, out);
    ghn_free(whole);
    return GHN_OK;
}

static void cut_out(const struct ghn_loader_options *options, const struct ghn__draws *draws,
                    float *out) {
    int channels = (int)options->chw[0], height = (int)options->chw[1],
        width = (int)options->chw[2], side = options->augmentation.cutout;
    int top = below(draws, 3, height) - side / 2, left = below(draws, 4, width) - side / 2;
    for (int y = top < 0 ? 0 : top; y < top + side && y < height; y++)
        for (int x = left < 0 ? 0 : left; x < left + side && x < width; x++)
            memset(out + (y * width + x) * channels, 0, (size_t)channels * sizeof *out);
}

static enum ghn_status prepare_fixed(const struct ghn_dataset *dataset,
                                     const struct ghn_loader_options *options, int64_t i,
                                     const struct ghn__draws *draws, float *out,
                                     struct ghn_err *err) {
    const struct ghn_augmentation *a = &options->augmentation;
    uint8_t drawn[32 * 32 * 3];
    const uint8_t *hwc = drawn;
    if (dataset->impl->pixels[options->split])
        hwc = dataset->impl->pixels[options->split] +
              i * dataset->height * dataset->width * dataset->channels;
    else
        ghn__shapes_draw(options->split, i, drawn);
    struct placement at = {0};
    if (a->pad > 0) {
        at.dy = below(draws, 0, 2 * a->pad + 1) - a->pad;
        at.dx = below(draws, 1, 2 * a->pad + 1) - a->pad;
    }
    at.flip = a->flip && uniform(draws, 2) < 0.5;
    if (dataset->height > options->chw[1])
        return place_shrunk(dataset, options, hwc, &at, out, err);
    place(dataset, options, hwc, &at, (int)options->chw[1], (int)options->chw[2], out);
    return GHN_OK;
}

/* torchvision's RandomResizedCrop: ten attempts at an area and a ratio, else the largest centred
 * part whose ratio is allowed. */
static struct ghn__rectangle random_crop(const struct ghn__picture *picture,
                                         const struct ghn__draws *draws) {
    const double least = 0.75, most = 4.0 / 3.0; /* width to height */
    double area = (double)picture->height * picture->width;
    for (int attempt = 0; attempt < 10; attempt++) {
        int k = 8 + 4 * attempt;
        double target = area * (0.08 + 0.92 * uniform(draws, k));
        double ratio = exp(log(least) + (log(most) - log(least)) * uniform(draws, k + 1));
        double width = round(sqrt(target * ratio)), height = round(sqrt(target / ratio));
        if (width < 1 || height < 1 || width > picture->width || height > picture->height)
            continue;
        return (struct ghn__rectangle){below(draws, k + 2, picture->height - (int)height + 1),
                                       below(draws, k + 3, picture->width - (int)width + 1), height,
                                       width};
    }
    double height = fmin(picture->height, round(picture->width / least));
    double width = fmin(picture->width, round(picture->height * most));
    return (struct ghn__rectangle){floor((picture->height - height) / 2),
                                   floor((picture->width - width) / 2), height, width};
}

/* The part that remains when the shorter side is scaled to 8 / 7 of the target and the middle is
 * cut out. */
static struct ghn__rectangle centre_crop(const struct ghn__picture *picture, int height,
                                         int width) {
    double per_pixel =
        fmin((double)picture->height / height, (double)picture->width / width) * 7.0 / 8.0;
    double h = per_pixel * height, w = per_pixel * width;
    return (struct ghn__rectangle){(picture->height - h) / 2, (picture->width - w) / 2, h, w};
}

static void normalise(const struct ghn_dataset *dataset, const struct ghn_loader_options *options,
                      bool flip, const float *from, float *out) {
    int channels = (int)options->chw[0], height = (int)options->chw[1],
        width = (int)options->chw[2];
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) {
                float value =
                    from[(y * width + (flip ? width - 1 - x : x)) * channels + c] / 255.0f;
                out[(y * width + x) * channels + c] = (value - dataset->mean[c]) / dataset->std[c];
            }
}

static enum ghn_status prepare_file(const struct ghn_dataset *dataset,
                                    const struct ghn_loader_options *options, int64_t i,
                                    const struct ghn__draws *draws, float *out,
                                    struct ghn_err *err) {
    const struct ghn_augmentation *a = &options->augmentation;
    int height = (int)options->chw[1], width = (int)options->chw[2],
        channels = (int)options->chw[0];
    char path[4096];
    struct ghn__picture picture;
    snprintf(path, sizeof path, "%s/%s", dataset->impl->path,
             dataset->impl->files[options->split][i]);
    /* a crop takes at least a fourth of a side, most of the time; decoding at a lower scale saves
     * most of the work */
    int64_t side = height > width ? height : width,
            enough = side * (a->resized_crop ? 2 : 1) * 8 / 7;
    enum ghn_status status =
        ghn__picture_read(path, channels, enough < INT_MAX ? (int)enough : INT_MAX, &picture, err);
    if (status)
        return status;
    struct ghn__rectangle crop =
        a->resized_crop ? random_crop(&picture, draws) : centre_crop(&picture, height, width);
    float *scaled = ghn_malloc((size_t)height * (size_t)width * (size_t)channels * sizeof *scaled);
    status =
        scaled ? ghn__resize(&picture, &crop, height, width, scaled, err) : ghn_fail_memory(err);
    if (!status)
        normalise(dataset, options, a->flip && uniform(draws, 2) < 0.5, scaled, out);
    ghn_free(scaled);
    ghn_free(picture.pixels);
    return status;
}

enum ghn_status ghn__prepare(const struct ghn_dataset *dataset,
                             const struct ghn_loader_options *options, int64_t i,
                             const struct ghn__draws *draws, float *out, struct ghn_err *err) {
    enum ghn_status status = dataset->kind == GHN_DATASET_FOLDER
                                 ? prepare_file(dataset, options, i, draws, out, err)
                                 : prepare_fixed(dataset, options, i, draws, out, err);
    if (!status && options->augmentation.cutout > 0)
        cut_out(options, draws, out);
    return status;
}
