#include "graph/form.h"

#include <string.h>

#include "base/json.h"
#include "deepnets/deepnets.h"

enum form { FORM_ARCH, FORM_GENOTYPE, FORM_GRAPH, N_FORMS };

static const char *const form_keys[N_FORMS] = {"arch", "genotype", "graph"};

/* What a request may hold in each form, besides the caller's own keys. */
static const char *const allowed_keys[N_FORMS][5] = {
    {"arch", NULL}, {"genotype", "net", "input", "num_classes", NULL}, {"graph", NULL}};

/* The form of a request: the one form key that it has. */
static enum ghn_status find_form(const json_t *root, enum form *ret, struct ghn_err *err) {
    int found = -1;
    for (int form = 0; form < N_FORMS; form++) {
        if (!json_object_get(root, form_keys[form]))
            continue;
        if (found >= 0)
            return ghn_fail(err, GHN_UNKNOWN_FIELD, form_keys[form],
                            "the request has \"%s\" already; exactly one of \"arch\", \"genotype\" "
                            "and \"graph\" is expected",
                            form_keys[found]);
        found = form;
    }
    if (found < 0)
        return ghn_fail(err, GHN_MISSING_FIELD, NULL,
                        "the request has no network: exactly one of \"arch\", \"genotype\" and "
                        "\"graph\" is expected");
    *ret = (enum form)found;
    return GHN_OK;
}

static enum ghn_status arch_from_genotype(const json_t *root, const struct ghn_limits *limits,
                                          struct ghn_arch **ret, struct ghn_err *err) {
    struct ghn_net net;
    enum ghn_status status = ghn_net_from_json(root, "", &net, err);
    return status == GHN_OK ? ghn_net_to_arch(&net, limits, ret, err) : status;
}

/* Whether the root is itself an arch or a graph; *ret_form says which. */
static bool is_bare(const json_t *root, enum form *ret_form) {
    if (json_object_get(root, "format"))
        *ret_form = FORM_ARCH;
    else if (json_object_get(root, "nodes") && json_object_get(root, "edges"))
        *ret_form = FORM_GRAPH;
    else
        return false;
    return true;
}

/* The network's form, and the value that holds it together with its path. */
static enum ghn_status locate(const json_t *root, const struct ghn_request_options *options,
                              enum form *ret_form, const json_t **ret_value, const char **ret_where,
                              struct ghn_err *err) {
    enum form form = FORM_ARCH;
    if (!json_is_object(root))
        return ghn_fail(err, GHN_WRONG_TYPE, NULL, "the request must be an object, found %s",
                        ghn_json_kind(root));
    if (options->allow_bare && is_bare(root, &form)) {
        *ret_form = form;
        *ret_value = root;
        *ret_where = "";
        return GHN_OK;
    }
    enum ghn_status status = find_form(root, &form, err);
    if (status == GHN_OK)
        status = ghn_json_only(root, "", allowed_keys[form], options->also, err);
    if (status != GHN_OK)
        return status;
    *ret_form = form;
    *ret_value = form == FORM_GENOTYPE ? root : json_object_get(root, form_keys[form]);
    *ret_where = form == FORM_GENOTYPE ? "" : form_keys[form];
    return GHN_OK;
}

enum ghn_status ghn_graph_from_request(const json_t *root,
                                       const struct ghn_request_options *options,
                                       struct ghn_graph **ret, struct ghn_arch **ret_arch,
                                       struct ghn_err *err) {
    const struct ghn_limits *limits = options->limits ? options->limits : &ghn_limits_default;
    struct ghn_arch *arch = NULL;
    enum form form = FORM_ARCH;
    const json_t *value = NULL;
    const char *where = "";
    enum ghn_status status = locate(root, options, &form, &value, &where, err);
    if (status != GHN_OK)
        return status;
    if (form == FORM_GRAPH) {
        status = ghn_graph_from_json(value, where, limits, ret, err);
    } else {
        status = form == FORM_ARCH ? ghn_arch_from_json(value, where, limits, &arch, err)
                                   : arch_from_genotype(value, limits, &arch, err);
        if (status == GHN_OK)
            status = ghn_graph_from_arch(arch, limits, ret, err);
    }
    if (status == GHN_OK && ret_arch)
        *ret_arch = arch;
    else
        ghn_arch_free(arch);
    return status;
}
