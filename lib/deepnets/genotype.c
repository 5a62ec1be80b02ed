/* Reading the genotype form. */
#include <stddef.h>
#include <string.h>

#include "base/json.h"
#include "deepnets/layers.h"

static const char *const op_names[GHN_N_CELL_OPS] = {
#define GHN_CELL_OP(symbol, name) [GHN_CELL_##symbol] = (name),
#include "deepnets/cell_ops.def"
#undef GHN_CELL_OP
};

const char *ghn_cell_op_name(enum ghn_cell_op op) {
    return (unsigned)op < GHN_N_CELL_OPS ? op_names[op] : "?";
}

static bool cell_has_op(const struct ghn_cell *cell, enum ghn_cell_op op) {
    for (int i = 0; i < 2 * cell->n_steps; i++)
        if (cell->op[i] == op)
            return true;
    return false;
}

bool ghn__net_has_op(const struct ghn_net *net, enum ghn_cell_op op) {
    return cell_has_op(&net->normal, op) || cell_has_op(&net->reduce, op);
}

/* A value and its path. */
struct at {
    const json_t *value; /* NULL: absent */
    char path[GHN_ERR_WHERE];
};

static void member(struct at *ret, const struct at *object, const char *key) {
    ret->value = json_object_get(object->value, key);
    (void)ghn_json_path(ret->path, sizeof(ret->path), object->path, key);
}

static void element(struct at *ret, const struct at *array, size_t i) {
    ret->value = json_array_get(array->value, i);
    (void)ghn_json_path_at(ret->path, sizeof(ret->path), array->path, i);
}

/* That at is an array of min to max elements. */
static enum ghn_status expect_array(const struct at *at, size_t min, size_t max,
                                    struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(at->value, at->path, JSON_ARRAY, err);
    size_t n = json_array_size(at->value);
    if (status != GHN_OK || (n >= min && n <= max))
        return status;
    if (min == max)
        return ghn_fail(err, GHN_OUT_OF_RANGE, at->path, "found %zu elements, expected %zu", n,
                        min);
    return ghn_fail(err, GHN_OUT_OF_RANGE, at->path, "found %zu elements, expected %zu to %zu", n,
                    min, max);
}

/* --- The genotype --- */

