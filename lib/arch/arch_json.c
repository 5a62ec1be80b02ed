/* The arch form in JSON. */
#include <stdio.h>
#include <string.h>

#include "arch/draft.h"
#include "base/json.h"

#define FORMAT "ghn-arch/1"

/* --- Reading --- */

struct reader {
    struct ghn_arch_builder *builder;
    const json_t *root;
    const char *where;
    struct ghn_err *err; /* the builder's, once there is one */
};

static struct ghn_arena *arena_of(const struct reader *reader) {
    return &reader->builder->arch->arena;
}

/* A copy of text in the arch, so that it outlives the JSON. */
static const char *keep_text(struct reader *reader, const char *text) {
    const char *copy = ghn_arena_strdup(arena_of(reader), text);
    if (!copy)
        (void)ghn_fail_memory(reader->err);
    return copy;
}

/* A member of object that must be a string; *ret is borrowed from the JSON. */
static enum ghn_status read_string(const json_t *object, const char *where, const char *key,
                                   const char **ret, struct ghn_err *err) {
    char path[GHN_ERR_WHERE];
    const json_t *value = json_object_get(object, key);
    enum ghn_status status =
        ghn_json_expect(value, ghn_json_path(path, sizeof(path), where, key), JSON_STRING, err);
    if (status == GHN_OK)
        *ret = json_string_value(value);
    return status;
}

static enum ghn_status read_shape(const json_t *value, const char *where, struct ghn_shape *ret,
                                  struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(value, where, JSON_ARRAY, err);
    if (status != GHN_OK)
        return status;
    if (json_array_size(value) > GHN_MAX_DIMS)
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "found %zu dimensions, expected at most %d",
                        json_array_size(value), GHN_MAX_DIMS);
    struct ghn_shape shape = {.ndim = (int)json_array_size(value)};
    for (int i = 0; i < shape.ndim && status == GHN_OK; i++) {
        char path[GHN_ERR_WHERE];
        status = ghn_json_int(json_array_get(value, (size_t)i),
                              ghn_json_path_at(path, sizeof(path), where, (size_t)i), 1,
                              GHN_DIM_MAX, &shape.dim[i], err);
    }
    if (status == GHN_OK)
        *ret = shape;
    return status;
}

/* The names a node's "inputs" list, kept until every node is known. */
static enum ghn_status resolve_inputs(struct reader *reader, const json_t *list, const char *where,
                                      int *inputs) {
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) {
        char path[GHN_ERR_WHERE], path_at[GHN_ERR_WHERE];
        ghn_json_path(path, sizeof(path), where, "inputs");
        ghn_json_path_at(path_at, sizeof(path_at), path, i);
        enum ghn_status status = ghn_json_expect(item, path_at, JSON_STRING, reader->err);
        if (status != GHN_OK)
            return status;
        inputs[i] = ghn_names_find(&reader->builder->names, json_string_value(item));
        if (inputs[i] < 0)
            return ghn_fail(reader->err, GHN_UNKNOWN_INPUT, path_at, "there is no node \"%.64s\"",
                            json_string_value(item));
    }
    return GHN_OK;
}

static enum ghn_status read_renames(struct reader *reader, const json_t *params, const char *where,
                                    int node) {
    char path[GHN_ERR_WHERE];
    ghn_json_path(path, sizeof(path), where, "params");
    enum ghn_status status =
        params ? ghn_json_expect(params, path, JSON_OBJECT, reader->err) : GHN_OK;
    const char *slot;
    json_t *name;
    json_object_foreach((json_t *)params, slot, name) {
        if (status != GHN_OK)
            break;
        char at[GHN_ERR_WHERE];
        status = ghn_json_expect(name, ghn_json_path(at, sizeof(at), path, slot), JSON_STRING,
                                 reader->err);
        if (status == GHN_OK)
            ghn_arch_builder_rename(reader->builder, node, slot, json_string_value(name));
    }
    return status != GHN_OK ? status : reader->builder->err.status;
}

static enum ghn_status find_op(const json_t *object, const char *where, const struct ghn_op **ret,
                               struct ghn_err *err) {
    const char *name;
    enum ghn_status status = read_string(object, where, "op", &name, err);
    if (status != GHN_OK)
        return status;
    *ret = ghn_op_find(name);
    if (*ret)
        return GHN_OK;
    char path[GHN_ERR_WHERE];
    return ghn_fail(err, GHN_UNKNOWN_OP, ghn_json_path(path, sizeof(path), where, "op"),
                    "there is no operation \"%.64s\"", name);
}

/* Adds node i of the list, its inputs still open. */
static enum ghn_status read_node(struct reader *reader, const json_t *object, const char *where) {
    static const char *const fields[] = {"name", "op", "inputs", "attrs", "params", NULL};
    struct ghn_err *err = reader->err;
    const struct ghn_op *op = NULL;
    const char *name = NULL;
    union ghn_attrs attrs;
    enum ghn_status status = ghn_json_expect(object, where, JSON_OBJECT, err);
    if (status == GHN_OK)
        status = ghn_json_only(object, where, fields, NULL, err);
    if (status == GHN_OK)
        status = read_string(object, where, "name", &name, err);
    if (status == GHN_OK)
        status = find_op(object, where, &op, err);
    if (status == GHN_OK)
        status = ghn__attrs_from_json(op, json_object_get(object, "attrs"), where, &attrs, err);
    if (status != GHN_OK)
        return status;

