/* Drawn shapes: a data set that needs no file. Image i of a split is a function of (split, i)
 * alone. */
#include <math.h>

#include "base/rng.h"
#include "data/dataset_impl.h"

enum { SIDE = 32, CLASSES = 10 };

static const char *const names[CLASSES] = {
    "circle",           "ring",    "square",  "frame",
    "triangle",         "cross",   "saltire", "horizontal stripes",
    "vertical stripes", "checkers"};

void ghn__shapes_open(struct ghn_dataset *dataset) {
    dataset->kind = GHN_DATASET_SHAPES;
    dataset->n_classes = CLASSES;
    dataset->class_names = names;
    dataset->channels = 3;
    dataset->height = dataset->width = SIDE;
    dataset->n[GHN_SPLIT_TRAIN] = 50000;
    dataset->n[GHN_SPLIT_TEST] = 10000;
    for (int c = 0; c < 3; c++) {
        dataset->mean[c] = 0.5f;
        dataset->std[c] = 0.25f;
    }
}

int ghn__shapes_label(int64_t i) {
    return (int)(ghn_rng_bits(77, 0, (uint64_t)i) % CLASSES);
}

/* Whether the point (x, y), in units of the shape's radius from its centre, belongs to it. */
static bool inside(int label, double x, double y) {
    double r = sqrt(x * x + y * y), far = fmax(fabs(x), fabs(y)), near = fmin(fabs(x), fabs(y));
    switch (label) {
    case 0:
        return r < 1;
    case 1:
        return r < 1 && r > 0.6;
    case 2:
        return far < 0.85;
    case 3:
        return far < 0.9 && far > 0.55;
    case 4:
        return y < 0.8 && y > 1.7 * fabs(x) - 0.9;
    case 5:
        return far < 1 && near < 0.28;
    case 6:
        return far < 0.9 && fabs(fabs(x) - fabs(y)) < 0.35;
    case 7:
        return far < 0.95 && fmod(y + 3.0, 0.7) < 0.35;
    case 8:
        return far < 0.95 && fmod(x + 3.0, 0.7) < 0.35;
    default:
        return far < 0.95 && (fmod(x + 3.0, 0.8) < 0.4) != (fmod(y + 3.0, 0.8) < 0.4);
    }
}

/* A colour apart enough from another to be seen. */
static void choose_colours(uint64_t seed, uint64_t stream, double fore[3], double back[3]) {
    for (int c = 0; c < 3; c++) {
        back[c] = ghn_rng_uniform(seed, stream, (uint64_t)(10 + c));
        fore[c] = ghn_rng_uniform(seed, stream, (uint64_t)(13 + c));
    }
    int c = (int)(ghn_rng_bits(seed, stream, 16) % 3);
    double apart = 0.35 + 0.3 * ghn_rng_uniform(seed, stream, 17);
    fore[c] = back[c] > 0.5 ? back[c] - apart : back[c] + apart;
}

void ghn__shapes_draw(enum ghn_split split, int64_t i, uint8_t *hwc) {
    uint64_t seed = 78 + (uint64_t)split, stream = (uint64_t)i;
    int label = ghn__shapes_label(i);
    double radius = 6 + 8 * ghn_rng_uniform(seed, stream, 0),
           tilt = 0.4 * (ghn_rng_uniform(seed, stream, 1) - 0.5);
    double cx = radius + (SIDE - 2 * radius) * ghn_rng_uniform(seed, stream, 2);
    double cy = radius + (SIDE - 2 * radius) * ghn_rng_uniform(seed, stream, 3);
    double noise = 0.05 + 0.15 * ghn_rng_uniform(seed, stream, 4), fore[3], back[3];
    choose_colours(seed, stream, fore, back);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            double dx = (x + 0.5 - cx) / radius, dy = (y + 0.5 - cy) / radius;
            bool in =
                inside(label, dx * cos(tilt) - dy * sin(tilt), dx * sin(tilt) + dy * cos(tilt));
            for (int c = 0; c < 3; c++) {
                uint64_t at = (uint64_t)((y * SIDE + x) * 3 + c);
                double value = (in ? fore : back)[c] +
                               noise * 2 * (ghn_rng_uniform(seed, stream, 32 + at) - 0.5);
                hwc[at] = (uint8_t)(255.0 * fmin(fmax(value, 0), 1) + 0.5);
            }
        }
}
