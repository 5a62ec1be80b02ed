/* Node embeddings by the formulas of ghn2-spec C2 to C4, edge by edge. */
#include <math.h>
#include <string.h>

#include "ghn/reference/reference_impl.h"

static double *at(const struct ghn__ref *ref, double *matrix, int v) {
    return matrix + (size_t)v * (size_t)ref->h;
}

/* --- C2 --- */

/* The rows of the two shape tables for node v. */
static void table_rows(const struct ghn__ref *ref, int v, int rows[4]) {
    const struct ghn_graph_node *node = &ref->graph->nodes[v];
    struct ghn_shape shape = node->shape;
    bool vector = node->op == GHN_PRIMITIVE_BIAS || node->op == GHN_PRIMITIVE_BN ||
                  node->op == GHN_PRIMITIVE_LN;
    if (vector && shape.ndim > 1)
        shape.ndim = 1;
    ghn__shape_rows(&ref->shapes, &shape, rows);
}

/* Element j of node v's features is element *ret_e of EMBED plus element *ret_s of the returned
 * table. */
static enum ghn__tensor_id parts_of(const struct ghn__ref *ref, int v, int j, size_t *ret_e,
                                    size_t *ret_s) {
    int rows[4], quarter = ref->h / 4;
    table_rows(ref, v, rows);
    *ret_e = (size_t)((int)ref->graph->nodes[v].op * ref->h + j);
    *ret_s = (size_t)(rows[j / quarter] * quarter + j % quarter);
    return j / quarter < 2 ? GHN__CHANNEL : GHN__SPATIAL;
}

static void features(struct ghn__ref *ref) {
    for (int v = 0; v < ref->graph->n_nodes; v++)
        for (int j = 0; j < ref->h; j++) {
            size_t e, s;
            enum ghn__tensor_id table = parts_of(ref, v, j, &e, &s);
            at(ref, ref->features, v)[j] = ref->t[GHN__EMBED][e] + ref->t[table][s];
        }
}

/* --- C3 --- */

/* Layer 0 or 1 of message function A (0) or B (1), or of the MLP baseline (2). */
static struct ghn__ref_linear message_layer(const struct ghn__ref *ref, int function, int layer) {
    static const enum ghn__tensor_id first[] = {GHN__MSG0_W, GHN__VE0_W, GHN__NODE0_W};
    enum ghn__tensor_id weight = first[function] + 2 * (enum ghn__tensor_id)layer;
    return (struct ghn__ref_linear){.weight = weight,
                                    .bias = weight + 1,
                                    .out = layer == 0 ? ref->m : ref->h,
                                    .in = layer == 0 ? ref->h : ref->m,
                                    .step = 1,
                                    .relu = true};
}

static struct ghn__ref_linear gate_layer(const struct ghn__ref *ref, enum ghn__tensor_id weight,
                                         int gate) {
    return (struct ghn__ref_linear){.weight = weight,
                                    .bias = weight + 2,
                                    .out = ref->h,
                                    .in = ref->h,
                                    .first = (size_t)(gate * ref->h),
                                    .step = 1};
}

static void message(struct ghn__ref *ref, struct ghn__ref_sweep *s, int function, int v) {
    struct ghn__ref_linear first = message_layer(ref, function, 0);
    struct ghn__ref_linear second = message_layer(ref, function, 1);
    int to = function == 1; /* the baseline's layers use A's room */
    double *x = function == 2 ? s->before : s->after,
           *y = function == 2 ? s->after : s->message[to];
    ghn__ref_linear(ref, &first, at(ref, x, v), at(ref, s->hidden[to], v));
    ghn__ref_linear(ref, &second, at(ref, s->hidden[to], v), at(ref, y, v));
}

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

static void gru(struct ghn__ref *ref, struct ghn__ref_sweep *s, int v) {
    double *in[3], *state[3];
    for (int gate = 0; gate < 3; gate++) {
        struct ghn__ref_linear of_sum = gate_layer(ref, GHN__GRU_IH_W, gate);
        struct ghn__ref_linear of_state = gate_layer(ref, GHN__GRU_HH_W, gate);
        in[gate] = ref->row[gate];
        state[gate] = ref->row[3 + gate];
        ghn__ref_linear(ref, &of_sum, at(ref, s->sum, v), in[gate]);
        ghn__ref_linear(ref, &of_state, at(ref, s->before, v), state[gate]);
    }
    for (int j = 0; j < ref->h; j++) {
        double reset = sigmoid(in[0][j] + state[0][j]), keep = sigmoid(in[1][j] + state[1][j]);
        double new_ = tanh(in[2][j] + reset * state[2][j]);
        at(ref, s->reset, v)[j] = reset;
        at(ref, s->keep, v)[j] = keep;
        at(ref, s->new_, v)[j] = new_;
        at(ref, s->new_state, v)[j] = state[2][j];
        at(ref, s->after, v)[j] = (1.0 - keep) * new_ + keep * at(ref, s->before, v)[j];
    }
}

