/* The sweeps are sequential by nature: a node's message needs its predecessors' new states. They
 * are cheap, because each node's messages A(h) and B(h) are made once (ghn2-spec C3, (b)), and
 * because the virtual edges into a node are one dense product: a row of reciprocal distances, 0
 * where there is no edge, times the matrix of B. */
#include "ghn/embed.h"

#include <math.h>
#include <string.h>

#include "ghn/layer_norm.h"

struct state {
    const struct ghn_model *model;
    const struct ghn_graph *graph;
    size_t n;        /* columns of the matrices: hid, padded */
    float *h;        /* (n_nodes, n): node states */
    float *message;  /* (n_nodes, n): A(h) */
    float *virtual_; /* (n_nodes, n): B(h) */
    float *weights;  /* (n_nodes): of the edges of one node */
    float *gates;    /* (2, 3, n): of one node */
    float *sum;      /* (n): the message to one node */
    float *hidden;   /* (n): within a message function */
    float reciprocal[GHN_NO_EDGE + 1];
};

/* --- C2: features --- */

static void features(const struct state *s, int v, float *ret) {
    const struct ghn_model *model = s->model;
    const struct ghn_graph_node *node = &s->graph->nodes[v];
    struct ghn_shape shape = node->shape;
    /* Vectors, norms of several dimensions among them, count as (n, 1, 1, 1). */
    if (shape.ndim > 1 && (node->op == GHN_PRIMITIVE_BIAS || node->op == GHN_PRIMITIVE_BN ||
                           node->op == GHN_PRIMITIVE_LN))
        shape.ndim = 1;
    int rows[4], hid = model->config.hid, quarter = hid / 4;
    ghn__shape_rows(&model->shapes, &shape, rows);
    const float *embed = model->tensors[GHN__EMBED] + (size_t)node->op * (size_t)hid;
    for (int part = 0; part < 4; part++) {
        const float *table = model->tensors[part < 2 ? GHN__CHANNEL : GHN__SPATIAL];
        const float *row = table + (size_t)rows[part] * (size_t)quarter;
        for (int j = 0; j < quarter; j++)
            ret[part * quarter + j] = embed[part * quarter + j] + row[j];
    }
}

/* --- C3: the gated graph network --- */

/* y = ReLU(second(ReLU(first(x)))). */
static void two_layers(const struct state *s, const struct ghn__dense *first,
                       const struct ghn__dense *second, const float *x, float *y) {
    const struct ghn__kernels *kernels = s->model->kernels;
    kernels->dense(s->hidden, x, first->w, first->bias, first->in, first->n);
    kernels->relu(s->hidden, NULL, 1, first->n);
    kernels->dense(y, s->hidden, second->w, second->bias, second->in, second->n);
    kernels->relu(y, NULL, 1, second->n);
}

/* Makes the messages that node v will send, from its new state. */
static void send(const struct state *s, int v) {
    const struct ghn__packed *packed = &s->model->packed;
    const float *h = s->h + (size_t)v * s->n;
    two_layers(s, &packed->message0, &packed->message2, h, s->message + (size_t)v * s->n);
    if (s->model->config.ve)
        two_layers(s, &packed->virtual0, &packed->virtual2, h, s->virtual_ + (size_t)v * s->n);
}

/* sum = the message to a node from `near`, its n_near one-hop neighbours, and over the virtual
 * edges from nodes [first, end), whose distances are dist[first ...]. */
static void receive(const struct state *s, const int *near, int n_near, const uint8_t *dist,
                    int first, int end) {
    size_t n = s->n;
    if (s->model->config.ve) {
        for (int u = first; u < end; u++)
            s->weights[u - first] = s->reciprocal[dist[u]];
        s->model->kernels->dense(s->sum, s->weights, s->virtual_ + (size_t)first * n, NULL,
                                 end - first, (int)n);
    } else {
        memset(s->sum, 0, n * sizeof(float));
    }
    for (int i = 0; i < n_near; i++) {
        const float *message = s->message + (size_t)near[i] * n;
        for (size_t j = 0; j < n; j++)
            s->sum[j] += message[j];
    }
}

