/* Tensors from node embeddings by the formulas of ghn2-spec C5 to C8, slot by slot and position by
 * position. */
#include <math.h>
#include <string.h>

#include "ghn/reference/reference_impl.h"

/* A tensor as (O, I, height, width), what of it is decoded, and its node's embedding. */
struct target {
    enum ghn__maker maker;
    int64_t O, I, height, width;
    int block_O, block_I, block_height, block_width;
    double scale;
    const double *e;
    double *d_e;
};

static int least(int64_t a, int b) {
    return a < b ? (int)a : b;
}

static struct target target_of(const struct ghn__ref *ref, int i) {
    const struct ghn_slot *slot = &ref->graph->slots[i];
    const int *max = ref->config.max_shape;
    const int64_t *dim = slot->shape.dim;
    int n = slot->shape.ndim;
    struct target t = {.maker = ghn__plan_slot(&ref->config, ref->graph, i).maker,
                       .O = dim[0],
                       .I = n > 1 ? dim[1] : 1,
                       .height = n > 2 ? dim[2] : 1,
                       .width = n > 3 ? dim[3] : 1};
    t.block_O = least(t.O, max[0]);
    t.block_I = least(t.I, max[1]);
    t.block_height = least(t.height, max[2]);
    t.block_width = least(t.width, max[3]);
    t.scale = (double)ghn__weight_scale(&ref->config, &slot->shape);
    t.e = ref->embeddings + (size_t)slot->node * (size_t)ref->h;
    t.d_e = ref->d_embeddings + (size_t)slot->node * (size_t)ref->h;
    return t;
}

/* --- Blocks: W at one position --- */

/* The layers of the decoder: rows o * I + i of the last one only where they are asked for. */
static struct ghn__ref_linear decoder_layer(const struct ghn__ref *ref, int layer, int position) {
    int h = ref->h, positions = ref->config.max_shape[2] * ref->config.max_shape[3];
    if (ref->config.decoder == GHN_DECODER_MLP)
        return layer == 0
                   ? (struct ghn__ref_linear){GHN__MLP0_W, GHN__MLP0_B, 2 * h, h, 0, 1, true}
                   : (struct ghn__ref_linear){GHN__MLP2_W,      GHN__MLP2_B,       0,    2 * h,
                                              (size_t)position, (size_t)positions, false};
    switch (layer) {
    case 0:
        return (struct ghn__ref_linear){GHN__FC_W,        GHN__FC_B,         4 * h, h,
                                        (size_t)position, (size_t)positions, true};
    case 1:
        return (struct ghn__ref_linear){GHN__CONV0_W, GHN__CONV0_B, 8 * h, 4 * h, 0, 1, true};
    default:
        return (struct ghn__ref_linear){GHN__CONV2_W, GHN__CONV2_B, 0, 8 * h, 0, 1, false};
    }
}

/* Row o of the last layer, for block_I inputs. */
static struct ghn__ref_linear block_row(const struct ghn__ref *ref, int position, int o, int n) {
    int last = ref->config.decoder == GHN_DECODER_MLP ? 1 : 2;
    struct ghn__ref_linear layer = decoder_layer(ref, last, position);
    layer.first += (size_t)(o * ref->config.max_shape[1]) * layer.step;
    layer.out = n;
    return layer;
}

/* The hidden layers for embedding e at a position, in row[0] and (convolutional) row[1]; returns
 * the last. */
static double *hidden_layers(struct ghn__ref *ref, const double *e, int position) {
    struct ghn__ref_linear first = decoder_layer(ref, 0, position);
    ghn__ref_linear(ref, &first, e, ref->row[0]);
    if (ref->config.decoder == GHN_DECODER_MLP)
        return ref->row[0];
    struct ghn__ref_linear second = decoder_layer(ref, 1, position);
    ghn__ref_linear(ref, &second, ref->row[0], ref->row[1]);
    return ref->row[1];
}

/* W (O rows, I of max_shape) at a position into ret. */
static void make_position(struct ghn__ref *ref, const double *e, int position, int O, int I,
                          double *ret) {
    const double *hidden = hidden_layers(ref, e, position);
    for (int o = 0; o < O; o++) {
        struct ghn__ref_linear row = block_row(ref, position, o, I);
        ghn__ref_linear(ref, &row, hidden, ret + o * ref->config.max_shape[1]);
    }
}

