/* Weights of classifiers (ghn2-spec C8) and their gradients, one network after the other: there is
 * little to compute. */
#include <string.h>

#include "ghn/rows.h"
#include "ghn/tape_impl.h"

/* A classifier's weight w (rows, I) and what it is made of. */
struct work {
    const struct ghn_hypernet *h;
    const struct ghn_tape *tape;
    const struct ghn__tape_class *class;
    const struct ghn__tape_weight *weight;
    int number;               /* of the class */
    size_t rows, I, O, max_I; /* O, max_I: of max_shape */
};

static struct work work_init(const struct ghn_hypernet *h, const struct ghn_tape *tape, int c) {
    const struct ghn__tape_class *class = &tape->classes[c];
    const struct ghn__tape_weight *weight = &tape->weights[class->weight];
    const int *max = h->config.max_shape;
    return (struct work){h,
                         tape,
                         class,
                         weight,
                         c,
                         (size_t) class->rows,
                         (size_t)weight->I,
                         (size_t)max[0],
                         (size_t)max[1]};
}

/* --- The convolutional decoder: w = CP ReLU(W) + cb --- */

/* ReLU(W) transposed, (I, O). */
static struct ghn__rows hidden_of(const struct work *work) {
    return (struct ghn__rows){
        work->tape->class_hidden + (size_t)work->number * work->O * work->max_I, work->O};
}

/* W (O, I of the group), or its gradient. */
static float *block_of(const struct work *work, bool gradient) {
    const struct ghn__tape_group *group = &work->tape->groups[work->weight->group];
    return ghn__lane_row(group, gradient ? group->gradient : group->values,
                         work->tape->lane_of[work->weight->first]);
}

static struct ghn__rows class_of(const struct work *work) {
    return (struct ghn__rows){work->class->values, work->I};
}

static void make_conv(const struct work *work) {
    float *const *t = work->h->tensors;
    struct ghn__rows hidden = hidden_of(work);
    const float *block = block_of(work, false);
    size_t group_I = (size_t)work->tape->groups[work->weight->group].I;
    for (size_t i = 0; i < work->I; i++)
        for (size_t o = 0; o < work->O; o++) {
            float w = block[o * group_I + i];
            hidden.data[i * work->O + o] = w <= 0.0f ? 0.0f : w;
        }
    ghn__rows_linear(class_of(work), (struct ghn__rows){t[GHN__CLASS_W], work->O}, hidden,
                     work->rows, work->I, work->O);
    for (size_t k = 0; k < work->rows; k++)
        for (size_t i = 0; i < work->I; i++)
            work->class->values[k * work->I + i] += t[GHN__CLASS_B][k];
}

/* d: the gradient of w before it was scaled. */
static void conv_back(const struct work *work, struct ghn__rows d) {
    const struct ghn_hypernet *h = work->h;
    struct ghn__rows hidden = hidden_of(work), d_hidden = {work->tape->d_class_hidden, work->O};
    struct ghn__rows weight = {h->tensors[GHN__CLASS_W], work->O};
    float *block = block_of(work, true);
    size_t group_I = (size_t)work->tape->groups[work->weight->group].I;
    ghn__rows_linear_back((struct ghn__rows){h->gradients[GHN__CLASS_W], work->O}, d, hidden,
                          work->rows, work->I, work->O, true);
    for (size_t k = 0; k < work->rows; k++)
        for (size_t i = 0; i < work->I; i++)
            h->gradients[GHN__CLASS_B][k] += d.data[k * work->I + i];
    memset(d_hidden.data, 0, work->I * work->O * sizeof(float));
    ghn__rows_linear_gradient(d_hidden, d, weight, work->rows, work->I, work->O);
    ghn__rows_relu_back(d_hidden, hidden, work->I, work->O);
    for (size_t i = 0; i < work->I; i++)
        for (size_t o = 0; o < work->O; o++)
            block[o * group_I + i] += d_hidden.data[i * work->O + o];
}

/* --- The mlp decoder: w is a linear layer of its hidden layer, row k * max_I + i --- */

static struct ghn__rows mlp_hidden_of(const struct work *work, float *matrix) {
    size_t in = 2 * (size_t)work->h->config.hid;
    return (struct ghn__rows){matrix + (size_t)work->class->weight * in, in};
}

static struct ghn__rows mlp_rows_of(const struct work *work, float *const *tensors, size_t k) {
    size_t in = 2 * (size_t)work->h->config.hid;
    return (struct ghn__rows){tensors[GHN__MLP_CLASS_W] + k * work->max_I * in, in};
}

static void make_mlp(const struct work *work) {
    float *const *t = work->h->tensors;
    struct ghn__rows hidden = mlp_hidden_of(work, work->tape->hidden);
    for (size_t k = 0; k < work->rows; k++) {
        struct ghn__rows row = {work->class->values + k * work->I, work->I};
        ghn__rows_linear(row, hidden, mlp_rows_of(work, t, k), 1, work->I, hidden.stride);
        ghn__rows_add_bias(row, t[GHN__MLP_CLASS_B] + k * work->max_I, 1, 1, work->I, false);
    }
}

static void mlp_back(const struct work *work, struct ghn__rows d) {
    const struct ghn_hypernet *h = work->h;
    struct ghn__rows hidden = mlp_hidden_of(work, work->tape->hidden);
    struct ghn__rows d_hidden = mlp_hidden_of(work, work->tape->d_hidden);
    for (size_t k = 0; k < work->rows; k++) {
        struct ghn__rows row = {d.data + k * work->I, work->I};
        ghn__rows_linear_gradient(mlp_rows_of(work, h->gradients, k), row, hidden, 1, work->I,
                                  hidden.stride);
        ghn__rows_bias_gradient(h->gradients[GHN__MLP_CLASS_B] + k * work->max_I, 1, row, 1,
                                work->I);
        ghn__rows_linear_back(d_hidden, row, mlp_rows_of(work, h->tensors, k), 1, work->I,
                              hidden.stride, true);
    }
}

/* --- */

void ghn__tape_classes(const struct ghn_hypernet *h, struct ghn_tape *tape) {
    for (int c = 0; c < tape->n_classes; c++) {
        struct work work = work_init(h, tape, c);
        size_t n = work.rows * work.I;
        if (h->config.decoder == GHN_DECODER_CONV)
            make_conv(&work);
        else
            make_mlp(&work);
        for (size_t j = 0; j < n; j++)
            work.class->values[j] *= work.weight->scale;
        memset(work.class->gradient, 0, n * sizeof(float));
    }
}

void ghn__tape_classes_back(struct ghn_hypernet *h, struct ghn_tape *tape) {
    for (int c = 0; c < tape->n_classes; c++) {
        struct work work = work_init(h, tape, c);
        struct ghn__rows d = {work.class->gradient, work.I};
        for (size_t j = 0; j < work.rows * work.I; j++)
            d.data[j] *= work.weight->scale;
        if (h->config.decoder == GHN_DECODER_CONV)
            conv_back(&work, d);
        else
            mlp_back(&work, d);
    }
}