    const json_t *inputs = json_object_get(object, "inputs");
    char path[GHN_ERR_WHERE];
    ghn_json_path(path, sizeof(path), where, "inputs");
    if (inputs || op->min_inputs > 0)
        status = ghn_json_expect(inputs, path, JSON_ARRAY, err);
    if (status != GHN_OK)
        return status;
    size_t n = json_array_size(inputs);
    if (n > (size_t)op->max_inputs)
        return ghn_fail(err, GHN_OUT_OF_RANGE, path, "found %zu inputs, expected at most %d", n,
                        op->max_inputs);
    int *list = ghn_arena_array(arena_of(reader), n, sizeof(*list));
    const char *kept = keep_text(reader, name), *kept_where = keep_text(reader, where);
    if (!list || !kept || !kept_where)
        return ghn_fail_memory(err);
    int node = ghn__draft_node(reader->builder, kept, kept_where, op, &attrs, list, (int)n);
    return node < 0 ? err->status
                    : read_renames(reader, json_object_get(object, "params"), where, node);
}

static enum ghn_status read_nodes(struct reader *reader) {
    char path[GHN_ERR_WHERE], at[GHN_ERR_WHERE];
    ghn_json_path(path, sizeof(path), reader->where, "nodes");
    const json_t *nodes = json_object_get(reader->root, "nodes");
    enum ghn_status status = ghn_json_expect(nodes, path, JSON_ARRAY, reader->err);
    size_t i;
    const json_t *node;
    json_array_foreach(nodes, i, node) {
        if (status != GHN_OK)
            return status;
        status = read_node(reader, node, ghn_json_path_at(at, sizeof(at), path, i));
    }
    json_array_foreach(nodes, i, node) {
        if (status != GHN_OK)
            return status;
        status = resolve_inputs(reader, json_object_get(node, "inputs"),
                                ghn_json_path_at(at, sizeof(at), path, i),
                                reader->builder->nodes[i + 1].inputs);
    }
    return status;
}

static enum ghn_status read_unused(struct reader *reader) {
    const json_t *unused = json_object_get(reader->root, "unused_parameters");
    if (!unused)
        return GHN_OK;
    char path[GHN_ERR_WHERE], at[GHN_ERR_WHERE];
    ghn_json_path(path, sizeof(path), reader->where, "unused_parameters");
    enum ghn_status status = ghn_json_expect(unused, path, JSON_OBJECT, reader->err);
    if (status == GHN_OK && json_object_size(unused) > (size_t)reader->builder->limits.max_nodes)
        status = ghn_fail(reader->err, GHN_TOO_LARGE, path, "more than %d entries",
                          reader->builder->limits.max_nodes);
    const char *name;
    json_t *shape_value;
    json_object_foreach((json_t *)unused, name, shape_value) {
        struct ghn_shape shape;
        if (status == GHN_OK)
            status = read_shape(shape_value, ghn_json_path(at, sizeof(at), path, name), &shape,
                                reader->err);
        if (status != GHN_OK)
            return status;
        ghn_arch_builder_unused(reader->builder, name, &shape);
    }
    return reader->builder->err.status;
}

/* The input's name and shape, and a builder that starts with it. */
static enum ghn_status read_input(struct reader *reader, const struct ghn_limits *limits) {
    static const char *const fields[] = {"name", "shape", NULL};
    char path[GHN_ERR_WHERE], at[GHN_ERR_WHERE];
    ghn_json_path(path, sizeof(path), reader->where, "input");
    const json_t *input = json_object_get(reader->root, "input");
    struct ghn_shape shape = {0};
    const char *name = "input", *title = "";
    enum ghn_status status = ghn_json_expect(input, path, JSON_OBJECT, reader->err);
    if (status == GHN_OK)
        status = ghn_json_only(input, path, fields, NULL, reader->err);
    if (status == GHN_OK)
        status = read_shape(json_object_get(input, "shape"),
                            ghn_json_path(at, sizeof(at), path, "shape"), &shape, reader->err);
    if (status == GHN_OK && json_object_get(input, "name"))
        status = read_string(input, path, "name", &name, reader->err);
    if (status == GHN_OK && json_object_get(reader->root, "name"))
        status = read_string(reader->root, reader->where, "name", &title, reader->err);
    if (status == GHN_OK)
        status = ghn__check_name(name, GHN_NODE_NAME_MAX, path, reader->err);
    if (status != GHN_OK)
        return status;
    reader->builder = ghn__builder_new(title, name, &shape, limits);
    if (!reader->builder)
        return ghn_fail_memory(reader->err);
    reader->err = &reader->builder->err;
    reader->builder->where = keep_text(reader, reader->where);
    return reader->builder->where ? GHN_OK : GHN_NO_MEMORY;
}

