/* Attributes between JSON and their structs, driven by each operation's table. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "arch/op.h"
#include "base/json.h"

/* Where an attribute stands, for errors. */
struct place {
    const char *where; /* path of the node */
    const char *name;
    struct ghn_err *err;
};

static enum ghn_status fail(const struct place *at, enum ghn_status status, const char *found,
                            const char *expected) {
    char where[GHN_ERR_WHERE];
    (void)snprintf(where, sizeof(where), "%s.attrs.%s", at->where, at->name);
    return ghn_fail(at->err, status, where, "found %s, expected %s", found, expected);
}

static enum ghn_status check_range(const struct place *at, const struct ghn_attr *attr,
                                   double value) {
    if (value >= attr->min && value <= attr->max)
        return GHN_OK;
    char found[64], expected[96];
    (void)snprintf(found, sizeof(found), "%.15g", value);
    (void)snprintf(expected, sizeof(expected), "%.15g to %.15g", attr->min, attr->max);
    return fail(at, GHN_OUT_OF_RANGE, found, expected);
}

static enum ghn_status read_int(const struct place *at, const struct ghn_attr *attr,
                                const json_t *value, int64_t *ret) {
    if (!json_is_integer(value))
        return fail(at, GHN_WRONG_TYPE, ghn_json_kind(value), "an integer");
    int64_t n = json_integer_value(value);
    enum ghn_status status = check_range(at, attr, (double)n);
    if (status == GHN_OK)
        *ret = n;
    return status;
}

static enum ghn_status read_double(const struct place *at, const struct ghn_attr *attr,
                                   const json_t *value, double *ret) {
    if (!json_is_number(value))
        return fail(at, GHN_WRONG_TYPE, ghn_json_kind(value), "a number");
    double x = json_number_value(value);
    enum ghn_status status = check_range(at, attr, x);
    if (status == GHN_OK)
        *ret = x;
    return status;
}

static enum ghn_status read_pair(const struct place *at, const struct ghn_attr *attr,
                                 const json_t *value, int64_t ret[2]) {
    if (!json_is_array(value)) {
        int64_t both = 0;
        enum ghn_status status =
            json_is_null(value) && attr->min <= 0 ? GHN_OK : read_int(at, attr, value, &both);
        if (status == GHN_OK)
            ret[0] = ret[1] = both;
        return status;
    }
    if (json_array_size(value) != 2)
        return fail(at, GHN_WRONG_TYPE, "a list of another length", "two integers or one");
    int64_t pair[2] = {0, 0};
    for (size_t i = 0; i < 2; i++) {
        const json_t *item = json_array_get(value, i);
        if (json_is_null(item) && attr->min <= 0)
            continue;
        enum ghn_status status = read_int(at, attr, item, &pair[i]);
        if (status != GHN_OK)
            return status;
    }
    memcpy(ret, pair, sizeof(pair));
    return GHN_OK;
}

static enum ghn_status read_ints(const struct place *at, const struct ghn_attr *attr,
                                 const json_t *value, struct ghn_ints *ret) {
    struct ghn_ints ints = {0, {0}};
    if (!json_is_array(value)) {
        ints.n = 1;
        enum ghn_status status = read_int(at, attr, value, &ints.at[0]);
        if (status == GHN_OK)
            *ret = ints;
        return status;
    }
    if (json_array_size(value) > GHN_MAX_DIMS)
        return fail(at, GHN_OUT_OF_RANGE, "a longer list", "at most 8 integers");
    size_t i;
    const json_t *item;
    json_array_foreach(value, i, item) {
        enum ghn_status status = read_int(at, attr, item, &ints.at[i]);
        if (status != GHN_OK)
            return status;
        ints.n++;
    }
    *ret = ints;
    return GHN_OK;
}

static enum ghn_status read_choice(const struct place *at, const struct ghn_attr *attr,
                                   const json_t *value, int64_t *ret) {
    if (!json_is_string(value))
        return fail(at, GHN_WRONG_TYPE, ghn_json_kind(value), "a string");
    char expected[128];
    int n = snprintf(expected, sizeof(expected), "one of");
    for (int i = 0; attr->choices[i]; i++) {
        if (strcmp(attr->choices[i], json_string_value(value)) == 0) {
            *ret = i;
            return GHN_OK;
        }
        n += snprintf(expected + n, sizeof(expected) - (size_t)n, " \"%s\"", attr->choices[i]);
    }
    char found[96];
    (void)snprintf(found, sizeof(found), "\"%.80s\"", json_string_value(value));
    return fail(at, GHN_OUT_OF_RANGE, found, expected);
}

static enum ghn_status read_attr(const struct place *at, const struct ghn_attr *attr,
                                 const json_t *value, void *field) {
    switch (attr->type) {
    case GHN_ATTR_INT:
        return read_int(at, attr, value, field);
    case GHN_ATTR_DOUBLE:
        return read_double(at, attr, value, field);
    case GHN_ATTR_PAIR:
        return read_pair(at, attr, value, field);
    case GHN_ATTR_INTS:
        return read_ints(at, attr, value, field);
    case GHN_ATTR_CHOICE:
        return read_choice(at, attr, value, field);
    case GHN_ATTR_BOOL:
        if (!json_is_boolean(value))
            return fail(at, GHN_WRONG_TYPE, ghn_json_kind(value), "true or false");
        *(bool *)field = json_is_true(value);
        return GHN_OK;
    }
    return fail(at, GHN_INTERNAL, "an attribute of no type", "one");
}

