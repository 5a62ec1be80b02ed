/* The graph form: JSON in and out.
 *
 * Reading goes over the nodes once, with every shape checked and the parameters added up against
 * the budget, then over the edges; nothing is allocated that is larger than the text itself, and
 * the square of the node count only after that. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/names.h"
#include "graph/graph.h"

enum { NAME_MAX_BYTES = 512 };
static const int64_t dim_max = INT32_MAX;

/* What a node of an op must bring. */
enum need {
    NEED_NOTHING, /* no shape; the name is a label */
    NEED_KERNEL,  /* a pool: shape (1, 1, kh, kw); the name is a label */
    NEED_WEIGHT,  /* name, shape of 2 to 4 dimensions */
    NEED_BIAS,    /* name, shape (n) or (n, 1, 1, 1) */
    NEED_BN,      /* name X.weight, shape (n) or (n, 1, 1, 1) */
    NEED_LN,      /* name X.weight, any shape */
};

static enum need need_of(enum ghn_primitive op) {
    switch (op) {
    case GHN_PRIMITIVE_CONV:
    case GHN_PRIMITIVE_SEP_CONV:
    case GHN_PRIMITIVE_DIL_CONV:
    case GHN_PRIMITIVE_POS_ENC:
        return NEED_WEIGHT;
    case GHN_PRIMITIVE_BIAS:
        return NEED_BIAS;
    case GHN_PRIMITIVE_BN:
        return NEED_BN;
    case GHN_PRIMITIVE_LN:
        return NEED_LN;
    case GHN_PRIMITIVE_MAX_POOL:
    case GHN_PRIMITIVE_AVG_POOL:
        return NEED_KERNEL;
    default:
        return NEED_NOTHING;
    }
}

struct reader {
    struct ghn_graph *graph;
    struct ghn_graph_node *nodes;
    struct ghn_slot *slots;
    struct ghn_names names; /* of tensors -> slot */
    int64_t n_params;
    const char *where;
    const struct ghn_limits *limits;
    struct ghn_err *err;
};

/* --- Nodes --- */