/* Back from d, laid out as that; adds to d_e. */
static void position_back(struct ghn__ref *ref, const double *e, int position, int O, int I,
                          double *d, double *d_e) {
    const double *hidden = hidden_layers(ref, e, position);
    double *d_hidden = ref->row[2], *d_first = ref->row[3];
    memset(d_hidden, 0, 8 * (size_t)ref->h * sizeof(double));
    memset(d_first, 0, 4 * (size_t)ref->h * sizeof(double));
    for (int o = 0; o < O; o++) {
        struct ghn__ref_linear row = block_row(ref, position, o, I);
        ghn__ref_linear_back(ref, &row, hidden, NULL, d + o * ref->config.max_shape[1], d_hidden);
    }
    struct ghn__ref_linear first = decoder_layer(ref, 0, position);
    if (ref->config.decoder == GHN_DECODER_CONV) {
        struct ghn__ref_linear second = decoder_layer(ref, 1, position);
        ghn__ref_linear_back(ref, &second, ref->row[0], ref->row[1], d_hidden, d_first);
        d_hidden = d_first;
    }
    ghn__ref_linear_back(ref, &first, e, ref->row[0], d_hidden, d_e);
}

/* --- Weights --- */

/* The element of the block (by position, then (O, I) of max_shape) that an element of the tensor
 * repeats. */
static size_t source(const struct ghn__ref *ref, const struct target *t, int64_t element) {
    const int *max = ref->config.max_shape;
    int64_t x = element % t->width % t->block_width;
    int64_t y = element / t->width % t->height % t->block_height;
    int64_t i = element / (t->width * t->height) % t->I % t->block_I;
    int64_t o = element / (t->width * t->height * t->I) % t->block_O;
    return (size_t)(((y * max[3] + x) * max[0] + o) * max[1] + i);
}

static void make_weight(struct ghn__ref *ref, const struct target *t, int64_t n, double *ret) {
    size_t size = (size_t)ref->config.max_shape[0] * (size_t)ref->config.max_shape[1];
    for (int y = 0; y < t->block_height; y++)
        for (int x = 0; x < t->block_width; x++) {
            int p = y * ref->config.max_shape[3] + x;
            make_position(ref, t->e, p, t->block_O, t->block_I, ref->block + (size_t)p * size);
        }
    for (int64_t j = 0; j < n; j++)
        ret[j] = t->scale * ref->block[source(ref, t, j)];
}

static void weight_back(struct ghn__ref *ref, const struct target *t, int64_t n, const double *d) {
    size_t size = (size_t)ref->config.max_shape[0] * (size_t)ref->config.max_shape[1];
    int positions = ref->config.max_shape[2] * ref->config.max_shape[3];
    memset(ref->d_block, 0, size * (size_t)positions * sizeof(double));
    for (int64_t j = 0; j < n; j++)
        ref->d_block[source(ref, t, j)] += t->scale * d[j];
    for (int y = 0; y < t->block_height; y++)
        for (int x = 0; x < t->block_width; x++) {
            int p = y * ref->config.max_shape[3] + x;
            position_back(ref, t->e, p, t->block_O, t->block_I, ref->d_block + (size_t)p * size,
                          t->d_e);
        }
}

/* --- The classifier's weight (C8) --- */

/* Row k of the mlp decoder's head. */
static struct ghn__ref_linear head_row(const struct ghn__ref *ref, int k, int n) {
    return (struct ghn__ref_linear){.weight = GHN__MLP_CLASS_W,
                                    .bias = GHN__MLP_CLASS_B,
                                    .out = n,
                                    .in = 2 * ref->h,
                                    .first = (size_t)(k * ref->config.max_shape[1]),
                                    .step = 1};
}

/* V[k, i] for one k, of the convolutional decoder: over ReLU(W), (O, I) of max_shape. */
static double contraction(const struct ghn__ref *ref, int k, int i, const double *w) {
    int O = ref->config.max_shape[0], I = ref->config.max_shape[1];
    double sum = ref->t[GHN__CLASS_B][k];
    for (int o = 0; o < O; o++)
        sum += w[o * I + i] > 0.0 ? ref->t[GHN__CLASS_W][k * O + o] * w[o * I + i] : 0.0;
    return sum;
}

