/* Node embeddings with all that their backward pass needs, and that pass. It walks each sweep the
 * other way round: what a node's message contributed is known once all its receivers are done, and
 * again every gradient of a message is made once per node (compare embed.c).
 *
 * Lock rule: a task has one graph, and writes what belongs to that graph alone. */
#include <math.h>
#include <string.h>

#include "ghn/layer_norm.h"
#include "ghn/rows.h"
#include "ghn/tape_impl.h"

/* One graph of the tape. */
struct walk {
    const struct ghn_hypernet *h;
    const struct ghn__tape_layers *layers;
    struct ghn__tape_graph *at;
    const struct ghn_graph *graph;
    size_t n, n_nodes; /* n: columns of a row, hid padded */
    bool ve;
    float reciprocal[GHN_NO_EDGE + 1];
};

static struct walk walk_init(const struct ghn_hypernet *h, struct ghn_tape *tape, int i) {
    struct walk w = {.h = h,
                     .layers = &tape->layers,
                     .at = &tape->graphs[i],
                     .graph = tape->graphs[i].graph,
                     .n = (size_t)ghn__padded(h->config.hid),
                     .ve = h->config.ve};
    w.n_nodes = (size_t)w.graph->n_nodes;
    for (int d = 1; d < GHN_NO_EDGE; d++)
        w.reciprocal[d] = 1.0f / (float)d;
    return w;
}

/* --- C2: features --- */

static void feature_rows(const struct walk *w, size_t v, int rows[4]) {
    const struct ghn_graph_node *node = &w->graph->nodes[v];
    struct ghn_shape shape = node->shape;
    if (shape.ndim > 1 && (node->op == GHN_PRIMITIVE_BIAS || node->op == GHN_PRIMITIVE_BN ||
                           node->op == GHN_PRIMITIVE_LN))
        shape.ndim = 1;
    ghn__shape_rows(&w->h->shapes, &shape, rows);
}

static void features(const struct walk *w) {
    const struct ghn_hypernet *h = w->h;
    size_t hid = (size_t)h->config.hid, quarter = hid / 4;
    memset(w->at->features, 0, w->n_nodes * w->n * sizeof(float));
    for (size_t v = 0; v < w->n_nodes; v++) {
        int rows[4];
        feature_rows(w, v, rows);
        const float *embed = h->tensors[GHN__EMBED] + (size_t)w->graph->nodes[v].op * hid;
        float *to = w->at->features + v * w->n;
        for (size_t j = 0; j < hid; j++) {
            size_t part = j / quarter;
            const float *table = h->tensors[part < 2 ? GHN__CHANNEL : GHN__SPATIAL];
            to[j] = embed[j] + table[(size_t)rows[part] * quarter + j % quarter];
        }
    }
}

/* --- C3: forward --- */

/* out = ReLU(second(hidden)), hidden = ReLU(first(x)). */
static void two_layers(const struct walk *w, const struct ghn__dense layers[2], const float *x,
                       float *hidden, float *out) {
    const struct ghn__kernels *kernels = w->h->kernels;
    kernels->dense(hidden, x, layers[0].w, layers[0].bias, layers[0].in, layers[0].n);
    kernels->relu(hidden, NULL, 1, layers[0].n);
    kernels->dense(out, hidden, layers[1].w, layers[1].bias, layers[1].in, layers[1].n);
    kernels->relu(out, NULL, 1, layers[1].n);
}

static void send(const struct walk *w, const struct ghn__tape_sweep *s, size_t v) {
    const float *x = s->after + v * w->n;
    size_t m = (size_t)w->layers->message[0].n;
    two_layers(w, w->layers->message, x, s->hidden + v * m, s->message + v * w->n);
    if (w->ve)
        two_layers(w, w->layers->virtual_, x, s->virtual_hidden + v * m,
                   s->virtual_message + v * w->n);
}

