/* Prints the operations of the arch form and the ranges of the genotype form as JSON, for the test
 * that compares them with the schemas. */
#include <jansson.h>
#include <stdio.h>

#include "arch/op.h"
#include "deepnets/deepnets.h"
#include "graph/graph.h"

static json_t *ints(const int64_t *at, int n) {
    json_t *array = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(array, json_integer(at[i]));
    return array;
}

static json_t *default_of(const struct ghn_attr *attr, const void *field) {
    switch (attr->type) {
    case GHN_ATTR_INT:
        return json_integer(*(const int64_t *)field);
    case GHN_ATTR_BOOL:
        return json_boolean(*(const bool *)field);
    case GHN_ATTR_DOUBLE:
        return json_real(*(const double *)field);
    case GHN_ATTR_PAIR:
        return ints(field, 2);
    case GHN_ATTR_INTS:
        return ints(((const struct ghn_ints *)field)->at, ((const struct ghn_ints *)field)->n);
    case GHN_ATTR_CHOICE:
        return json_string(attr->choices[*(const int64_t *)field]);
    }
    return json_null();
}

static json_t *attr_json(const struct ghn_op *op, const struct ghn_attr *attr) {
    static const char *const types[] = {
        [GHN_ATTR_INT] = "int",   [GHN_ATTR_BOOL] = "bool", [GHN_ATTR_DOUBLE] = "double",
        [GHN_ATTR_PAIR] = "pair", [GHN_ATTR_INTS] = "ints", [GHN_ATTR_CHOICE] = "choice"};
    json_t *choices = json_array();
    for (int i = 0; attr->choices && attr->choices[i]; i++)
        json_array_append_new(choices, json_string(attr->choices[i]));
    return json_pack("{s:s, s:b, s:f, s:f, s:o, s:o}", "type", types[attr->type], "required",
                     attr->required, "min", attr->min, "max", attr->max, "default",
                     default_of(attr, (const char *)op->defaults + attr->offset), "choices",
                     choices);
}

static json_t *op_json(const struct ghn_op *op) {
    json_t *attrs = json_object();
    for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++)
        json_object_set_new(attrs, attr->name, attr_json(op, attr));
    return json_pack("{s:i, s:i, s:o}", "min_inputs", op->min_inputs, "max_inputs", op->max_inputs,
                     "attrs", attrs);
}

static json_t *names(const char *(*name)(int), int n) {
    json_t *array = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(array, json_string(name(i)));
    return array;
}

static const char *cell_op(int i) {
    return ghn_cell_op_name((enum ghn_cell_op)i);
}

static const char *primitive(int i) {
    static const char *const list[] = {
#define GHN_PRIMITIVE(symbol, row, name) [row] = (name),
#include "graph/primitives.def"
#undef GHN_PRIMITIVE
    };
    return list[i];
}

int main(void) {
    static const char *const op_names[] = {
#define GHN_OP(symbol, name) name,
#include "arch/ops.def"
#undef GHN_OP
    };
    json_t *ops = json_object();
    for (size_t i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++)
        json_object_set_new(ops, op_names[i], op_json(ghn_op_find(op_names[i])));
    json_t *root =
        json_pack("{s:o, s:o, s:o, s:i}", "ops", ops, "cell_ops", names(cell_op, GHN_N_CELL_OPS),
                  "primitives", names(primitive, GHN_N_PRIMITIVES), "max_steps", GHN_MAX_STEPS);
    int failed = json_dumpf(root, stdout, JSON_INDENT(1));
    json_decref(root);
    return failed ? 1 : 0;
}