static void contraction_back(struct ghn__ref *ref, int k, int i, double d, const double *w,
                             double *d_w) {
    int O = ref->config.max_shape[0], I = ref->config.max_shape[1];
    ref->g[GHN__CLASS_B][k] += d;
    for (int o = 0; o < O; o++) {
        if (w[o * I + i] <= 0.0)
            continue;
        ref->g[GHN__CLASS_W][k * O + o] += d * w[o * I + i];
        d_w[o * I + i] += d * ref->t[GHN__CLASS_W][k * O + o];
    }
}

/* What both heads work on: W at position (0, 0) in ref->block, or the hidden layer in row[0]. */
static void before_head(struct ghn__ref *ref, const struct target *t) {
    if (ref->config.decoder == GHN_DECODER_MLP) {
        (void)hidden_layers(ref, t->e, 0);
        return;
    }
    int O = ref->config.max_shape[0], I = ref->config.max_shape[1];
    make_position(ref, t->e, 0, O, t->block_I, ref->block);
    for (int o = 0; o < O; o++)
        for (int i = 0; i < t->block_I; i++)
            ref->pattern = (ref->pattern ^ (ref->block[o * I + i] > 0.0)) * UINT64_C(0x100000001b3);
}

static void make_class_weight(struct ghn__ref *ref, const struct target *t, double *ret) {
    before_head(ref, t);
    for (int64_t k = 0; k < t->O; k++) {
        int row = (int)(k % ref->config.num_classes);
        if (ref->config.decoder == GHN_DECODER_MLP) {
            struct ghn__ref_linear head = head_row(ref, row, t->block_I);
            ghn__ref_linear(ref, &head, ref->row[0], ref->row[4]);
        }
        for (int64_t i = 0; i < t->I; i++) {
            int column = (int)(i % t->block_I);
            ret[k * t->I + i] = t->scale * (ref->config.decoder == GHN_DECODER_MLP
                                                ? ref->row[4][column]
                                                : contraction(ref, row, column, ref->block));
        }
    }
}

static void class_weight_back(struct ghn__ref *ref, const struct target *t, const double *d) {
    int O = ref->config.max_shape[0], I = ref->config.max_shape[1];
    bool mlp = ref->config.decoder == GHN_DECODER_MLP;
    double *d_hidden = ref->row[2];
    before_head(ref, t);
    memset(d_hidden, 0, 2 * (size_t)ref->h * sizeof(double));
    memset(ref->d_block, 0, (size_t)O * (size_t)I * sizeof(double));
    for (int64_t k = 0; k < t->O; k++) {
        int row = (int)(k % ref->config.num_classes);
        struct ghn__ref_linear head = head_row(ref, row, t->block_I);
        memset(ref->row[4], 0, (size_t)t->block_I * sizeof(double));
        for (int64_t i = 0; i < t->I; i++) {
            int column = (int)(i % t->block_I);
            if (mlp)
                ref->row[4][column] += t->scale * d[k * t->I + i];
            else
                contraction_back(ref, row, column, t->scale * d[k * t->I + i], ref->block,
                                 ref->d_block);
        }
        if (mlp)
            ghn__ref_linear_back(ref, &head, ref->row[0], NULL, ref->row[4], d_hidden);
    }
    struct ghn__ref_linear first = decoder_layer(ref, 0, 0);
    if (mlp)
        ghn__ref_linear_back(ref, &first, t->e, ref->row[0], d_hidden, t->d_e);
    else
        position_back(ref, t->e, 0, O, t->block_I, ref->d_block, t->d_e);
}

/* --- Vectors --- */

static int vector_width(const struct ghn__ref *ref) {
    const int *max = ref->config.max_shape;
    return max[0] > max[1] ? max[0] : max[1];
}

/* Layer 0, and of layer 1 the half that makes row 0 or 1. */
static struct ghn__ref_linear vector_layer(const struct ghn__ref *ref, int layer, int row) {
    int width = vector_width(ref), h = ref->h;
    if (layer == 0)
        return (struct ghn__ref_linear){GHN__D1_0_W, GHN__D1_0_B, 2 * h, h, 0, 1, true};
    return (struct ghn__ref_linear){GHN__D1_2_W,           GHN__D1_2_B, width, 2 * h,
                                    (size_t)(row * width), 1,           false};
}

static struct ghn__ref_linear class_bias_layer(const struct ghn__ref *ref) {
    return (struct ghn__ref_linear){GHN__CLASS_BIAS_W,
                                    GHN__CLASS_BIAS_B,
                                    ref->config.num_classes,
                                    vector_width(ref),
                                    0,
                                    1,
                                    false};
}