/* Which nodes v has edges with, in one direction: one-hop neighbours, and all from `first` to
 * before `end` at the distances dist[...]. */
struct side {
    const int *near;
    int n_near;
    const uint8_t *dist;
    size_t first, end;
};

static struct side preds_of(const struct walk *w, size_t v) {
    const struct ghn_graph_node *node = &w->graph->nodes[v];
    return (struct side){node->preds, node->n_preds, w->graph->dist_in + v * w->n_nodes, 0, v};
}

static struct side succs_of(const struct walk *w, size_t v) {
    const struct ghn_graph_node *node = &w->graph->nodes[v];
    return (struct side){node->succs, node->n_succs, w->graph->dist + v * w->n_nodes, v + 1,
                         w->n_nodes};
}

/* sum (n) += the rows of `near` neighbours. */
static void sum_near(const struct walk *w, const struct side *side, const float *rows, float *sum) {
    for (int i = 0; i < side->n_near; i++) {
        const float *row = rows + (size_t)side->near[i] * w->n;
        for (size_t j = 0; j < w->n; j++)
            sum[j] += row[j];
    }
}

/* sum (n) = the rows of all nodes on that side over their distances. */
static void sum_virtual(const struct walk *w, const struct side *side, const float *rows,
                        float *sum) {
    float *weights = w->at->scratch;
    for (size_t u = side->first; u < side->end; u++)
        weights[u - side->first] = w->reciprocal[side->dist[u]];
    w->h->kernels->dense(sum, weights, rows + side->first * w->n, NULL,
                         (int)(side->end - side->first), (int)w->n);
}

/* The GRU's update of node v: before (n) is its state. */
static void update(const struct walk *w, const struct ghn__tape_sweep *s, size_t v,
                   const float *before) {
    const struct ghn__kernels *kernels = w->h->kernels;
    const struct ghn__dense *in = &w->layers->gru_in, *state = &w->layers->gru_state;
    size_t n = w->n;
    float *gates_in = w->at->scratch + ghn__padded((int)w->n_nodes),
          *gates_state = gates_in + 3 * n;
    float *gates = s->gates + v * 3 * n, *after = s->after + v * n;
    kernels->dense(gates_in, s->sum + v * n, in->w, in->bias, in->in, in->n);
    kernels->dense(gates_state, before, state->w, state->bias, state->in, state->n);
    kernels->gates(gates, gates_in, gates_state, (int)n);
    memcpy(s->new_state + v * n, gates_state + 2 * n, n * sizeof(float));
    for (size_t j = 0; j < n; j++)
        after[j] = (1.0f - gates[n + j]) * gates[2 * n + j] + gates[n + j] * before[j];
}

/* Sweep number 0 goes forward and receives from predecessors, 1 backward from successors. */
static void sweep(const struct walk *w, int number) {
    const struct ghn__tape_sweep *s = &w->at->sweep[number];
    const float *before = number == 0 ? w->at->features : w->at->sweep[0].after;
    for (size_t k = 0; k < w->n_nodes; k++) {
        size_t v = number == 0 ? k : w->n_nodes - 1 - k;
        struct side from = number == 0 ? preds_of(w, v) : succs_of(w, v);
        float *sum = s->sum + v * w->n;
        if (w->ve)
            sum_virtual(w, &from, s->virtual_message, sum);
        else
            memset(sum, 0, w->n * sizeof(float));
        sum_near(w, &from, s->message, sum);
        update(w, s, v, before + v * w->n);
        send(w, s, v);
    }
}

/* The MLP baseline: every node by itself. */
static void each_alone(const struct walk *w) {
    const struct ghn__tape_sweep *s = &w->at->sweep[1];
    size_t m = (size_t)w->layers->message[0].n;
    for (size_t v = 0; v < w->n_nodes; v++)
        two_layers(w, w->layers->message, w->at->features + v * w->n, s->hidden + v * m,
                   s->after + v * w->n);
}

/* --- C4: layer norm --- */

