/* Tapes, and the tensors on them: from lanes to full tensors, and gradients back. */
#include <assert.h>
#include <string.h>

#include "ghn/tape_impl.h"
#include "ghn/tiling.h"

enum ghn_status ghn_tape_new(struct ghn_tape **ret, struct ghn_err *err) {
    struct ghn_tape *tape = ghn_calloc(1, sizeof(*tape));
    if (!tape)
        return ghn_fail_memory(err);
    *ret = tape;
    return GHN_OK;
}

void ghn_tape_free(struct ghn_tape *tape) {
    if (!tape)
        return;
    ghn_free(tape->plan_memory.base);
    ghn_free(tape->memory.base);
    ghn_free(tape->back_memory.base);
    ghn_free(tape);
}

int ghn_tape_m(const struct ghn_tape *tape) {
    return tape->m;
}

const struct ghn_graph *ghn_tape_graph(const struct ghn_tape *tape, int i) {
    assert(i >= 0 && i < tape->m);
    return tape->graphs[i].graph;
}

static struct ghn__tape_slot slot_of(const struct ghn_tape *tape, int i, int slot) {
    assert(i >= 0 && i < tape->m && slot >= 0 && slot < tape->graphs[i].graph->n_slots);
    return tape->slots[tape->graphs[i].first_slot + slot];
}

bool ghn_tape_predicts(const struct ghn_tape *tape, int i, int slot) {
    return slot_of(tape, i, slot).index >= 0;
}

/* --- Weights --- */

/* A weight's tensor as (O, I, height, width). */
struct full {
    int64_t O, I;
    int height, width, n; /* n = height * width */
};

static struct full full_of(const struct ghn_shape *shape) {
    struct full full = {.O = shape->dim[0], .I = shape->dim[1]};
    full.height = shape->ndim > 2 ? (int)shape->dim[2] : 1;
    full.width = shape->ndim > 3 ? (int)shape->dim[3] : 1;
    full.n = full.height * full.width;
    return full;
}

/* Row o of a position of the weight, in the group's values or gradient; kernels larger than the
 * block repeat it. */
static float *lane_at(const struct ghn_tape *tape, const struct ghn__tape_weight *weight,
                      float *matrix, const struct full *full, int position, int o) {
    const struct ghn__tape_group *group = &tape->groups[weight->group];
    int y = position / full->width % weight->height, x = position % full->width % weight->width;
    size_t lane = tape->lane_of[weight->first + (size_t)(y * weight->width + x)];
    return ghn__lane_row(group, matrix, lane) + (size_t)o * (size_t)group->I;
}

/* ret (I of the block, n positions) = row o of the block. */
static void read_row(const struct ghn_tape *tape, const struct ghn__tape_weight *weight,
                     const struct full *full, int o, float *ret) {
    float *values = tape->groups[weight->group].values;
    int n = full->n;
    for (int p = 0; p < n; p++) {
        const float *src = lane_at(tape, weight, values, full, p, o);
        if (n == 1)
            for (int i = 0; i < weight->I; i++)
                ret[i] = weight->scale * src[i];
        else
            for (int i = 0; i < weight->I; i++)
                ret[(size_t)i * (size_t)n + (size_t)p] = weight->scale * src[i];
    }
}

/* Continues ret, of which the first `period` elements are there, periodically to n. */
static void repeat(float *ret, int64_t period, int64_t n) {
    for (int64_t done = period; done < n;) {
        int64_t part = done < n - done ? done : n - done;
        memcpy(ret + done, ret, (size_t)part * sizeof(float));
        done += part;
    }
}

static void read_weight(const struct ghn_tape *tape, const struct ghn__tape_weight *weight,
                        const struct ghn_shape *shape, float *ret) {
    struct full full = full_of(shape);
    int64_t row = full.I * full.n, O = weight->O;
    for (int64_t o = 0; o < O; o++) {
        read_row(tape, weight, &full, (int)o, ret + o * row);
        repeat(ret + o * row, (int64_t)weight->I * full.n, row);
    }
    repeat(ret, O * row, full.O * row);
}

/* The gradient's rows o of inputs i .. i + n - 1 of the tensor, into the block's. */
static void fold_row(struct ghn_tape *tape, const struct ghn__tape_weight *weight,
                     const struct full *full, int o, int n, const float *gradient) {
    float *matrix = tape->groups[weight->group].gradient;
    for (int p = 0; p < full->n; p++) {
        float *dst = lane_at(tape, weight, matrix, full, p, o);
        if (full->n == 1)
            for (int i = 0; i < n; i++)
                dst[i] += weight->scale * gradient[i];
        else
            for (int i = 0; i < n; i++)
                dst[i] += weight->scale * gradient[(size_t)i * (size_t)full->n + (size_t)p];
    }
}

static void fold_weight(struct ghn_tape *tape, const struct ghn__tape_weight *weight,
                        const struct ghn_shape *shape, const float *gradient) {
    struct full full = full_of(shape);
    for (int64_t o = 0; o < full.O; o++) {
        const float *row = gradient + o * full.I * full.n;
        for (int64_t i = 0; i < full.I; i += weight->I) {
            int64_t left = full.I - i;
            fold_row(tape, weight, &full, (int)(o % weight->O),
                     left < weight->I ? (int)left : weight->I, row + i * full.n);
        }
    }
}

/* --- Others, whose blocks lie as they are tiled --- */

struct block {
    struct ghn_shape shape;
    float *values, *gradient;
};

static struct block block_of(const struct ghn_tape *tape, int i, int slot,
                             struct ghn__tape_slot at) {
    struct ghn__plan plan = ghn__plan_slot(&tape->config, tape->graphs[i].graph, slot);
    struct block block = {.shape = plan.block};
    if (at.maker == GHN__MAKE_CLASS_WEIGHT) {
        block.values = tape->classes[at.index].values;
        block.gradient = tape->classes[at.index].gradient;
    } else {
        block.values = tape->vectors[at.index].values;
        block.gradient = tape->vectors[at.index].gradient;
    }
    return block;
}

void ghn_tape_read(const struct ghn_tape *tape, int i, int slot, float *ret) {
    struct ghn__tape_slot at = slot_of(tape, i, slot);
    const struct ghn_slot *of = &tape->graphs[i].graph->slots[slot];
    assert(at.index >= 0);
    if (at.maker == GHN__MAKE_WEIGHT) {
        read_weight(tape, &tape->weights[at.index], &of->shape, ret);
        return;
    }
    struct block block = block_of(tape, i, slot, at);
    struct ghn__tiling tiling;
    ghn__tiling_init(&tiling, &of->shape, &block.shape);
    ghn__tiling_read(&tiling, block.values, sizeof(float), 0, of->numel, ret);
}

void ghn_tape_fold(struct ghn_tape *tape, int i, int slot, const float *gradient) {
    struct ghn__tape_slot at = slot_of(tape, i, slot);
    const struct ghn_slot *of = &tape->graphs[i].graph->slots[slot];
    assert(at.index >= 0);
    if (at.maker == GHN__MAKE_WEIGHT) {
        fold_weight(tape, &tape->weights[at.index], &of->shape, gradient);
        return;
    }
    struct block block = block_of(tape, i, slot, at);
    struct ghn__tiling tiling;
    ghn__tiling_init(&tiling, &of->shape, &block.shape);
    ghn__tiling_fold(&tiling, gradient, of->numel, block.gradient);
}
