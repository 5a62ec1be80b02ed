/* The convolutional decoder over all lanes of a meta-batch, and back (compare decode_conv.c):
 *
 *   a = ReLU(fc[position] e)    lanes_a (n_lanes, 4 hid), by runs: lanes of one group and position
 *   b = ReLU(conv0 a)           lanes_b (n_lanes, 8 hid)
 *   W = conv2 b                 the groups' values (n_lanes, O * I), of which a group needs only
 *                               rows o < O, i < I of conv2
 *
 * Lock rule: tasks of a step write disjoint parts of one matrix: some lanes' rows, or some rows of
 * a layer's gradient, to which the groups are added in their order. */
#include <string.h>

#include "ghn/rows.h"
#include "ghn/tape_impl.h"

enum {
    LANES = 256,    /* of a task */
    COLUMNS = 1024, /* of a task that makes values */
    PARTS = 8       /* tasks of conv0's gradient */
};

struct work {
    const struct ghn_hypernet *h;
    struct ghn_tape *tape;
    size_t hid, side, I; /* I: of max_shape, the inputs of conv2's rows o * I + i */
};

static struct work work_init(const struct ghn_hypernet *h, struct ghn_tape *tape) {
    return (struct work){h, tape, (size_t)h->config.hid, (size_t)h->config.max_shape[3],
                         (size_t)h->config.max_shape[1]};
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t pieces(size_t n, size_t of) {
    return (n + of - 1) / of;
}

/* fc's layer (4 hid, hid) of one position, among the values or the gradients. */
static struct ghn__rows fc_of(const struct work *work, float *const *tensors, int position) {
    return (struct ghn__rows){tensors[GHN__FC_W] + (size_t)position * work->hid,
                              work->side * work->side * work->hid};
}

/* --- Forward --- */

static void make_a(void *context, int task) {
    const struct work *work = context;
    const struct ghn_tape *tape = work->tape;
    const struct ghn__tape_run *run = &tape->runs[task];
    size_t hid = work->hid;
    for (size_t l = run->first_lane; l < run->first_lane + run->n_lanes; l++)
        memcpy(tape->lanes_e + l * hid,
               tape->embeddings + tape->weights[tape->lane_weight[l]].node * hid,
               hid * sizeof(float));
    struct ghn__rows a = ghn__rows_from(tape->lanes_a, 4 * hid, run->first_lane);
    ghn__rows_linear(a, ghn__rows_from(tape->lanes_e, hid, run->first_lane),
                     fc_of(work, work->h->tensors, run->position), run->n_lanes, 4 * hid, hid);
    ghn__rows_add_bias(a, work->h->tensors[GHN__FC_B] + run->position, work->side * work->side,
                       run->n_lanes, 4 * hid, true);
}

static void make_b(void *context, int task) {
    const struct work *work = context;
    const struct ghn_tape *tape = work->tape;
    size_t hid = work->hid, first = (size_t)task * LANES;
    size_t n = least(LANES, tape->n_lanes - first);
    struct ghn__rows b = ghn__rows_from(tape->lanes_b, 8 * hid, first);
    ghn__rows_linear(b, ghn__rows_from(tape->lanes_a, 4 * hid, first),
                     ghn__rows_from(work->h->tensors[GHN__CONV0_W], 4 * hid, 0), n, 8 * hid,
                     4 * hid);
    ghn__rows_add_bias(b, work->h->tensors[GHN__CONV0_B], 1, n, 8 * hid, true);
}

/* The rows of conv2 that a group needs, one after another. */
static void gather_conv2(void *context, int task) {
    const struct work *work = context;
    const struct ghn__tape_group *group = &work->tape->groups[task];
    const float *weight = work->h->tensors[GHN__CONV2_W], *bias = work->h->tensors[GHN__CONV2_B];
    size_t in = 8 * work->hid, I = (size_t)group->I;
    for (size_t o = 0; o < (size_t)group->O; o++) {
        memcpy(group->bias + o * I, bias + o * work->I, I * sizeof(float));
        if (group->packed)
            memcpy(group->packed + o * I * in, weight + o * work->I * in, I * in * sizeof(float));
    }
}

static struct ghn__rows conv2_of(const struct work *work, const struct ghn__tape_group *group) {
    return ghn__rows_from(group->packed ? group->packed : work->h->tensors[GHN__CONV2_W],
                          8 * work->hid, 0);
}

/* Some lanes of a group, and some of its columns. */
struct piece {
    const struct ghn__tape_group *group;
    size_t lane, n_lanes, column, n_columns;
};

/* Piece number `task`, where the groups one after another are cut into pieces of LANES lanes and
 * `columns` columns. */
static struct piece piece_of(const struct ghn_tape *tape, int task, size_t columns) {
    const struct ghn__tape_group *group = tape->groups;
    size_t t = (size_t)task, n;
    for (; t >= (n = pieces(group->n_lanes, LANES) * pieces(group->n, columns)); group++)
        t -= n;
    struct piece piece = {.group = group};
    piece.lane = t / pieces(group->n, columns) * LANES;
    piece.column = t % pieces(group->n, columns) * columns;
    piece.n_lanes = least(LANES, group->n_lanes - piece.lane);
    piece.n_columns = least(columns, group->n - piece.column);
    return piece;
}

static int n_pieces(const struct ghn_tape *tape, size_t columns) {
    size_t n = 0;
    for (int g = 0; g < tape->n_groups; g++)
        n += pieces(tape->groups[g].n_lanes, LANES) * pieces(tape->groups[g].n, columns);
    return (int)n;
}

static void make_values(void *context, int task) {
    const struct work *work = context;
    struct piece piece = piece_of(work->tape, task, COLUMNS);
    const struct ghn__tape_group *group = piece.group;
    size_t in = 8 * work->hid, at = piece.lane * group->n + piece.column;
    struct ghn__rows w = conv2_of(work, group);
    struct ghn__rows values = {group->values + at, group->n};
    w.data += piece.column * w.stride;
    ghn__rows_linear(values,
                     ghn__rows_from(work->tape->lanes_b, in, group->first_lane + piece.lane), w,
                     piece.n_lanes, piece.n_columns, in);
    ghn__rows_add_bias(values, group->bias + piece.column, 1, piece.n_lanes, piece.n_columns,
                       false);
    for (size_t l = 0; l < piece.n_lanes; l++)
        memset(group->gradient + at + l * group->n, 0, piece.n_columns * sizeof(float));
}

void ghn__tape_conv(const struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool) {
    struct work work = work_init(h, tape);
    ghn_pool_run(pool, tape->n_groups, gather_conv2, &work);
    ghn_pool_run(pool, tape->n_runs, make_a, &work);
    ghn_pool_run(pool, (int)pieces(tape->n_lanes, LANES), make_b, &work);
    ghn_pool_run(pool, n_pieces(tape, COLUMNS), make_values, &work);
}

/* --- Backward --- */

/* The gradient of conv2's rows of outputs o .. o + GHN__CONV2_OUTPUTS - 1, from one group. `sum`
 * has room for them. */
static void conv2_gradient_of(const struct work *work, const struct ghn__tape_group *group,
                              size_t o, float *sum) {
    float *weight = work->h->gradients[GHN__CONV2_W], *bias = work->h->gradients[GHN__CONV2_B];
    size_t in = 8 * work->hid, I = (size_t)group->I;
    size_t n_o = least(GHN__CONV2_OUTPUTS, (size_t)group->O - o);
    struct ghn__rows b = ghn__rows_from(work->tape->lanes_b, in, group->first_lane);
    struct ghn__rows d = {group->gradient + o * I, group->n};
    for (size_t k = 0; k < n_o; k++)
        ghn__rows_bias_gradient(bias + (o + k) * work->I, 1,
                                (struct ghn__rows){d.data + k * I, group->n}, group->n_lanes, I);
    if (I == work->I) {
        ghn__rows_linear_gradient(ghn__rows_from(weight, in, o * I), d, b, group->n_lanes, n_o * I,
                                  in);
        return;
    }
    memset(sum, 0, n_o * I * in * sizeof(float));
    ghn__rows_linear_gradient(ghn__rows_from(sum, in, 0), d, b, group->n_lanes, n_o * I, in);
    for (size_t k = 0; k < n_o; k++)
        for (size_t j = 0; j < I * in; j++)
            weight[(o + k) * work->I * in + j] += sum[k * I * in + j];
}

static void conv2_gradient(void *context, int task) {
    const struct work *work = context;
    const struct ghn_tape *tape = work->tape;
    size_t o = (size_t)task * GHN__CONV2_OUTPUTS,
           room = GHN__CONV2_OUTPUTS * work->I * 8 * work->hid;
    for (int g = 0; g < tape->n_groups; g++)
        if (o < (size_t)tape->groups[g].O)
            conv2_gradient_of(work, &tape->groups[g], o, tape->conv2_sums + (size_t)task * room);
}

/* d b and d a of some lanes of a group, before their ReLUs. */
static void back_to_a(void *context, int task) {
    const struct work *work = context;
    const struct ghn_tape *tape = work->tape;
    struct piece piece = piece_of(tape, task, SIZE_MAX / 2);
    size_t hid = work->hid, lane = piece.group->first_lane + piece.lane;
    struct ghn__rows d_b = ghn__rows_from(tape->d_lanes_b, 8 * hid, lane);
    struct ghn__rows d_a = ghn__rows_from(tape->d_lanes_a, 4 * hid, lane);
    ghn__rows_linear_back(d_b, ghn__rows_from(piece.group->gradient, piece.group->n, piece.lane),
                          conv2_of(work, piece.group), piece.n_lanes, piece.group->n, 8 * hid,
                          false);
    ghn__rows_relu_back(d_b, ghn__rows_from(tape->lanes_b, 8 * hid, lane), piece.n_lanes, 8 * hid);
    ghn__rows_linear_back(d_a, d_b, ghn__rows_from(work->h->tensors[GHN__CONV0_W], 4 * hid, 0),
                          piece.n_lanes, 8 * hid, 4 * hid, false);
    ghn__rows_relu_back(d_a, ghn__rows_from(tape->lanes_a, 4 * hid, lane), piece.n_lanes, 4 * hid);
}

/* Some rows of conv0's gradient. */
static void conv0_gradient(void *context, int task) {
    const struct work *work = context;
    const struct ghn_tape *tape = work->tape;
    size_t hid = work->hid, rows = 8 * hid, first = rows * (size_t)task / PARTS;
    size_t n = rows * (size_t)(task + 1) / PARTS - first;
    struct ghn__rows d_b = {tape->d_lanes_b + first, rows};
    ghn__rows_linear_gradient(ghn__rows_from(work->h->gradients[GHN__CONV0_W], 4 * hid, first), d_b,
                              ghn__rows_from(tape->lanes_a, 4 * hid, 0), tape->n_lanes, n, 4 * hid);
    ghn__rows_bias_gradient(work->h->gradients[GHN__CONV0_B] + first, 1, d_b, tape->n_lanes, n);
}

/* fc's gradient at one position, and d e of that position's lanes. */
static void fc_back(void *context, int position) {
    const struct work *work = context;
    const struct ghn_tape *tape = work->tape;
    size_t hid = work->hid;
    for (int k = 0; k < tape->n_runs; k++) {
        const struct ghn__tape_run *run = &tape->runs[k];
        if (run->position != position)
            continue;
        struct ghn__rows d_a = ghn__rows_from(tape->d_lanes_a, 4 * hid, run->first_lane);
        ghn__rows_linear_gradient(fc_of(work, work->h->gradients, position), d_a,
                                  ghn__rows_from(tape->lanes_e, hid, run->first_lane), run->n_lanes,
                                  4 * hid, hid);
        ghn__rows_bias_gradient(work->h->gradients[GHN__FC_B] + position, work->side * work->side,
                                d_a, run->n_lanes, 4 * hid);
        ghn__rows_linear_back(ghn__rows_from(tape->d_lanes_e, hid, run->first_lane), d_a,
                              fc_of(work, work->h->tensors, position), run->n_lanes, 4 * hid, hid,
                              false);
    }
}

void ghn__tape_conv_back(struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool) {
    struct work work = work_init(h, tape);
    if (tape->n_lanes == 0)
        return;
    ghn_pool_run(pool, (int)pieces((size_t)h->config.max_shape[0], GHN__CONV2_OUTPUTS),
                 conv2_gradient, &work);
    ghn_pool_run(pool, n_pieces(tape, SIZE_MAX / 2), back_to_a, &work);
    ghn_pool_run(pool, PARTS, conv0_gradient, &work);
    ghn_pool_run(pool, (int)(work.side * work.side), fc_back, &work);
    for (size_t l = 0; l < tape->n_lanes; l++) {
        float *to = tape->d_embeddings + tape->weights[tape->lane_weight[l]].node * work.hid;
        for (size_t j = 0; j < work.hid; j++)
            to[j] += tape->d_lanes_e[l * work.hid + j];
    }
}
