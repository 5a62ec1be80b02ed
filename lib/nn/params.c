#include "nn/params.h"

#include <string.h>

#include "arch/initialise.h"
#include "arch/op.h"

/* Channels of a batch_norm2d node that tracks running statistics, or 0. */
static int64_t tracked_channels(const struct ghn_arch_node *node) {
    if (!node->op || strcmp(node->op->name, "batch_norm2d") != 0 ||
        !node->attrs.batch_norm2d.track_running_stats)
        return 0;
    return node->shape.dim[0];
}

enum ghn_status ghn_params_new(const struct ghn_arch *arch, struct ghn_params **ret,
                               struct ghn_err *err) {
    struct ghn_params *params = ghn_calloc(1, sizeof *params);
    if (!params)
        return ghn_fail_memory(err);
    params->arch = arch;
    params->offsets = ghn_calloc((size_t)arch->n_params + 1, sizeof *params->offsets);
    params->statistics_offsets =
        ghn_calloc((size_t)arch->n_nodes, sizeof *params->statistics_offsets);
    if (!params->offsets || !params->statistics_offsets)
        goto no_memory;
    for (int i = 0; i < arch->n_params; i++) {
        int64_t count = 0;
        if (!ghn_shape_numel(&arch->params[i].shape, &count))
            goto no_memory;
        params->offsets[i + 1] = params->offsets[i] + count;
    }
    params->n = params->offsets[arch->n_params];
    for (int i = 0; i < arch->n_nodes; i++) {
        int64_t channels = tracked_channels(&arch->nodes[i]);
        params->statistics_offsets[i] = channels ? params->n_statistics : -1;
        params->n_statistics += 2 * channels;
    }
    params->values = ghn_calloc((size_t)params->n, sizeof *params->values);
    params->statistics = ghn_calloc((size_t)params->n_statistics, sizeof *params->statistics);
    if (!params->values || !params->statistics)
        goto no_memory;
    for (int i = 0; i < arch->n_nodes; i++)
        for (int64_t c = 0, channels = tracked_channels(&arch->nodes[i]); c < channels; c++)
            params->statistics[params->statistics_offsets[i] + channels + c] = 1.0f;
    *ret = params;
    return GHN_OK;
no_memory:
    ghn_params_free(params);
    return ghn_fail_memory(err);
}

void ghn_params_free(struct ghn_params *params) {
    if (!params)
        return;
    ghn_free(params->values);
    ghn_free(params->offsets);
    ghn_free(params->statistics);
    ghn_free(params->statistics_offsets);
    ghn_free(params);
}

void ghn_params_initialise(struct ghn_params *params, uint64_t seed) {
    const struct ghn_arch *arch = params->arch;
    for (int i = 0; i < arch->n_params; i++)
        ghn_initialise(&arch->params[i].init, arch->params[i].name, seed, 0,
                       params->offsets[i + 1] - params->offsets[i],
                       params->values + params->offsets[i]);
}

/* --- From tensors --- */

/* The tensor called name if it is a float tensor of the shape wanted; *ret is NULL if there is none
 * and it may be absent. */
static enum ghn_status find(const struct ghn_tensors *tensors, const char *name,
                            const struct ghn_shape *shape, bool required,
                            const struct ghn_tensor **ret, struct ghn_err *err) {
    const struct ghn_tensor *tensor = ghn_tensors_find(tensors, name);
    if (!tensor && required)
        return ghn_fail(err, GHN_MISSING_FIELD, name,
                        "the network has this, and it is not among the tensors given");
    char found[GHN_SHAPE_TEXT], wanted[GHN_SHAPE_TEXT];
    if (tensor && !ghn_shape_equal(&tensor->shape, shape))
        return ghn_fail(err, GHN_SHAPE_MISMATCH, name, "shape %s; the network's is %s",
                        ghn_shape_text(&tensor->shape, found, sizeof found),
                        ghn_shape_text(shape, wanted, sizeof wanted));
    if (tensor && tensor->dtype != GHN_F32 && tensor->dtype != GHN_F16 &&
        tensor->dtype != GHN_BF16 && tensor->dtype != GHN_F64)
        return ghn_fail(err, GHN_WRONG_TYPE, name, "type %s; expected a floating-point one",
                        ghn_dtype_name(tensor->dtype));
    *ret = tensor;
    return GHN_OK;
}

/* Takes over how many batches the running statistics of a node were gathered from. Where they stand
 * without a count, they were gathered from some. */
static void load_tracked(struct ghn_params *params, const struct ghn_tensors *tensors,
                         const char *node) {
    char name[1024];
    (void)snprintf(name, sizeof name, "%s.num_batches_tracked", node);
    const struct ghn_tensor *tensor = ghn_tensors_find(tensors, name);
    int64_t count = 1;
    if (tensor && tensor->dtype == GHN_I64 && tensor->n_bytes == sizeof count)
        memcpy(&count, tensor->data, sizeof count);
    params->batches_tracked = count > 0 ? count : 0;
}

static const char *statistic_name(const struct ghn_arch_node *node, int k, char name[1024]) {
    (void)snprintf(name, 1024, "%s.%s", node->name, k ? "running_var" : "running_mean");
    return name;
}