/* The GRU's update of node v with the message in sum. */
static void update(const struct state *s, int v) {
    const struct ghn__kernels *kernels = s->model->kernels;
    const struct ghn__dense *in = &s->model->packed.gru_in, *state = &s->model->packed.gru_state;
    float *h = s->h + (size_t)v * s->n, *gates_h = s->gates + 3 * s->n;
    kernels->dense(s->gates, s->sum, in->w, in->bias, in->in, in->n);
    kernels->dense(gates_h, h, state->w, state->bias, state->in, state->n);
    kernels->gru(h, s->gates, gates_h, (int)s->n);
}

static void sweep_forward(const struct state *s) {
    size_t n_nodes = (size_t)s->graph->n_nodes;
    for (int v = 0; v < s->graph->n_nodes; v++) {
        const struct ghn_graph_node *node = &s->graph->nodes[v];
        receive(s, node->preds, node->n_preds, s->graph->dist_in + (size_t)v * n_nodes, 0, v);
        update(s, v);
        send(s, v);
    }
}

static void sweep_backward(const struct state *s) {
    size_t n_nodes = (size_t)s->graph->n_nodes;
    for (int v = s->graph->n_nodes - 1; v >= 0; v--) {
        const struct ghn_graph_node *node = &s->graph->nodes[v];
        receive(s, node->succs, node->n_succs, s->graph->dist + (size_t)v * n_nodes, v + 1,
                s->graph->n_nodes);
        update(s, v);
        send(s, v);
    }
}

/* The MLP baseline: every node by itself. */
static void each_alone(const struct state *s) {
    const struct ghn__packed *packed = &s->model->packed;
    for (int v = 0; v < s->graph->n_nodes; v++) {
        float *h = s->h + (size_t)v * s->n;
        two_layers(s, &packed->node0, &packed->node2, h, s->sum);
        memcpy(h, s->sum, s->n * sizeof(float));
    }
}

/* --- */

static enum ghn_status state_init(struct state *s, const struct ghn_model *model,
                                  const struct ghn_graph *graph, struct ghn_err *err) {
    size_t n_nodes = (size_t)graph->n_nodes;
    *s = (struct state){.model = model, .graph = graph, .n = (size_t)model->packed.hid_padded};
    size_t matrix = n_nodes * s->n, row = (n_nodes + GHN__PAD - 1) / GHN__PAD * GHN__PAD;
    s->h = ghn_calloc(3 * matrix + row + 8 * s->n, sizeof(float));
    if (!s->h)
        return ghn_fail_memory(err);
    s->message = s->h + matrix;
    s->virtual_ = s->message + matrix;
    s->weights = s->virtual_ + matrix;
    s->gates = s->weights + row;
    s->sum = s->gates + 6 * s->n;
    s->hidden = s->sum + s->n;
    for (int d = 1; d < GHN_NO_EDGE; d++)
        s->reciprocal[d] = 1.0f / (float)d;
    return GHN_OK;
}

enum ghn_status ghn__embed(const struct ghn_model *model, const struct ghn_graph *graph, float *ret,
                           struct ghn_err *err) {
    struct state s;
    enum ghn_status status = state_init(&s, model, graph, err);
    if (status != GHN_OK)
        return status;
    for (int v = 0; v < graph->n_nodes; v++)
        features(&s, v, s.h + (size_t)v * s.n);
    if (model->config.hypernet == GHN_MLP) {
        each_alone(&s);
    } else {
        sweep_forward(&s);
        sweep_backward(&s);
    }
    for (int v = 0; v < graph->n_nodes; v++)
        ghn__layer_norm(&model->config, model->tensors, s.h + (size_t)v * s.n,
                        ret + (size_t)v * (size_t)model->config.hid);
    ghn_free(s.h);
    return GHN_OK;
}