static enum ghn_status read_op(const struct at *at, enum ghn_cell_op *ret, struct ghn_err *err) {
    enum ghn_status status = ghn_json_expect(at->value, at->path, JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    const char *name = json_string_value(at->value);
    for (int op = 0; op < GHN_N_CELL_OPS; op++)
        if (strcmp(name, op_names[op]) == 0) {
            *ret = (enum ghn_cell_op)op;
            return GHN_OK;
        }
    return ghn_fail(err, GHN_UNKNOWN_OP, at->path,
                    "\"%.64s\" is no operation of a DeepNets-1M cell", name);
}

/* Branch i of a cell: [operation, state it reads]. */
static enum ghn_status read_branch(const struct at *pair, int i, struct ghn_cell *cell,
                                   struct ghn_err *err) {
    struct at at;
    int64_t pred = 0;
    int step = i / 2;
    enum ghn_status status = expect_array(pair, 2, 2, err);
    if (status != GHN_OK)
        return status;
    element(&at, pair, 0);
    if ((status = read_op(&at, &cell->op[i], err)) != GHN_OK)
        return status;
    element(&at, pair, 1);
    if ((status = ghn_json_int(at.value, at.path, 0, GHN_MAX_STEPS, &pred, err)) != GHN_OK)
        return status;
    if (pred >= step + 2)
        return ghn_fail(err, GHN_INVALID_GENOTYPE, at.path,
                        "found state %d, but step %d can only read states 0 to %d", (int)pred, step,
                        step + 1);
    cell->pred[i] = (int)pred;
    return GHN_OK;
}

static enum ghn_status read_branches(const struct at *at, struct ghn_cell *cell,
                                     struct ghn_err *err) {
    enum ghn_status status = expect_array(at, 2, 2 * GHN_MAX_STEPS, err);
    int n = (int)json_array_size(at->value);
    if (status == GHN_OK && n % 2)
        return ghn_fail(err, GHN_INVALID_GENOTYPE, at->path,
                        "found %d branches, expected two for each step", n);
    for (int i = 0; i < n && status == GHN_OK; i++) {
        struct at pair;
        element(&pair, at, (size_t)i);
        status = read_branch(&pair, i, cell, err);
    }
    cell->n_steps = n / 2;
    return status;
}

/* The states that a cell concatenates, each at most once. */
static enum ghn_status read_concat(const struct at *at, struct ghn_cell *cell,
                                   struct ghn_err *err) {
    bool seen[GHN_MAX_STEPS + 2] = {false};
    int last = cell->n_steps + 1;
    enum ghn_status status = expect_array(at, 1, (size_t)last + 1, err);
    if (status != GHN_OK)
        return status;
    for (size_t i = 0; i < json_array_size(at->value); i++) {
        struct at item;
        int64_t state = 0;
        element(&item, at, i);
        status = ghn_json_int(item.value, item.path, 0, GHN_MAX_STEPS + 1, &state, err);
        if (status != GHN_OK)
            return status;
        if (state > last)
            return ghn_fail(err, GHN_INVALID_GENOTYPE, item.path,
                            "found state %d, but the last state of the cell is %d", (int)state,
                            last);
        if (seen[state])
            return ghn_fail(err, GHN_INVALID_GENOTYPE, item.path, "state %d is listed twice",
                            (int)state);
        seen[state] = true;
        cell->concat[i] = (int)state;
    }
    cell->n_concat = (int)json_array_size(at->value);
    return GHN_OK;
}

static enum ghn_status read_cell(const struct at *genotype, const char *branches,
                                 const char *concat, struct ghn_cell *cell, struct ghn_err *err) {
    struct at at;
    member(&at, genotype, branches);
    enum ghn_status status = read_branches(&at, cell, err);
    if (status != GHN_OK)
        return status;
    member(&at, genotype, concat);
    return read_concat(&at, cell, err);
}

static enum ghn_status read_genotype(const struct at *at, struct ghn_net *net,
                                     struct ghn_err *err) {
    static const char *const keys[] = {"normal", "normal_concat", "reduce", "reduce_concat", NULL};
    enum ghn_status status = ghn_json_expect(at->value, at->path, JSON_OBJECT, err);
    if (status == GHN_OK)
        status = ghn_json_only(at->value, at->path, keys, NULL, err);
    if (status == GHN_OK)
        status = read_cell(at, keys[0], keys[1], &net->normal, err);
    if (status == GHN_OK)
        status = read_cell(at, keys[2], keys[3], &net->reduce, err);
    return status;
}

/* --- "net" --- */

struct int_field {
    const char *name;
    size_t offset;
    bool required;
    int min, max;
};

static const struct int_field int_fields[] = {
    {"C", offsetof(struct ghn_net, C), true, 1, 4096},
    {"n_cells", offsetof(struct ghn_net, n_cells), true, 1, 1024},
    {"ks", offsetof(struct ghn_net, ks), false, 1, 15},
    {"C_mult", offsetof(struct ghn_net, C_mult), false, 1, 8},
    {"stem_type", offsetof(struct ghn_net, stem_type), false, 0, 1},
    {"fc_layers", offsetof(struct ghn_net, fc_layers), false, 1, 2},
    {"fc_dim", offsetof(struct ghn_net, fc_dim), false, 1, 65536},
};

struct bool_field {
    const char *name;
    size_t offset;
};

static const struct bool_field bool_fields[] = {
    {"preproc", offsetof(struct ghn_net, preproc)},
    {"stem_pool", offsetof(struct ghn_net, stem_pool)},
    {"glob_avg", offsetof(struct ghn_net, glob_avg)},
};

static const char *const net_keys[] = {"C",         "n_cells",   "ks",     "C_mult",
                                       "stem_type", "fc_layers", "fc_dim", "preproc",
                                       "stem_pool", "glob_avg",  "norm",   NULL};

/* The reference's defaults; fc_dim, which has none there, and input and classes are those of
 * DeepNets-1M on CIFAR-10. */
static const struct ghn_net net_defaults = {.ks = 3,
                                            .C_mult = 2,
                                            .preproc = true,
                                            .norm = GHN_NORM_BATCH_TRACK,
                                            .fc_layers = 1,
                                            .fc_dim = 256,
                                            .glob_avg = true,
                                            .input = {3, 32, 32},
                                            .num_classes = 10};

static enum ghn_status read_norm(const struct at *at, enum ghn_net_norm *ret, struct ghn_err *err) {
    if (json_is_null(at->value)) {
        *ret = GHN_NORM_NONE;
        return GHN_OK;
    }
    enum ghn_status status = ghn_json_expect(at->value, at->path, JSON_STRING, err);
    if (status != GHN_OK)
        return status;
    const char *name = json_string_value(at->value);
    if (strcmp(name, "bnorm") == 0)
        *ret = GHN_NORM_BATCH;
    else if (strcmp(name, "bn-track") == 0)
        *ret = GHN_NORM_BATCH_TRACK;
    else
        return ghn_fail(err, GHN_OUT_OF_RANGE, at->path,
                        "found \"%.64s\", expected \"bnorm\", \"bn-track\" or null", name);
    return GHN_OK;
}

static enum ghn_status read_int_fields(const struct at *object, struct ghn_net *net,
                                       struct ghn_err *err) {
    for (size_t i = 0; i < sizeof(int_fields) / sizeof(int_fields[0]); i++) {
        const struct int_field *field = &int_fields[i];
        struct at at;
        int64_t value = 0;
        member(&at, object, field->name);
        if (!at.value && !field->required)
            continue;
        enum ghn_status status =
            ghn_json_int(at.value, at.path, field->min, field->max, &value, err);
        if (status != GHN_OK)
            return status;
        *(int *)((char *)net + field->offset) = (int)value;
    }
    return GHN_OK;
}

static enum ghn_status read_net(const struct at *object, struct ghn_net *net, struct ghn_err *err) {
    struct at at;
    enum ghn_status status = ghn_json_expect(object->value, object->path, JSON_OBJECT, err);
    if (status == GHN_OK)
        status = ghn_json_only(object->value, object->path, net_keys, NULL, err);
    if (status == GHN_OK)
        status = read_int_fields(object, net, err);
    for (size_t i = 0; i < sizeof(bool_fields) / sizeof(bool_fields[0]) && status == GHN_OK; i++) {
        member(&at, object, bool_fields[i].name);
        if (at.value)
            status = ghn_json_bool(at.value, at.path, (bool *)((char *)net + bool_fields[i].offset),
                                   err);
    }
    member(&at, object, "norm");
    if (status == GHN_OK && at.value)
        status = read_norm(&at, &net->norm, err);
    return status;
}

/* --- Input and classes --- */

static enum ghn_status read_input(const struct at *at, struct ghn_net *net, struct ghn_err *err) {
    enum ghn_status status = expect_array(at, 3, 3, err);
    for (size_t i = 0; i < 3 && status == GHN_OK; i++) {
        struct at item;
        element(&item, at, i);
        status = ghn_json_int(item.value, item.path, 1, 4096, &net->input[i], err);
    }
    if (status == GHN_OK && net->input[1] != net->input[2])
        return ghn_fail(err, GHN_OUT_OF_RANGE, at->path, "the image is %d by %d, expected a square",
                        (int)net->input[1], (int)net->input[2]);
    return status;
}

static enum ghn_status read_data(const struct at *root, struct ghn_net *net, struct ghn_err *err) {
    struct at at;
    int64_t classes = net->num_classes;
    enum ghn_status status = GHN_OK;
    member(&at, root, "input");
    if (at.value)
        status = read_input(&at, net, err);
    member(&at, root, "num_classes");
    if (at.value && status == GHN_OK)
        status = ghn_json_int(at.value, at.path, 1, 65536, &classes, err);
    net->num_classes = (int)classes;
    return status;
}

/* --- What the fields must be to each other --- */

static enum ghn_status check_net(const struct at *object, const struct ghn_net *net,
                                 struct ghn_err *err) {
    struct at at;
    bool msa = ghn__net_has_op(net, GHN_CELL_MSA);
    member(&at, object, "ks");
    if (net->ks % 2 == 0)
        return ghn_fail(err, GHN_OUT_OF_RANGE, at.path, "found %d, expected an odd kernel",
                        net->ks);
    member(&at, object, "preproc");
    if (!net->preproc &&
        (net->C_mult != 1 || net->normal.n_concat != 1 || net->reduce.n_concat != 1))
        return ghn_fail(err, GHN_INVALID_GENOTYPE, at.path,
                        "found false, expected true unless C_mult is 1 and the output of both "
                        "cells is a single state");
    member(&at, object, "C");
    if (msa && net->C < 8)
        return ghn_fail(err, GHN_OUT_OF_RANGE, at.path,
                        "found %d, expected at least 8, one for each head of msa", net->C);
    if (!msa && net->C % 2)
        return ghn_fail(err, GHN_OUT_OF_RANGE, at.path,
                        "found %d, expected an even number, of which some layers take half",
                        net->C);
    return GHN_OK;
}

enum ghn_status ghn_net_from_json(const json_t *root, const char *where, struct ghn_net *ret,
                                  struct ghn_err *err) {
    struct ghn_net net = net_defaults;
    struct at top = {.value = root}, genotype, object;
    (void)ghn_json_path(top.path, sizeof(top.path), "", where);
    enum ghn_status status = ghn_json_expect(root, where, JSON_OBJECT, err);
    if (status != GHN_OK)
        return status;
    member(&genotype, &top, "genotype");
    member(&object, &top, "net");
    if ((status = read_genotype(&genotype, &net, err)) == GHN_OK &&
        (status = read_net(&object, &net, err)) == GHN_OK &&
        (status = read_data(&top, &net, err)) == GHN_OK &&
        (status = check_net(&object, &net, err)) == GHN_OK)
        *ret = net;
    return status;
}
