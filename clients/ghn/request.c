#include "request.h"

#include <stdio.h>

#include "cli.h"
#include "graph/form.h"

/* What a request to POST /predict may hold besides its network. */
static const char *const predict_keys[] = {"model", "dtype",           "predict_class_layers",
                                           "seed",  "include_tensors", NULL};

/* Puts a bare arch or graph under its key; takes over root. NULL if there is no memory. */
static json_t *wrap(json_t *root) {
    if (json_object_get(root, "format"))
        return json_pack("{s:o}", "arch", root);
    if (json_object_get(root, "nodes") && json_object_get(root, "edges"))
        return json_pack("{s:o}", "graph", root);
    return root;
}

enum ghn_status cli_request_read(const char *path, struct cli_request *ret, struct ghn_err *err) {
    json_t *root = NULL;
    enum ghn_status status = cli_read_json(path, &root, err);
    if (status != GHN_OK)
        return status;
    root = wrap(root);
    if (!root)
        return ghn_fail_memory(err);
    *ret = (struct cli_request){.root = root};
    return GHN_OK;
}

enum ghn_status cli_request_decode(struct cli_request *request, const char *path,
                                   struct ghn_err *err) {
    const struct ghn_request_options options = {.also = predict_keys};
    struct ghn_err inner = GHN_ERR_INIT;
    enum ghn_status status =
        ghn_graph_from_request(request->root, &options, &request->graph, &request->arch, &inner);
    if (status == GHN_OK)
        return GHN_OK;
    char where[2 * GHN_ERR_WHERE];
    (void)snprintf(where, sizeof(where), "%s%s%s", path, *inner.where ? ": " : "", inner.where);
    return ghn_fail(err, status, where, "%s", inner.message);
}

void cli_request_done(struct cli_request *request) {
    ghn_graph_free(request->graph);
    ghn_arch_free(request->arch);
    json_decref(request->root);
    *request = (struct cli_request){0};
}

const char *cli_request_name(const struct cli_request *request) {
    const char *name =
        json_string_value(json_object_get(json_object_get(request->root, "arch"), "name"));
    return name ? name : "";
}
