/* The mlp decoder over all lanes of a meta-batch, and back (compare decode_mlp.c):
 *
 *   hidden = ReLU(fc0 e)              (n_weights, 2 hid)
 *   W[.][.][position] = fc2 hidden    the groups' values, by runs; all groups have max_shape's I
 *
 * Lock rule: a task makes the values of one run, or the gradient of fc2's rows of one position. */
#include <string.h>

#include "ghn/rows.h"
#include "ghn/tape_impl.h"

struct work {
    const struct ghn_hypernet *h;
    struct ghn_tape *tape;
    size_t hid, positions;
};

static struct work work_init(const struct ghn_hypernet *h, struct ghn_tape *tape) {
    const int *max = h->config.max_shape;
    return (struct work){h, tape, (size_t)h->config.hid, (size_t)max[2] * (size_t)max[3]};
}

/* fc2's rows o * I + i of one position, among the values or the gradients. */
static struct ghn__rows fc2_of(const struct work *work, float *const *tensors, int position) {
    size_t in = 2 * work->hid;
    return (struct ghn__rows){tensors[GHN__MLP2_W] + (size_t)position * in, work->positions * in};
}

static void make_hidden(const struct work *work) {
    struct ghn_tape *tape = work->tape;
    float *const *t = work->h->tensors;
    size_t hid = work->hid, n = (size_t)tape->n_weights;
    struct ghn__rows hidden = ghn__rows_from(tape->hidden, 2 * hid, 0);
    for (size_t w = 0; w < n; w++)
        memcpy(tape->weights_e + w * hid, tape->embeddings + tape->weights[w].node * hid,
               hid * sizeof(float));
    ghn__rows_linear(hidden, ghn__rows_from(tape->weights_e, hid, 0),
                     ghn__rows_from(t[GHN__MLP0_W], hid, 0), n, 2 * hid, hid);
    ghn__rows_add_bias(hidden, t[GHN__MLP0_B], 1, n, 2 * hid, true);
}

static void make_values(void *context, int task) {
    const struct work *work = context;
    struct ghn_tape *tape = work->tape;
    const struct ghn__tape_run *run = &tape->runs[task];
    const struct ghn__tape_group *group = &tape->groups[run->group];
    size_t in = 2 * work->hid, n = run->n_lanes;
    for (size_t l = run->first_lane; l < run->first_lane + n; l++)
        memcpy(tape->lanes_hidden + l * in, tape->hidden + (size_t)tape->lane_weight[l] * in,
               in * sizeof(float));
    struct ghn__rows values = {ghn__lane_row(group, group->values, run->first_lane), group->n};
    ghn__rows_linear(values, ghn__rows_from(tape->lanes_hidden, in, run->first_lane),
                     fc2_of(work, work->h->tensors, run->position), n, group->n, in);
    ghn__rows_add_bias(values, work->h->tensors[GHN__MLP2_B] + run->position, work->positions, n,
                       group->n, false);
    memset(ghn__lane_row(group, group->gradient, run->first_lane), 0, n * group->n * sizeof(float));
}

void ghn__tape_mlp(const struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool) {
    struct work work = work_init(h, tape);
    if (tape->n_weights == 0)
        return;
    make_hidden(&work);
    ghn_pool_run(pool, tape->n_runs, make_values, &work);
}

static void position_back(void *context, int position) {
    const struct work *work = context;
    struct ghn_tape *tape = work->tape;
    size_t in = 2 * work->hid;
    for (int k = 0; k < tape->n_runs; k++) {
        const struct ghn__tape_run *run = &tape->runs[k];
        const struct ghn__tape_group *group = &tape->groups[run->group];
        if (run->position != position)
            continue;
        struct ghn__rows d = {ghn__lane_row(group, group->gradient, run->first_lane), group->n};
        ghn__rows_linear_gradient(fc2_of(work, work->h->gradients, position), d,
                                  ghn__rows_from(tape->lanes_hidden, in, run->first_lane),
                                  run->n_lanes, group->n, in);
        ghn__rows_bias_gradient(work->h->gradients[GHN__MLP2_B] + position, work->positions, d,
                                run->n_lanes, group->n);
        ghn__rows_linear_back(ghn__rows_from(tape->d_lanes_hidden, in, run->first_lane), d,
                              fc2_of(work, work->h->tensors, position), run->n_lanes, group->n, in,
                              false);
    }
}

/* From d hidden, the sum over its lanes, to fc0 and the embeddings. */
static void hidden_back(struct ghn_hypernet *h, const struct work *work) {
    struct ghn_tape *tape = work->tape;
    size_t hid = work->hid, n = (size_t)tape->n_weights;
    struct ghn__rows d = ghn__rows_from(tape->d_hidden, 2 * hid, 0);
    ghn__rows_relu_back(d, ghn__rows_from(tape->hidden, 2 * hid, 0), n, 2 * hid);
    ghn__rows_linear_gradient(ghn__rows_from(h->gradients[GHN__MLP0_W], hid, 0), d,
                              ghn__rows_from(tape->weights_e, hid, 0), n, 2 * hid, hid);
    ghn__rows_bias_gradient(h->gradients[GHN__MLP0_B], 1, d, n, 2 * hid);
    ghn__rows_linear_back(ghn__rows_from(tape->d_weights_e, hid, 0), d,
                          ghn__rows_from(h->tensors[GHN__MLP0_W], hid, 0), n, 2 * hid, hid, false);
    for (size_t w = 0; w < n; w++)
        for (size_t j = 0; j < hid; j++)
            tape->d_embeddings[tape->weights[w].node * hid + j] += tape->d_weights_e[w * hid + j];
}

void ghn__tape_mlp_back(struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool) {
    struct work work = work_init(h, tape);
    size_t in = 2 * work.hid;
    if (tape->n_weights == 0)
        return;
    ghn_pool_run(pool, (int)work.positions, position_back, &work);
    for (size_t l = 0; l < tape->n_lanes; l++)
        for (size_t j = 0; j < in; j++)
            tape->d_hidden[(size_t)tape->lane_weight[l] * in + j] +=
                tape->d_lanes_hidden[l * in + j];
    hidden_back(h, &work);
}
