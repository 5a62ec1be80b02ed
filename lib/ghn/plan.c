#include "ghn/plan.h"

#include <math.h>

#include "base/checked.h"

static bool is_class_weight(const struct ghn_graph *graph, const struct ghn_slot *slot) {
    int n = graph->n_nodes;
    const struct ghn_shape *shape = &slot->shape;
    if (slot->node != n - 2 || graph->nodes[n - 2].op != GHN_PRIMITIVE_CONV)
        return false;
    if (shape->ndim == 4)
        return shape->dim[2] == 1 && shape->dim[3] == 1 &&
               graph->nodes[n - 1].op == GHN_PRIMITIVE_BIAS;
    return shape->ndim == 2;
}

static bool is_class_bias(const struct ghn_graph *graph, const struct ghn_slot *slot) {
    int n = graph->n_nodes;
    return slot->node == n - 1 && graph->nodes[n - 1].op == GHN_PRIMITIVE_BIAS;
}

static enum ghn__maker maker_of(const struct ghn_graph *graph, const struct ghn_slot *slot) {
    switch (slot->kind) {
    case GHN_SLOT_WEIGHT:
        return is_class_weight(graph, slot) ? GHN__MAKE_CLASS_WEIGHT : GHN__MAKE_WEIGHT;
    case GHN_SLOT_NORM_WEIGHT:
        return GHN__MAKE_NORM_WEIGHT;
    case GHN_SLOT_BIAS:
        return is_class_bias(graph, slot) ? GHN__MAKE_CLASS_BIAS : GHN__MAKE_BIAS;
    case GHN_SLOT_INIT:
        return slot->init.kind == GHN_INIT_CONSTANT ? GHN__MAKE_CONSTANT : GHN__MAKE_NOTHING;
    case GHN_SLOT_OFF_PATH:
        break;
    }
    return GHN__MAKE_NOTHING;
}

struct ghn__plan ghn__plan_slot(const struct ghn_config *config, const struct ghn_graph *graph,
                                int i) {
    const struct ghn_slot *slot = &graph->slots[i];
    const int *max = config->max_shape;
    struct ghn__plan plan = {maker_of(graph, slot), slot->shape, 0};
    if (plan.maker == GHN__MAKE_NOTHING)
        return plan;
    bool weight = plan.maker == GHN__MAKE_WEIGHT || plan.maker == GHN__MAKE_CLASS_WEIGHT;
    for (int d = 0; d < plan.block.ndim; d++) {
        int64_t limit = weight ? max[d < 4 ? d : 3] : 1;
        if (d == 0 && plan.maker == GHN__MAKE_CLASS_WEIGHT)
            limit = config->num_classes;
        else if (d == 0 && plan.maker == GHN__MAKE_CLASS_BIAS)
            limit = config->num_classes;
        else if (d == 0 && !weight && plan.maker != GHN__MAKE_CONSTANT)
            limit = max[0] > max[1] ? max[0] : max[1];
        plan.block.dim[d] = ghn_min_i64(plan.block.dim[d], limit);
    }
    (void)ghn_shape_numel(&plan.block, &plan.numel);
    return plan;
}

float ghn__weight_scale(const struct ghn_config *config, const struct ghn_shape *shape) {
    if (!config->weight_norm)
        return 1.0f;
    const int64_t *dim = shape->dim;
    if (shape->ndim == 4 && dim[0] == 1 && dim[2] >= 11)
        return 1.0f;
    double fan_in = 1.0;
    for (int d = 1; d < shape->ndim; d++)
        fan_in *= (double)dim[d];
    bool no_relu = shape->ndim > 2 && (dim[1] == 1 || (shape->ndim == 4 && dim[2] < dim[3]));
    return (float)sqrt((no_relu ? 1.0 : 2.0) / fan_in);
}
