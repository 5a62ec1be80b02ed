/* Topological order of a draft's nodes. */
#include <string.h>

#include "arch/draft.h"

static bool sorted_already(const struct ghn_arch_builder *builder) {
    for (int i = 0; i < builder->n_nodes; i++)
        for (int j = 0; j < builder->nodes[i].n_inputs; j++)
            if (builder->nodes[i].inputs[j] >= i)
                return false;
    return true;
}

/* What Kahn's algorithm works with: node i's consumers are consumers[start[i]] to consumers[start[i
 * + 1]]. */
struct consumers {
    int *start, *list, *waiting;
};

static enum ghn_status new_consumers(const struct ghn_arch_builder *builder,
                                     struct consumers *ret) {
    size_t n = (size_t)builder->n_nodes;
    ret->start = ghn_calloc(n + 1, sizeof(int));
    ret->list = ghn_calloc((size_t)builder->n_edges + 1, sizeof(int));
    ret->waiting = ghn_calloc(n, sizeof(int));
    if (!ret->start || !ret->list || !ret->waiting)
        return GHN_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        ret->waiting[i] = builder->nodes[i].n_inputs;
        for (int j = 0; j < builder->nodes[i].n_inputs; j++)
            ret->start[builder->nodes[i].inputs[j] + 1]++;
    }
    for (size_t i = 0; i < n; i++)
        ret->start[i + 1] += ret->start[i];
    /* Filling from the back leaves start[i] at the first consumer of i. */
    for (size_t i = n; i-- > 0;)
        for (int j = 0; j < builder->nodes[i].n_inputs; j++)
            ret->list[--ret->start[builder->nodes[i].inputs[j] + 1]] = (int)i;
    for (size_t i = 0; i < n; i++)
        ret->start[i] = ret->start[i + 1];
    ret->start[n] = (int)builder->n_edges;
    return GHN_OK;
}

static void free_consumers(struct consumers *consumers) {
    ghn_free(consumers->start);
    ghn_free(consumers->list);
    ghn_free(consumers->waiting);
}

/* Kahn's algorithm; ret_order doubles as its queue. Returns how many nodes could be ordered. */
static int kahn(const struct ghn_arch_builder *builder, struct consumers *consumers,
                int *ret_order) {
    int n = 0;
    for (int i = 0; i < builder->n_nodes; i++)
        if (consumers->waiting[i] == 0)
            ret_order[n++] = i;
    for (int head = 0; head < n; head++) {
        int u = ret_order[head];
        for (int k = consumers->start[u]; k < consumers->start[u + 1]; k++)
            if (--consumers->waiting[consumers->list[k]] == 0)
                ret_order[n++] = consumers->list[k];
    }
    return n;
}

enum ghn_status ghn__draft_sort(struct ghn_arch_builder *builder, int *ret_order) {
    if (sorted_already(builder)) {
        for (int i = 0; i < builder->n_nodes; i++)
            ret_order[i] = i;
        return GHN_OK;
    }
    struct consumers consumers = {0};
    enum ghn_status status = new_consumers(builder, &consumers);
    if (status != GHN_OK) {
        status = ghn_fail_memory(&builder->err);
    } else if (kahn(builder, &consumers, ret_order) < builder->n_nodes) {
        /* From a node that still waits, going back over inputs that wait too ends up on a cycle. */
        int at = 0;
        while (consumers.waiting[at] == 0)
            at++;
        for (int step = 0; step < builder->n_nodes; step++) {
            int j = 0;
            while (consumers.waiting[builder->nodes[at].inputs[j]] == 0)
                j++;
            at = builder->nodes[at].inputs[j];
        }
        status = ghn_fail(&builder->err, GHN_CYCLE, builder->nodes[at].where,
                          "node \"%s\" depends on its own output", builder->nodes[at].name);
    }
    free_consumers(&consumers);
    return status;
}