/* dx (n) from dy (n), and into the gradients of weight and bias. */
static void layer_norm_back(const struct ghn_hypernet *h, const float *x, const float *dy,
                            float *d_weight, float *d_bias, float *dx) {
    int n = h->config.hid;
    if (!h->config.layernorm) {
        memcpy(dx, dy, (size_t)n * sizeof(float));
        return;
    }
    struct ghn__moments of = ghn__moments_of(x, n);
    const float *weight = h->tensors[GHN__LN_W];
    double sum = 0.0, dot = 0.0;
    for (int j = 0; j < n; j++) {
        double unit = ((double)x[j] - of.mean) * of.scale, d = (double)dy[j] * (double)weight[j];
        d_weight[j] += (float)(unit * (double)dy[j]);
        d_bias[j] += dy[j];
        sum += d;
        dot += d * unit;
    }
    for (int j = 0; j < n; j++) {
        double unit = ((double)x[j] - of.mean) * of.scale, d = (double)dy[j] * (double)weight[j];
        dx[j] = (float)(of.scale * (d - sum / n - unit * dot / n));
    }
}

void ghn__tape_embed(const struct ghn_hypernet *h, struct ghn_tape *tape, int i) {
    struct walk w = walk_init(h, tape, i);
    features(&w);
    if (h->config.hypernet == GHN_MLP) {
        each_alone(&w);
    } else {
        sweep(&w, 0);
        sweep(&w, 1);
    }
    size_t hid = (size_t)h->config.hid;
    for (size_t v = 0; v < w.n_nodes; v++)
        ghn__layer_norm(&h->config, h->tensors, w.at->sweep[1].after + v * w.n,
                        tape->embeddings + (w.at->first_node + v) * hid);
}

/* --- C3: backward --- */

/* Adds d out (n) of two_layers to dx (n): d_out becomes that before its ReLU, d_hidden likewise. */
static void two_layers_back(const struct walk *w, const struct ghn__dense back[2],
                            const float *hidden, const float *out, float *d_out, float *d_hidden,
                            float *dx) {
    const struct ghn__kernels *kernels = w->h->kernels;
    float *add = w->at->scratch + ghn__padded((int)w->n_nodes);
    for (int j = 0; j < back[1].in; j++)
        d_out[j] = out[j] > 0.0f ? d_out[j] : 0.0f;
    kernels->dense(d_hidden, d_out, back[1].w, NULL, back[1].in, back[1].n);
    for (int j = 0; j < back[1].n; j++)
        d_hidden[j] = hidden[j] > 0.0f ? d_hidden[j] : 0.0f;
    kernels->dense(add, d_hidden, back[0].w, NULL, back[0].in, back[0].n);
    for (int j = 0; j < back[0].n; j++)
        dx[j] += add[j];
}

/* Adds to the gradient of v's state that of the messages it sent to the nodes of `to`. */
static void send_back(const struct walk *w, const struct ghn__tape_sweep *s, size_t v,
                      const struct side *to) {
    const struct ghn__tape_back *back = &w->at->back;
    size_t n = w->n, m = (size_t)w->layers->message[0].n;
    float *d_state = back->state + v * n;
    memset(back->message + v * n, 0, n * sizeof(float));
    sum_near(w, to, back->sum, back->message + v * n);
    two_layers_back(w, w->layers->d_message, s->hidden + v * m, s->message + v * n,
                    back->message + v * n, back->hidden + v * m, d_state);
    if (!w->ve)
        return;
    sum_virtual(w, to, back->sum, back->virtual_message + v * n);
    two_layers_back(w, w->layers->d_virtual, s->virtual_hidden + v * m, s->virtual_message + v * n,
                    back->virtual_message + v * n, back->virtual_hidden + v * m, d_state);
}