/* The values before squashing: row[1], for the classifier's bias row[2] made of it; and how many.
 */
static double *vector_values(struct ghn__ref *ref, const struct target *t, int *ret_n) {
    struct ghn__ref_linear first = vector_layer(ref, 0, 0);
    struct ghn__ref_linear second = vector_layer(ref, 1, t->maker != GHN__MAKE_NORM_WEIGHT);
    second.relu = t->maker == GHN__MAKE_CLASS_BIAS;
    ghn__ref_linear(ref, &first, t->e, ref->row[0]);
    ghn__ref_linear(ref, &second, ref->row[0], ref->row[1]);
    *ret_n = second.out;
    if (!second.relu)
        return ref->row[1];
    struct ghn__ref_linear head = class_bias_layer(ref);
    ghn__ref_linear(ref, &head, ref->row[1], ref->row[2]);
    *ret_n = head.out;
    return ref->row[2];
}

static double squash(const struct ghn__ref *ref, const struct target *t, double x) {
    if (!ref->config.weight_norm)
        return x;
    return t->maker == GHN__MAKE_NORM_WEIGHT ? 2.0 / (1.0 + exp(-0.5 * x)) : tanh(0.2 * x);
}

static double squash_slope(const struct ghn__ref *ref, const struct target *t, double x) {
    if (!ref->config.weight_norm)
        return 1.0;
    double half = 1.0 / (1.0 + exp(-0.5 * x)), t5 = tanh(0.2 * x);
    return t->maker == GHN__MAKE_NORM_WEIGHT ? half * (1.0 - half) : 0.2 * (1.0 - t5 * t5);
}

/* The values run along the first dimension. */
static void make_vector(struct ghn__ref *ref, const struct target *t, int64_t n, double *ret) {
    int period;
    const double *values = vector_values(ref, t, &period);
    int64_t step = n / t->O;
    for (int64_t j = 0; j < n; j++)
        ret[j] = squash(ref, t, values[j / step % period]);
}

static void vector_back(struct ghn__ref *ref, const struct target *t, int64_t n, const double *d) {
    int period;
    const double *values = vector_values(ref, t, &period);
    double *d_values = ref->row[3], *d_hidden = ref->row[4], *d_row = ref->row[5];
    memset(d_values, 0, (size_t)period * sizeof(double));
    memset(d_hidden, 0, 2 * (size_t)ref->h * sizeof(double));
    memset(d_row, 0, (size_t)vector_width(ref) * sizeof(double));
    for (int64_t j = 0; j < n; j++) {
        int64_t from = j / (n / t->O) % period;
        d_values[from] += d[j] * squash_slope(ref, t, values[from]);
    }
    struct ghn__ref_linear first = vector_layer(ref, 0, 0);
    struct ghn__ref_linear second = vector_layer(ref, 1, t->maker != GHN__MAKE_NORM_WEIGHT);
    if (t->maker == GHN__MAKE_CLASS_BIAS) {
        struct ghn__ref_linear head = class_bias_layer(ref);
        second.relu = true;
        ghn__ref_linear_back(ref, &head, ref->row[1], NULL, d_values, d_row);
        d_values = d_row;
    }
    ghn__ref_linear_back(ref, &second, ref->row[0], ref->row[1], d_values, d_hidden);
    ghn__ref_linear_back(ref, &first, t->e, ref->row[0], d_hidden, t->d_e);
}

/* --- */

void ghn__ref_decode(struct ghn__ref *ref, int i, double *ret) {
    struct target t = target_of(ref, i);
    int64_t n = ref->graph->slots[i].numel;
    if (t.maker == GHN__MAKE_WEIGHT)
        make_weight(ref, &t, n, ret);
    else if (t.maker == GHN__MAKE_CLASS_WEIGHT)
        make_class_weight(ref, &t, ret);
    else
        make_vector(ref, &t, n, ret);
}

void ghn__ref_decode_back(struct ghn__ref *ref, int i, const double *d) {
    struct target t = target_of(ref, i);
    int64_t n = ref->graph->slots[i].numel;
    if (t.maker == GHN__MAKE_WEIGHT)
        weight_back(ref, &t, n, d);
    else if (t.maker == GHN__MAKE_CLASS_WEIGHT)
        class_weight_back(ref, &t, d);
    else
        vector_back(ref, &t, n, d);
}