/* The table's entry for a name in JSON. "kernel_size" is PyTorch's own word for what the format
 * calls kernel. */
static const struct ghn_attr *find_attr(const struct ghn_op *op, const char *name) {
    if (strcmp(name, "kernel_size") == 0)
        name = "kernel";
    for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++)
        if (strcmp(attr->name, name) == 0)
            return attr;
    return NULL;
}

static enum ghn_status unknown_attr(const struct ghn_op *op, const struct place *at) {
    char expected[256];
    int n = snprintf(expected, sizeof(expected), "%s", op->attrs ? "one of" : "no attributes");
    for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++)
        if (n < (int)sizeof(expected))
            n += snprintf(expected + n, sizeof(expected) - (size_t)n, " %s", attr->name);
    char found[128];
    (void)snprintf(found, sizeof(found), "an attribute that %s does not have", op->name);
    return fail(at, GHN_UNKNOWN_FIELD, found, expected);
}

static enum ghn_status require_all(const struct ghn_op *op, const json_t *object, const char *where,
                                   struct ghn_err *err) {
    for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++) {
        bool given = json_object_get(object, attr->name) != NULL ||
                     (strcmp(attr->name, "kernel") == 0 && json_object_get(object, "kernel_size"));
        if (!attr->required || given)
            continue;
        struct place at = {where, attr->name, err};
        return fail(&at, GHN_MISSING_FIELD, "nothing", "this attribute");
    }
    return GHN_OK;
}

enum ghn_status ghn__attrs_from_json(const struct ghn_op *op, const json_t *object,
                                     const char *where, union ghn_attrs *ret, struct ghn_err *err) {
    union ghn_attrs attrs;
    memset(&attrs, 0, sizeof(attrs));
    if (op->defaults)
        memcpy(&attrs, op->defaults, op->attrs_size);
    if (object && !json_is_object(object)) {
        char path[GHN_ERR_WHERE];
        (void)snprintf(path, sizeof(path), "%s.attrs", where);
        return ghn_fail(err, GHN_WRONG_TYPE, path, "found %s, expected an object",
                        ghn_json_kind(object));
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        struct place at = {where, name, err};
        const struct ghn_attr *attr = find_attr(op, name);
        if (!attr)
            return unknown_attr(op, &at);
        enum ghn_status status = read_attr(&at, attr, value, (char *)&attrs + attr->offset);
        if (status != GHN_OK)
            return status;
    }
    enum ghn_status status = require_all(op, object, where, err);
    if (status == GHN_OK)
        *ret = attrs;
    return status;
}

enum ghn_status ghn__attrs_check(const struct ghn_op *op, const union ghn_attrs *attrs,
                                 const char *where, struct ghn_err *err) {
    for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++) {
        const void *field = (const char *)attrs + attr->offset;
        struct place at = {where, attr->name, err};
        enum ghn_status status = GHN_OK;
        if (attr->type == GHN_ATTR_DOUBLE) {
            status = check_range(&at, attr, *(const double *)field);
        } else if (attr->type == GHN_ATTR_INTS) {
            const struct ghn_ints *ints = field;
            for (int i = 0; i < ints->n && status == GHN_OK; i++)
                status = check_range(&at, attr, (double)ints->at[i]);
        } else if (attr->type == GHN_ATTR_INT || attr->type == GHN_ATTR_PAIR) {
            const int64_t *ints = field;
            for (int i = 0; i < (attr->type == GHN_ATTR_PAIR ? 2 : 1) && status == GHN_OK; i++)
                status = check_range(&at, attr, (double)ints[i]);
        }
        if (status != GHN_OK)
            return status;
    }
    return GHN_OK;
}

static json_t *ints_to_json(const int64_t *ints, int n) {
    json_t *array = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(array, json_integer(ints[i]));
    return array;
}

static json_t *field_to_json(const struct ghn_attr *attr, const void *field) {
    switch (attr->type) {
    case GHN_ATTR_INT:
        return json_integer(*(const int64_t *)field);
    case GHN_ATTR_BOOL:
        return json_boolean(*(const bool *)field);
    case GHN_ATTR_DOUBLE:
        return json_real(*(const double *)field);
    case GHN_ATTR_PAIR:
        return ints_to_json(field, 2);
    case GHN_ATTR_INTS:
        return ints_to_json(((const struct ghn_ints *)field)->at,
                            ((const struct ghn_ints *)field)->n);
    case GHN_ATTR_CHOICE:
        return json_string(attr->choices[*(const int64_t *)field]);
    }
    return NULL;
}

static size_t field_size(enum ghn_attr_type type) {
    switch (type) {
    case GHN_ATTR_BOOL:
        return sizeof(bool);
    case GHN_ATTR_PAIR:
        return 2 * sizeof(int64_t);
    case GHN_ATTR_INTS:
        return sizeof(struct ghn_ints);
    default:
        return sizeof(int64_t); /* a double is as large */
    }
}

json_t *ghn__attrs_to_json(const struct ghn_op *op, const union ghn_attrs *attrs) {
    json_t *object = json_object();
    for (const struct ghn_attr *attr = op->attrs; attr && attr->name; attr++) {
        const char *field = (const char *)attrs + attr->offset;
        const char *usual = (const char *)op->defaults + attr->offset;
        if (!attr->required && memcmp(field, usual, field_size(attr->type)) == 0)
            continue;
        json_object_set_new(object, attr->name, field_to_json(attr, field));
    }
    return object;
}