/* The length of the path from u to v, against the edges in sweep 1; 0 for none. */
static int distance(const struct ghn__ref *ref, int sweep, int u, int v) {
    int n = ref->graph->n_nodes, d = ref->graph->dist[sweep == 0 ? u * n + v : v * n + u];
    return d == GHN_NO_EDGE ? 0 : d;
}

static void sweep(struct ghn__ref *ref, int number) {
    struct ghn__ref_sweep *s = &ref->sweep[number];
    int n = ref->graph->n_nodes;
    for (int k = 0; k < n; k++) {
        int v = number == 0 ? k : n - 1 - k;
        for (int u = 0; u < n; u++) {
            int d = distance(ref, number, u, v);
            for (int j = 0; j < ref->h && d > 0; j++) {
                at(ref, s->sum, v)[j] += d == 1 ? at(ref, s->message[0], u)[j] : 0.0;
                at(ref, s->sum, v)[j] += ref->config.ve ? at(ref, s->message[1], u)[j] / d : 0.0;
            }
        }
        gru(ref, s, v);
        message(ref, s, 0, v);
        if (ref->config.ve)
            message(ref, s, 1, v);
    }
}

/* --- C4 --- */

/* Mean, and one over the standard deviation, of a node's last state. */
static void moments(const struct ghn__ref *ref, int v, double *ret_mean, double *ret_scale) {
    const double *x = at(ref, ref->sweep[1].after, v);
    double mean = 0.0, variance = 0.0;
    for (int j = 0; j < ref->h; j++)
        mean += x[j] / ref->h;
    for (int j = 0; j < ref->h; j++)
        variance += (x[j] - mean) * (x[j] - mean) / ref->h;
    *ret_mean = mean;
    *ret_scale = 1.0 / sqrt(variance + 1e-5);
}

void ghn__ref_embed(struct ghn__ref *ref) {
    features(ref);
    if (ref->config.hypernet == GHN_MLP) {
        ref->sweep[1].before = ref->features;
        for (int v = 0; v < ref->graph->n_nodes; v++)
            message(ref, &ref->sweep[1], 2, v);
    } else {
        sweep(ref, 0);
        sweep(ref, 1);
    }
    for (int v = 0; v < ref->graph->n_nodes; v++) {
        double mean, scale, *x = at(ref, ref->sweep[1].after, v);
        moments(ref, v, &mean, &scale);
        for (int j = 0; j < ref->h; j++)
            at(ref, ref->embeddings, v)[j] =
                ref->config.layernorm
                    ? (x[j] - mean) * scale * ref->t[GHN__LN_W][j] + ref->t[GHN__LN_B][j]
                    : x[j];
    }
}

/* --- Back --- */

/* d (h), of node v's embedding, becomes that of its last state: the Jacobian of layer norm, element
 * by element. */
static void layer_norm_back(struct ghn__ref *ref, int v, double *d) {
    double mean, scale, *x = at(ref, ref->sweep[1].after, v), *dx = ref->row[0];
    moments(ref, v, &mean, &scale);
    memset(dx, 0, (size_t)ref->h * sizeof(double));
    for (int j = 0; j < ref->h; j++) {
        double unit = (x[j] - mean) * scale, d_unit = d[j] * ref->t[GHN__LN_W][j];
        ref->g[GHN__LN_W][j] += d[j] * unit;
        ref->g[GHN__LN_B][j] += d[j];
        for (int k = 0; k < ref->h; k++)
            dx[k] +=
                d_unit * scale * ((j == k) - 1.0 / ref->h - unit * (x[k] - mean) * scale / ref->h);
    }
    memcpy(d, dx, (size_t)ref->h * sizeof(double));
}

