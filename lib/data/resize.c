/* Antialiased bilinear scaling, as PIL and torchvision do it: a triangle filter as wide as the
 * reduction, one axis after the other. */
#include <math.h>

#include "data/dataset_impl.h"

/* The weights of one axis: output o is the sum of weights[o * taps + k] * input[first[o] + k]. */
struct filter {
    int taps;
    int *first;
    float *weights;
};

static void filter_done(struct filter *filter) {
    ghn_free(filter->first);
    ghn_free(filter->weights);
}

/* Output o of `out` covers [start + o * step, start + (o + 1) * step) of an axis of `in` pixels. */
static bool filter_new(struct filter *filter, int in, double start, double length, int out) {
    double step = length / out, reach = fmax(step, 1.0);
    filter->taps = 2 * (int)ceil(reach) + 1;
    filter->first = ghn_calloc((size_t)out, sizeof *filter->first);
    filter->weights = ghn_calloc((size_t)out * (size_t)filter->taps, sizeof *filter->weights);
    if (!filter->first || !filter->weights)
        return false;
    for (int o = 0; o < out; o++) {
        double centre = start + (o + 0.5) * step, sum = 0;
        int first = (int)fmax(floor(centre - reach + 0.5), 0),
            last = (int)fmin(floor(centre + reach + 0.5), in);
        if (last - first > filter->taps)
            last = first + filter->taps;
        float *weights = filter->weights + (size_t)o * (size_t)filter->taps;
        filter->first[o] = first < in ? first : in - 1;
        for (int i = first; i < last; i++) {
            double w = fmax(1.0 - fabs((i + 0.5 - centre) / reach), 0);
            weights[i - first] = (float)w;
            sum += w;
        }
        if (sum <= 0)
            weights[0] = 1, sum = 1;
        for (int k = 0; k < filter->taps; k++)
            weights[k] = (float)(weights[k] / sum);
    }
    return true;
}

/* One row of the picture, scaled along its length. */
static void scale_row(const struct ghn__picture *picture, const struct filter *across, int y,
                      int out_width, float *to) {
    int channels = picture->channels;
    const uint8_t *row = picture->pixels + (size_t)y * (size_t)picture->width * (size_t)channels;
    for (int o = 0; o < out_width; o++)
        for (int c = 0; c < channels; c++) {
            float sum = 0;
            for (int k = 0; k < across->taps && across->first[o] + k < picture->width; k++)
                sum += across->weights[(size_t)o * (size_t)across->taps + (size_t)k] *
                       row[(across->first[o] + k) * channels + c];
            to[o * channels + c] = sum;
        }
}

/* rows holds the picture's rows from down->first[0] on. */
static void scale_columns(const struct ghn__picture *picture, const struct filter *down,
                          const float *rows, int out_height, int width, float *out) {
    for (int o = 0; o < out_height; o++)
        for (int i = 0; i < width; i++) {
            float sum = 0;
            for (int k = 0; k < down->taps && down->first[o] + k < picture->height; k++)
                sum +=
                    down->weights[(size_t)o * (size_t)down->taps + (size_t)k] *
                    rows[(size_t)(down->first[o] - down->first[0] + k) * (size_t)width + (size_t)i];
            out[(size_t)o * (size_t)width + (size_t)i] = sum;
        }
}

enum ghn_status ghn__resize(const struct ghn__picture *picture, const struct ghn__rectangle *from,
                            int out_height, int out_width, float *out, struct ghn_err *err) {
    struct filter across = {0}, down = {0};
    int width = out_width * picture->channels;
    float *rows = NULL;
    bool ok = filter_new(&across, picture->width, from->left, from->width, out_width) &&
              filter_new(&down, picture->height, from->top, from->height, out_height);
    if (ok) {
        int first = down.first[0], last = down.first[out_height - 1] + down.taps;
        last = last < picture->height ? last : picture->height;
        rows = ghn_malloc((size_t)(last - first) * (size_t)width * sizeof *rows);
        ok = rows != NULL;
        for (int y = first; ok && y < last; y++)
            scale_row(picture, &across, y, out_width, rows + (size_t)(y - first) * (size_t)width);
        if (ok)
            scale_columns(picture, &down, rows, out_height, width, out);
    }
    filter_done(&across);
    filter_done(&down);
    ghn_free(rows);
    return ok ? GHN_OK : ghn_fail_memory(err);
}