/* Whether some running statistics of the network are among the tensors. */
static bool has_statistics(const struct ghn_arch *arch, const struct ghn_tensors *tensors) {
    char name[1024];
    for (int i = 0; i < arch->n_nodes; i++)
        for (int k = 0; tracked_channels(&arch->nodes[i]) && k < 2; k++)
            if (ghn_tensors_find(tensors, statistic_name(&arch->nodes[i], k, name)))
                return true;
    return false;
}

/* load for running statistics: with `all` either every one of the path is there or none at all. */
static enum ghn_status load_statistics(struct ghn_params *params, const struct ghn_tensors *tensors,
                                       bool all, bool copy, struct ghn_err *err) {
    const struct ghn_arch *arch = params->arch;
    const struct ghn_tensor *tensor = NULL;
    bool required = all && has_statistics(arch, tensors);
    for (int i = 0; i < arch->n_nodes; i++) {
        const struct ghn_arch_node *node = &arch->nodes[i];
        int64_t channels = tracked_channels(node);
        struct ghn_shape shape = {1, {channels}};
        for (int k = 0; channels && k < 2; k++) {
            char name[1024];
            enum ghn_status status = find(tensors, statistic_name(node, k, name), &shape,
                                          required && node->on_path, &tensor, err);
            if (status)
                return status;
            if (tensor && copy)
                ghn_dtype_to_f32(tensor->dtype,
                                 params->statistics + params->statistics_offsets[i] + k * channels,
                                 tensor->data, (size_t)channels);
        }
        if (channels && tensor && copy)
            load_tracked(params, tensors, node->name);
    }
    return GHN_OK;
}

/* Checks every parameter and statistic, and with `copy` copies them; with `all`, those on the path
 * must be there. */
static enum ghn_status load(struct ghn_params *params, const struct ghn_tensors *tensors, bool all,
                            bool copy, struct ghn_err *err) {
    const struct ghn_arch *arch = params->arch;
    const struct ghn_tensor *tensor = NULL;
    for (int i = 0; i < arch->n_params; i++) {
        enum ghn_status status = find(tensors, arch->params[i].name, &arch->params[i].shape,
                                      all && arch->params[i].on_path, &tensor, err);
        if (status)
            return status;
        if (tensor && copy)
            ghn_dtype_to_f32(tensor->dtype, params->values + params->offsets[i], tensor->data,
                             (size_t)(params->offsets[i + 1] - params->offsets[i]));
    }
    return load_statistics(params, tensors, all, copy, err);
}

enum ghn_status ghn_params_load(struct ghn_params *params, const struct ghn_tensors *tensors,
                                struct ghn_err *err) {
    enum ghn_status status = load(params, tensors, true, false, err);
    return status ? status : load(params, tensors, true, true, err);
}

enum ghn_status ghn_params_load_present(struct ghn_params *params,
                                        const struct ghn_tensors *tensors, struct ghn_err *err) {
    enum ghn_status status = load(params, tensors, false, false, err);
    return status ? status : load(params, tensors, false, true, err);
}

/* --- To tensors --- */

static struct ghn_tensor f32_tensor(const char *name, const struct ghn_shape *shape,
                                    const float *data, int64_t n) {
    return (struct ghn_tensor){.name = name,
                               .dtype = GHN_F32,
                               .shape = *shape,
                               .data = data,
                               .n_bytes = (size_t)n * sizeof *data};
}

/* The three entries of a batch_norm2d node, after the n that are there; false if there is no
 * memory. */
static bool statistics_tensors(const struct ghn_params *params, int node, struct ghn_arena *arena,
                               struct ghn_tensor *items) {
    int64_t channels = tracked_channels(&params->arch->nodes[node]);
    const char *name = params->arch->nodes[node].name;
    const float *means = params->statistics + params->statistics_offsets[node];
    struct ghn_shape shape = {1, {channels}};
    items[0] =
        f32_tensor(ghn_arena_printf(arena, "%s.running_mean", name), &shape, means, channels);
    items[1] = f32_tensor(ghn_arena_printf(arena, "%s.running_var", name), &shape, means + channels,
                          channels);
    items[2] = (struct ghn_tensor){.name = ghn_arena_printf(arena, "%s.num_batches_tracked", name),
                                   .dtype = GHN_I64,
                                   .data = &params->batches_tracked,
                                   .n_bytes = sizeof params->batches_tracked};
    return items[0].name && items[1].name && items[2].name;
}

enum ghn_status ghn_params_tensors(const struct ghn_params *params, struct ghn_arena *arena,
                                   struct ghn_tensor **ret_items, int *ret_n, struct ghn_err *err) {
    const struct ghn_arch *arch = params->arch;
    struct ghn_tensor *items =
        ghn_calloc((size_t)arch->n_params + 3 * (size_t)arch->n_nodes, sizeof *items);
    if (!items)
        return ghn_fail_memory(err);
    int n = 0;
    for (; n < arch->n_params; n++)
        items[n] = f32_tensor(arch->params[n].name, &arch->params[n].shape,
                              params->values + params->offsets[n],
                              params->offsets[n + 1] - params->offsets[n]);
    for (int i = 0; i < arch->n_nodes; i++) {
        if (params->statistics_offsets[i] < 0)
            continue;
        if (!statistics_tensors(params, i, arena, items + n)) {
            ghn_free(items);
            return ghn_fail_memory(err);
        }
        n += 3;
    }
    *ret_items = items;
    *ret_n = n;
    return GHN_OK;
}