static enum ghn_status read_op(const json_t *value, const char *where, enum ghn_primitive *ret,
                               struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(value, where, JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    for (int i = 0; i < GHN_N_PRIMITIVES; i++) {
        if (strcmp(ghn_primitive_name(i), json_string_value(value)) == 0) {
            *ret = i;
            return GHN_OK;
        }
    }
    return ghn_fail(err, GHN_UNKNOWN_OP, where, "\"%.80s\" is no primitive of the hypernetwork",
                    json_string_value(value));
}

/* An absent or null name is NULL. */
static enum ghn_status read_name(struct reader *r, const json_t *value, const char *where,
                                 const char **ret) {
    if (!value || json_is_null(value))
        return GHN_OK;
    enum ghn_status status = ghn_json_expect(value, where, JSON_STRING, r->err);
    if (status != GHN_OK)
        return status;
    size_t n = json_string_length(value);
    if (n < 1 || n > NAME_MAX_BYTES)
        return ghn_fail(r->err, GHN_OUT_OF_RANGE, where, "a name has 1 to %d bytes, not %zu",
                        NAME_MAX_BYTES, n);
    *ret = ghn_arena_strndup(&r->graph->arena, json_string_value(value), n);
    return *ret ? GHN_OK : ghn_fail_memory(r->err);
}

/* An absent or null shape has ndim 0. */
static enum ghn_status read_shape(const json_t *value, const char *where, struct ghn_shape *ret,
                                  struct ghn_err *err) {
    struct ghn_shape shape = {0};
    if (value && !json_is_null(value)) {
        enum ghn_status status = ghn_json_expect(value, where, JSON_ARRAY, err);
        if (status != GHN_OK)
            return status;
        size_t n = json_array_size(value);
        if (n < 1 || n > GHN_MAX_DIMS)
            return ghn_fail(err, GHN_OUT_OF_RANGE, where, "a shape has 1 to %d dimensions, not %zu",
                            GHN_MAX_DIMS, n);
        for (; shape.ndim < (int)n; shape.ndim++) {
            char path[GHN_ERR_WHERE];
            ghn_json_path_at(path, sizeof(path), where, (size_t)shape.ndim);
            status = ghn_json_int(json_array_get(value, (size_t)shape.ndim), path, 1, dim_max,
                                  &shape.dim[shape.ndim], err);
            if (status != GHN_OK)
                return status;
        }
    }
    *ret = shape;
    return GHN_OK;
}

/* Whether a shape is what the op takes; (n, 1, 1, 1) becomes (n) where it stands for that. */
static bool fit_shape(enum need need, struct ghn_shape *shape) {
    const int64_t *dim = shape->dim;
    switch (need) {
    case NEED_NOTHING:
        return shape->ndim == 0;
    case NEED_KERNEL:
        return shape->ndim == 4 && dim[0] == 1 && dim[1] == 1;
    case NEED_WEIGHT:
        return shape->ndim >= 2 && shape->ndim <= 4;
    default:
        if (shape->ndim == 4 && dim[1] == 1 && dim[2] == 1 && dim[3] == 1)
            shape->ndim = 1;
        return need == NEED_LN ? shape->ndim >= 1 : shape->ndim == 1;
    }
}

static enum ghn_status check_shape(enum need need, enum ghn_primitive op, const char *where,
                                   struct ghn_shape *shape, struct ghn_err *err) {
    static const char *const expected[] = {
        [NEED_NOTHING] = "none",
        [NEED_KERNEL] = "[1, 1, kh, kw]",
        [NEED_WEIGHT] = "2 to 4 dimensions",
        [NEED_BIAS] = "[n]",
        [NEED_BN] = "[n]",
        [NEED_LN] = "at least one dimension",
    };
    if (fit_shape(need, shape))
        return GHN_OK;
    if (shape->ndim == 0)
        return ghn_fail(err, GHN_MISSING_FIELD, where, "a node of op %s needs a shape: %s",
                        ghn_primitive_name(op), expected[need]);
    char text[GHN_SHAPE_TEXT];
    return ghn_fail(err, GHN_OUT_OF_RANGE, where, "the shape of op %s is %s, not %s",
                    ghn_primitive_name(op), expected[need],
                    ghn_shape_text(shape, text, sizeof(text)));
}

static bool ends_in_weight(const char *name) {
    size_t n = strlen(name);
    return strcmp(name, "weight") == 0 || (n > 7 && strcmp(name + n - 7, ".weight") == 0);
}

static enum ghn_status check_name(enum need need, enum ghn_primitive op, const char *where,
                                  const char *name, struct ghn_err *err) {
    if (need == NEED_NOTHING || need == NEED_KERNEL)
        return GHN_OK;
    if (!name)
        return ghn_fail(err, GHN_MISSING_FIELD, where,
                        "a node of op %s needs the name of its parameter", ghn_primitive_name(op));
    if ((need == NEED_BN || need == NEED_LN) && !ends_in_weight(name))
        return ghn_fail(err, GHN_OUT_OF_RANGE, where,
                        "the name of a %s node ends in \".weight\" (its bias is answered as "
                        "\".bias\"), unlike \"%.100s\"",
                        ghn_primitive_name(op), name);
    return GHN_OK;
}

/* Appends a tensor of the answer. */
static enum ghn_status add_slot(struct reader *r, const char *name, const struct ghn_shape *shape,
                                enum ghn_slot_kind kind, int node, const char *where) {
    int64_t numel, total;
    if (!ghn_shape_numel(shape, &numel) || !ghn_add_i64(r->n_params, numel, &total) ||
        total > r->limits->max_params)
        return ghn_fail(r->err, GHN_TOO_LARGE, where,
                        "the network has more than %lld parameters up to this node",
                        (long long)r->limits->max_params);
    int index = r->graph->n_slots;
    int known = ghn_names_add(&r->names, name, index);
    if (known == GHN_NAMES_NO_MEMORY)
        return ghn_fail_memory(r->err);
    if (known != index)
        return ghn_fail(r->err, GHN_DUPLICATE_NAME, where,
                        "there is a tensor \"%.100s\" already, at node %d", name,
                        r->slots[known].node);
    r->slots[index] = (struct ghn_slot){
        .name = name, .shape = *shape, .numel = numel, .kind = kind, .node = node};
    r->graph->n_slots++;
    r->n_params = total;
    return GHN_OK;
}

static enum ghn_status add_slots(struct reader *r, int i, enum need need, const char *where) {
    const struct ghn_graph_node *node = &r->nodes[i];
    if (need == NEED_WEIGHT)
        return add_slot(r, node->name, &node->shape, GHN_SLOT_WEIGHT, i, where);
    if (need == NEED_BIAS)
        return add_slot(r, node->name, &node->shape, GHN_SLOT_BIAS, i, where);
    if (need != NEED_BN && need != NEED_LN)
        return GHN_OK;
    int stem = (int)(strlen(node->name) - strlen("weight"));
    const char *bias = ghn_arena_printf(&r->graph->arena, "%.*sbias", stem, node->name);
    if (!bias)
        return ghn_fail_memory(r->err);
    enum ghn_status status = add_slot(r, node->name, &node->shape, GHN_SLOT_NORM_WEIGHT, i, where);
    if (status == GHN_OK)
        status = add_slot(r, bias, &node->shape, GHN_SLOT_BIAS, i, where);
    return status;
}

static enum ghn_status read_node(struct reader *r, const json_t *json, int i, const char *where) {
    static const char *const fields[] = {"op", "name", "shape", NULL};
    struct ghn_graph_node *node = &r->nodes[i];
    char path[GHN_ERR_WHERE], name_path[GHN_ERR_WHERE];
    ghn_json_path(name_path, sizeof(name_path), where, "name");
    enum ghn_status status = ghn_json_expect(json, where, JSON_OBJECT, r->err);
    if (status == GHN_OK)
        status = ghn_json_only(json, where, fields, NULL, r->err);
    if (status == GHN_OK)
        status = read_op(json_object_get(json, "op"),
                         ghn_json_path(path, sizeof(path), where, "op"), &node->op, r->err);
    if (status == GHN_OK)
        status = read_name(r, json_object_get(json, "name"), name_path, &node->name);
    if (status == GHN_OK)
        status =
            read_shape(json_object_get(json, "shape"),
                       ghn_json_path(path, sizeof(path), where, "shape"), &node->shape, r->err);
    if (status != GHN_OK)
        return status;
    enum need need = need_of(node->op);
    status = check_name(need, node->op, name_path, node->name, r->err);
    if (status == GHN_OK)
        status = check_shape(need, node->op, path, &node->shape, r->err);
    if (status == GHN_OK)
        status = add_slots(r, i, need, where);
    return status;
}

static enum ghn_status read_nodes(struct reader *r, const json_t *array, const char *where) {
    enum ghn_status status = ghn_json_expect(array, where, JSON_ARRAY, r->err);
    if (status != GHN_OK)
        return status;
    size_t n = json_array_size(array);
    if (n < 1)
        return ghn_fail(r->err, GHN_OUT_OF_RANGE, where, "a graph has at least one node");
    if (n > (size_t)r->limits->max_graph_nodes)
        return ghn_fail(r->err, GHN_TOO_LARGE, where,
                        "the graph has %zu nodes; at most %d are allowed", n,
                        r->limits->max_graph_nodes);
    r->nodes = ghn_arena_array(&r->graph->arena, n, sizeof(*r->nodes));
    r->slots = ghn_arena_array(&r->graph->arena, 2 * n, sizeof(*r->slots));
    if (!r->nodes || !r->slots)
        return ghn_fail_memory(r->err);
    for (size_t i = 0; i < n && status == GHN_OK; i++) {
        char path[GHN_ERR_WHERE];
        ghn_json_path_at(path, sizeof(path), where, i);
        status = read_node(r, json_array_get(array, i), (int)i, path);
    }
    r->graph->nodes = r->nodes;
    r->graph->n_nodes = (int)n;
    r->graph->slots = r->slots;
    return status;
}

/* --- Edges --- */

static enum ghn_status read_edge(const struct reader *r, const json_t *json, const char *where,
                                 int ret[2]) {
    enum ghn_status status = ghn_json_expect(json, where, JSON_ARRAY, r->err);
    if (status != GHN_OK)
        return status;
    if (json_array_size(json) != 2)
        return ghn_fail(r->err, GHN_OUT_OF_RANGE, where,
                        "an edge is a pair [from, to], not %zu values", json_array_size(json));
    for (size_t k = 0; k < 2; k++) {
        char path[GHN_ERR_WHERE];
        int64_t value;
        ghn_json_path_at(path, sizeof(path), where, k);
        status =
            ghn_json_int(json_array_get(json, k), path, 0, r->graph->n_nodes - 1, &value, r->err);
        if (status != GHN_OK)
            return status;
        ret[k] = (int)value;
    }
    if (ret[0] >= ret[1])
        return ghn_fail(r->err, GHN_OUT_OF_RANGE, where,
                        "the edge leads from node %d to node %d, but nodes are in topological "
                        "order, so that every edge leads to a later one",
                        ret[0], ret[1]);
    return GHN_OK;
}

static int ascending(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static enum ghn_status link_edges(struct reader *r, int (*edges)[2], int n, const char *where) {
    int *preds = ghn_arena_array(&r->graph->arena, (size_t)n, sizeof(*preds));
    if (!preds)
        return ghn_fail_memory(r->err);
    for (int i = 0; i < n; i++)
        r->nodes[edges[i][1]].n_preds++;
    for (int v = 0; v < r->graph->n_nodes; v++) {
        r->nodes[v].preds = preds;
        preds += r->nodes[v].n_preds;
        r->nodes[v].n_preds = 0;
    }
    for (int i = 0; i < n; i++) {
        struct ghn_graph_node *node = &r->nodes[edges[i][1]];
        ((int *)node->preds)[node->n_preds++] = edges[i][0];
    }
    for (int v = 0; v < r->graph->n_nodes; v++) {
        struct ghn_graph_node *node = &r->nodes[v];
        qsort((int *)node->preds, (size_t)node->n_preds, sizeof(int), ascending);
        for (int j = 1; j < node->n_preds; j++)
            if (node->preds[j] == node->preds[j - 1])
                return ghn_fail(r->err, GHN_OUT_OF_RANGE, where, "the edge [%d, %d] is there twice",
                                node->preds[j], v);
    }
    return GHN_OK;
}

static enum ghn_status read_edges(struct reader *r, const json_t *array, const char *where) {
    enum ghn_status status = ghn_json_expect(array, where, JSON_ARRAY, r->err);
    if (status != GHN_OK)
        return status;
    size_t n = json_array_size(array);
    if (n > (size_t)r->limits->max_edges)
        return ghn_fail(r->err, GHN_TOO_LARGE, where,
                        "the graph has %zu edges; at most %d are allowed", n, r->limits->max_edges);
    int(*edges)[2] = ghn_calloc(n, sizeof(*edges));
    if (!edges)
        return ghn_fail_memory(r->err);
    for (size_t i = 0; i < n && status == GHN_OK; i++) {
        char path[GHN_ERR_WHERE];
        ghn_json_path_at(path, sizeof(path), where, i);
        status = read_edge(r, json_array_get(array, i), path, edges[i]);
    }
    if (status == GHN_OK)
        status = link_edges(r, edges, (int)n, where);
    ghn_free(edges);
    return status;
}

static enum ghn_status read_graph(struct reader *r, const json_t *root) {
    static const char *const fields[] = {"nodes", "edges", NULL};
    char path[GHN_ERR_WHERE];
    enum ghn_status status = ghn_json_expect(root, r->where, JSON_OBJECT, r->err);
    if (status == GHN_OK)
        status = ghn_json_only(root, r->where, fields, NULL, r->err);
    if (status == GHN_OK)
        status = read_nodes(r, json_object_get(root, "nodes"),
                            ghn_json_path(path, sizeof(path), r->where, "nodes"));
    if (status == GHN_OK)
        status = read_edges(r, json_object_get(root, "edges"),
                            ghn_json_path(path, sizeof(path), r->where, "edges"));
    if (status == GHN_OK)
        status = ghn__graph_finish(r->graph, r->where, r->limits, r->err);
    return status;
}

enum ghn_status ghn_graph_from_json(const json_t *root, const char *where,
                                    const struct ghn_limits *limits, struct ghn_graph **ret,
                                    struct ghn_err *err) {
    struct reader r = {.where = where, .limits = limits, .err = err, .names = GHN_NAMES_INIT};
    r.graph = ghn_calloc(1, sizeof(*r.graph));
    enum ghn_status status = r.graph ? read_graph(&r, root) : ghn_fail_memory(err);
    ghn_names_done(&r.names);
    if (status == GHN_OK)
        *ret = r.graph;
    else
        ghn_graph_free(r.graph);
    return status;
}

/* --- Writing --- */

/* array with value appended (which is given away); NULL, both freed, if that fails. array may be
 * NULL. */
static json_t *append(json_t *array, json_t *value) {
    if (array && json_array_append_new(array, value) == 0)
        return array;
    if (!array)
        json_decref(value);
    json_decref(array);
    return NULL;
}

static json_t *node_to_json(const struct ghn_graph_node *node) {
    json_t *shape = node->shape.ndim ? ghn_shape_to_json(&node->shape) : json_null();
    if (!shape)
        return NULL;
    return json_pack("{s:s, s:s?, s:o}", "op", ghn_primitive_name(node->op), "name", node->name,
                     "shape", shape);
}

json_t *ghn_graph_to_json(const struct ghn_graph *graph) {
    json_t *nodes = json_array(), *edges = json_array();
    for (int v = 0; v < graph->n_nodes; v++) {
        nodes = append(nodes, node_to_json(&graph->nodes[v]));
        for (int j = 0; j < graph->nodes[v].n_preds; j++)
            edges = append(edges, json_pack("[i, i]", graph->nodes[v].preds[j], v));
    }
    if (!nodes || !edges) {
        json_decref(nodes);
        json_decref(edges);
        return NULL;
    }
    return json_pack("{s:o, s:o}", "nodes", nodes, "edges", edges);
}