static enum ghn_status check_root(const struct reader *reader) {
    static const char *const fields[] = {
        "format", "name", "input", "nodes", "output", "unused_parameters", NULL};
    enum ghn_status status = ghn_json_expect(reader->root, reader->where, JSON_OBJECT, reader->err);
    if (status == GHN_OK)
        status = ghn_json_only(reader->root, reader->where, fields, NULL, reader->err);
    const char *format = NULL;
    if (status == GHN_OK)
        status = read_string(reader->root, reader->where, "format", &format, reader->err);
    if (status != GHN_OK || strcmp(format, FORMAT) == 0)
        return status;
    char path[GHN_ERR_WHERE];
    return ghn_fail(reader->err, GHN_OUT_OF_RANGE,
                    ghn_json_path(path, sizeof(path), reader->where, "format"),
                    "found \"%.64s\", expected \"" FORMAT "\"", format);
}

/* The number of the output node. */
static enum ghn_status find_output(struct reader *reader, int *ret) {
    const char *name = NULL;
    enum ghn_status status = read_string(reader->root, reader->where, "output", &name, reader->err);
    if (status != GHN_OK)
        return status;
    *ret = ghn_names_find(&reader->builder->names, name);
    if (*ret >= 0)
        return GHN_OK;
    char path[GHN_ERR_WHERE];
    return ghn_fail(reader->err, GHN_UNKNOWN_INPUT,
                    ghn_json_path(path, sizeof(path), reader->where, "output"),
                    "there is no node \"%.64s\"", name);
}

enum ghn_status ghn_arch_from_json(const json_t *root, const char *where,
                                   const struct ghn_limits *limits, struct ghn_arch **ret,
                                   struct ghn_err *err) {
    struct ghn_err own = GHN_ERR_INIT;
    struct reader reader = {.root = root, .where = where, .err = err ? err : &own};
    int output = -1;
    enum ghn_status status = check_root(&reader);
    if (status == GHN_OK)
        status = read_input(&reader, limits);
    if (status == GHN_OK)
        status = read_nodes(&reader);
    if (status == GHN_OK)
        status = read_unused(&reader);
    if (status == GHN_OK)
        status = find_output(&reader, &output);
    /* With an error recorded, finishing hands it over and frees the builder. */
    return reader.builder ? ghn_arch_builder_finish(reader.builder, output, ret, err) : status;
}

/* --- Writing --- */

/* Names for the parameters that are not called NODE.slot; NULL if there are none. */
static json_t *renames_to_json(const struct ghn_arch *arch, const struct ghn_arch_node *node) {
    json_t *params = NULL;
    for (int i = 0; i < node->n_params; i++) {
        const char *name = arch->params[node->params[i]].name, *slot = node->slots[i];
        size_t n = strlen(node->name);
        if (strncmp(name, node->name, n) == 0 && name[n] == '.' && strcmp(name + n + 1, slot) == 0)
            continue;
        if (!params)
            params = json_object();
        json_object_set_new(params, slot, json_string(name));
    }
    return params;
}

static json_t *node_to_json(const struct ghn_arch *arch, const struct ghn_arch_node *node) {
    json_t *object = json_pack("{s:s, s:s}", "name", node->name, "op", node->op->name);
    json_t *inputs = json_array();
    for (int i = 0; i < node->n_inputs; i++)
        json_array_append_new(inputs, json_string(arch->nodes[node->inputs[i]].name));
    json_object_set_new(object, "inputs", inputs);
    json_t *attrs = ghn__attrs_to_json(node->op, &node->attrs);
    if (json_object_size(attrs) > 0)
        json_object_set(object, "attrs", attrs);
    json_decref(attrs);
    json_t *params = renames_to_json(arch, node);
    if (params)
        json_object_set_new(object, "params", params);
    return object;
}

json_t *ghn_arch_to_json(const struct ghn_arch *arch) {
    json_t *root = json_pack("{s:s, s:s, s:{s:s}}", "format", FORMAT, "name", arch->name, "input",
                             "name", arch->nodes[0].name);
    json_object_set_new(json_object_get(root, "input"), "shape",
                        ghn_shape_to_json(&arch->nodes[0].shape));
    json_t *nodes = json_array();
    for (int i = 1; i < arch->n_nodes; i++)
        json_array_append_new(nodes, node_to_json(arch, &arch->nodes[i]));
    json_object_set_new(root, "nodes", nodes);
    json_object_set_new(root, "output", json_string(arch->nodes[arch->output].name));
    json_t *unused = json_object();
    for (int i = 0; i < arch->n_params; i++)
        if (arch->params[i].node < 0)
            json_object_set_new(unused, arch->params[i].name,
                                ghn_shape_to_json(&arch->params[i].shape));
    if (json_object_size(unused) > 0)
        json_object_set(root, "unused_parameters", unused);
    json_decref(unused);
    return root;
}