/* Adds to dx that of a message function's input. */
static void message_back(struct ghn__ref *ref, struct ghn__ref_sweep *s, int function, int v,
                         double *d, double *dx) {
    struct ghn__ref_linear first = message_layer(ref, function, 0);
    struct ghn__ref_linear second = message_layer(ref, function, 1);
    int to = function == 1;
    double *x = function == 2 ? s->before : s->after,
           *y = function == 2 ? s->after : s->message[to];
    double *d_hidden = ref->row[0];
    memset(d_hidden, 0, (size_t)ref->m * sizeof(double));
    ghn__ref_linear_back(ref, &second, at(ref, s->hidden[to], v), at(ref, y, v), d, d_hidden);
    ghn__ref_linear_back(ref, &first, at(ref, x, v), at(ref, s->hidden[to], v), d_hidden, dx);
}

/* d (h), of the state after the GRU, becomes that of the state before it; d_sum (h) = that of the
 * message. */
static void gru_back(struct ghn__ref *ref, struct ghn__ref_sweep *s, int v, double *d,
                     double *d_sum) {
    double *d_in[3] = {ref->row[0], ref->row[1], ref->row[2]};
    double *d_new_state = ref->row[3], *before = at(ref, s->before, v);
    for (int j = 0; j < ref->h; j++) {
        double reset = at(ref, s->reset, v)[j], keep = at(ref, s->keep, v)[j];
        double new_ = at(ref, s->new_, v)[j];
        d_in[2][j] = d[j] * (1.0 - keep) * (1.0 - new_ * new_);
        d_in[1][j] = d[j] * (before[j] - new_) * keep * (1.0 - keep);
        d_in[0][j] = d_in[2][j] * at(ref, s->new_state, v)[j] * reset * (1.0 - reset);
        d_new_state[j] = d_in[2][j] * reset;
        d[j] *= keep;
    }
    memset(d_sum, 0, (size_t)ref->h * sizeof(double));
    for (int gate = 0; gate < 3; gate++) {
        struct ghn__ref_linear of_sum = gate_layer(ref, GHN__GRU_IH_W, gate);
        struct ghn__ref_linear of_state = gate_layer(ref, GHN__GRU_HH_W, gate);
        ghn__ref_linear_back(ref, &of_sum, at(ref, s->sum, v), NULL, d_in[gate], d_sum);
        ghn__ref_linear_back(ref, &of_state, before, NULL, gate == 2 ? d_new_state : d_in[gate], d);
    }
}

static void sweep_back(struct ghn__ref *ref, int number) {
    struct ghn__ref_sweep *s = &ref->sweep[number];
    int n = ref->graph->n_nodes;
    for (int f = 0; f < 2; f++)
        memset(ref->d_message[f], 0, (size_t)n * (size_t)ref->h * sizeof(double));
    for (int k = 0; k < n; k++) {
        int v = number == 0 ? n - 1 - k : k;
        double *d = at(ref, ref->d_embeddings, v), *d_sum = ref->row[4];
        message_back(ref, s, 0, v, at(ref, ref->d_message[0], v), d);
        if (ref->config.ve)
            message_back(ref, s, 1, v, at(ref, ref->d_message[1], v), d);
        gru_back(ref, s, v, d, d_sum);
        for (int u = 0; u < n; u++) {
            int length = distance(ref, number, u, v);
            for (int j = 0; j < ref->h && length > 0; j++) {
                at(ref, ref->d_message[0], u)[j] += length == 1 ? d_sum[j] : 0.0;
                at(ref, ref->d_message[1], u)[j] += d_sum[j] / length;
            }
        }
    }
}

void ghn__ref_embed_back(struct ghn__ref *ref) {
    size_t row = (size_t)ref->h * sizeof(double);
    for (int v = 0; v < ref->graph->n_nodes && ref->config.layernorm; v++)
        layer_norm_back(ref, v, at(ref, ref->d_embeddings, v));
    if (ref->config.hypernet == GHN_MLP) {
        for (int v = 0; v < ref->graph->n_nodes; v++) {
            double *d = at(ref, ref->d_embeddings, v);
            memcpy(ref->row[1], d, row);
            memset(d, 0, row);
            message_back(ref, &ref->sweep[1], 2, v, ref->row[1], d);
        }
    } else {
        sweep_back(ref, 1);
        sweep_back(ref, 0);
    }
    for (int v = 0; v < ref->graph->n_nodes; v++)
        for (int j = 0; j < ref->h; j++) {
            size_t e, s;
            enum ghn__tensor_id table = parts_of(ref, v, j, &e, &s);
            ref->g[GHN__EMBED][e] += at(ref, ref->d_embeddings, v)[j];
            ref->g[table][s] += at(ref, ref->d_embeddings, v)[j];
        }
}