/* From the gradient of v's state after the GRU to that before it, and of the message received. */
static void update_back(const struct walk *w, const struct ghn__tape_sweep *s, size_t v,
                        const float *before) {
    const struct ghn__kernels *kernels = w->h->kernels;
    const struct ghn__tape_back *back = &w->at->back;
    const struct ghn__dense *in = &w->layers->d_gru_in, *state = &w->layers->d_gru_state;
    size_t n = w->n;
    const float *reset = s->gates + v * 3 * n, *keep = reset + n, *new_ = keep + n;
    const float *new_state = s->new_state + v * n;
    float *d = back->state + v * n, *add = w->at->scratch + ghn__padded((int)w->n_nodes);
    float *d_in = back->gates_in + v * 3 * n, *d_state = back->gates_state + v * 3 * n;
    for (size_t j = 0; j < n; j++) {
        float d_new = d[j] * (1.0f - keep[j]) * (1.0f - new_[j] * new_[j]);
        float d_keep = d[j] * (before[j] - new_[j]) * keep[j] * (1.0f - keep[j]);
        float d_reset = d_new * new_state[j] * reset[j] * (1.0f - reset[j]);
        d_in[j] = d_state[j] = d_reset;
        d_in[n + j] = d_state[n + j] = d_keep;
        d_in[2 * n + j] = d_new;
        d_state[2 * n + j] = d_new * reset[j];
        d[j] *= keep[j];
    }
    kernels->dense(back->sum + v * n, d_in, in->w, NULL, in->in, in->n);
    kernels->dense(add, d_state, state->w, NULL, state->in, state->n);
    for (size_t j = 0; j < n; j++)
        d[j] += add[j];
}

static void sweep_back(const struct walk *w, int number) {
    const struct ghn__tape_sweep *s = &w->at->sweep[number];
    const float *before = number == 0 ? w->at->features : w->at->sweep[0].after;
    for (size_t k = 0; k < w->n_nodes; k++) {
        size_t v = number == 0 ? w->n_nodes - 1 - k : k;
        struct side to = number == 0 ? succs_of(w, v) : preds_of(w, v);
        send_back(w, s, v, &to);
        update_back(w, s, v, before + v * w->n);
    }
}

/* --- Gradients of tensors --- */

/* Where the gradient of a tensor goes. */
struct into {
    const struct ghn_hypernet *h;
    float *partial; /* (n_embedder) */
};

static float *gradient_of(const struct into *into, enum ghn__tensor_id id) {
    return into->partial + (into->h->gradients[id] - into->h->gradient);
}

/* The gradient of a linear layer with n inputs and outputs; d and x have a row for every node. */
static void linear_gradient(const struct walk *w, float *weight, float *bias, struct ghn__rows d,
                            struct ghn__rows x, size_t out, size_t in) {
    ghn__rows_linear_gradient((struct ghn__rows){weight, in}, d, x, w->n_nodes, out, in);
    ghn__rows_bias_gradient(bias, 1, d, w->n_nodes, out);
}

static void two_layers_gradient(const struct walk *w, const struct into *into,
                                enum ghn__tensor_id first, float *x, float *hidden, float *d_hidden,
                                float *d_out) {
    size_t n = w->n, m = (size_t)w->layers->message[0].n, hid = (size_t)w->h->config.hid;
    size_t width = (size_t)w->h->specs[first].shape.dim[0];
    linear_gradient(w, gradient_of(into, first), gradient_of(into, first + 1),
                    (struct ghn__rows){d_hidden, m}, (struct ghn__rows){x, n}, width, hid);
    linear_gradient(w, gradient_of(into, first + 2), gradient_of(into, first + 3),
                    (struct ghn__rows){d_out, n}, (struct ghn__rows){hidden, m}, hid, width);
}

/* Of the GRU's layer on x: weight, and its bias, which is two tensors further on. */
static void gates_gradient(const struct walk *w, const struct into *into,
                           enum ghn__tensor_id weight, float *d, float *x) {
    size_t n = w->n, hid = (size_t)w->h->config.hid;
    for (size_t gate = 0; gate < 3; gate++)
        linear_gradient(w, gradient_of(into, weight) + gate * hid * hid,
                        gradient_of(into, weight + 2) + gate * hid,
                        (struct ghn__rows){d + gate * n, 3 * n}, (struct ghn__rows){x, n}, hid,
                        hid);
}

static void sweep_gradient(const struct walk *w, const struct into *into, int number) {
    const struct ghn__tape_sweep *s = &w->at->sweep[number];
    const struct ghn__tape_back *back = &w->at->back;
    gates_gradient(w, into, GHN__GRU_IH_W, back->gates_in, s->sum);
    gates_gradient(w, into, GHN__GRU_HH_W, back->gates_state,
                   number == 0 ? w->at->features : w->at->sweep[0].after);
    two_layers_gradient(w, into, GHN__MSG0_W, s->after, s->hidden, back->hidden, back->message);
    if (w->ve)
        two_layers_gradient(w, into, GHN__VE0_W, s->after, s->virtual_hidden, back->virtual_hidden,
                            back->virtual_message);
}

static void each_alone_back(const struct walk *w, const struct into *into) {
    const struct ghn__tape_sweep *s = &w->at->sweep[1];
    const struct ghn__tape_back *back = &w->at->back;
    size_t n = w->n, m = (size_t)w->layers->message[0].n;
    for (size_t v = 0; v < w->n_nodes; v++) {
        float *d_out = back->message + v * n, *dx = back->state + v * n;
        memcpy(d_out, dx, n * sizeof(float));
        memset(dx, 0, n * sizeof(float));
        two_layers_back(w, w->layers->d_message, s->hidden + v * m, s->after + v * n, d_out,
                        back->hidden + v * m, dx);
    }
    two_layers_gradient(w, into, GHN__NODE0_W, w->at->features, s->hidden, back->hidden,
                        back->message);
}

static void features_back(const struct walk *w, const struct into *into) {
    size_t hid = (size_t)w->h->config.hid, quarter = hid / 4;
    for (size_t v = 0; v < w->n_nodes; v++) {
        int rows[4];
        feature_rows(w, v, rows);
        const float *d = w->at->back.state + v * w->n;
        float *embed = gradient_of(into, GHN__EMBED) + (size_t)w->graph->nodes[v].op * hid;
        for (size_t j = 0; j < hid; j++) {
            size_t part = j / quarter;
            float *table = gradient_of(into, part < 2 ? GHN__CHANNEL : GHN__SPATIAL);
            embed[j] += d[j];
            table[(size_t)rows[part] * quarter + j % quarter] += d[j];
        }
    }
}

void ghn__tape_embed_back(const struct ghn_hypernet *h, struct ghn_tape *tape, int i) {
    struct walk w = walk_init(h, tape, i);
    size_t n_embedder = (size_t)ghn__hypernet_n_embedder(h), hid = (size_t)h->config.hid;
    struct into into = {h, tape->partial + (size_t)i * n_embedder};
    bool layernorm = h->config.layernorm;
    float *d_weight = layernorm ? gradient_of(&into, GHN__LN_W) : NULL;
    float *d_bias = layernorm ? gradient_of(&into, GHN__LN_B) : NULL;
    memset(into.partial, 0, n_embedder * sizeof(float));
    memset(w.at->back.state, 0, w.n_nodes * w.n * sizeof(float));
    for (size_t v = 0; v < w.n_nodes; v++)
        layer_norm_back(h, w.at->sweep[1].after + v * w.n,
                        tape->d_embeddings + (w.at->first_node + v) * hid, d_weight, d_bias,
                        w.at->back.state + v * w.n);
    if (h->config.hypernet == GHN_MLP) {
        each_alone_back(&w, &into);
    } else {
        for (int number = 1; number >= 0; number--) {
            sweep_back(&w, number);
            sweep_gradient(&w, &into, number);
        }
    }
    features_back(&w, &into);
}
