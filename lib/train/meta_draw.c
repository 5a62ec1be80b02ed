/* Meta-batches: which architectures a step trains on, and their graphs (ghn2-spec A4, A5).
 *
 * Candidates are numbered over the whole training. Number u is a function of (recipe, u) alone, so
 * that a training that goes on draws what it would have drawn. */
#include "base/mem.h"
#include "deepnets/sample.h"
#include "train/meta_impl.h"

enum {
    MAX_GROUPS = 1000,   /* passed over in a row before it is called an error, */
    MAX_ATTEMPTS = 1000, /* as are draws for one candidate, */
    ATTEMPT_SHIFT = 40   /* which have numbers far from other candidates' */
};

static void clear(struct ghn__candidate *candidate) {
    ghn_graph_free(candidate->graph);
    ghn_arch_free(candidate->arch);
    *candidate = (struct ghn__candidate){0};
}

enum ghn_status ghn__meta_batch_init(struct ghn__meta_batch *batch, int m, struct ghn_err *err) {
    *batch = (struct ghn__meta_batch){.m = m};
    batch->candidates = ghn_calloc((size_t)m, sizeof *batch->candidates);
    return batch->candidates ? GHN_OK : ghn_fail_memory(err);
}

void ghn__meta_batch_done(struct ghn__meta_batch *batch) {
    for (int i = 0; batch->candidates && i < batch->m; i++)
        clear(&batch->candidates[i]);
    ghn_free(batch->candidates);
    batch->candidates = NULL;
}

struct draw {
    const struct ghn_meta_recipe *recipe;
    const struct ghn_dataset *dataset;
    struct ghn__candidate *candidates;
    enum ghn_status statuses[GHN__META_BATCH_MAX];
    struct ghn_err errors[GHN__META_BATCH_MAX];
};

/* Draw number `attempt` of candidate number `use`. */
static enum ghn_status draw_net(const struct draw *draw, uint64_t use, int attempt,
                                struct ghn_net *ret, struct ghn_err *err) {
    const struct ghn_meta_recipe *recipe = draw->recipe;
    uint64_t number = use + ((uint64_t)attempt << ATTEMPT_SHIFT);
    int64_t index = (int64_t)number;
    if (recipe->pool > 0)
        index = (int64_t)(ghn_rng_bits(recipe->seed, ghn_rng_stream("pool"), number) %
                          (uint64_t)recipe->pool);
    enum ghn_status status = ghn_sample_net(GHN_DEEPNETS_TRAIN, recipe->seed, index, ret, err);
    if (status != GHN_OK)
        return status;
    ret->input[1] = ret->input[2] = recipe->side;
    ret->num_classes = draw->dataset->n_classes;
    /* A draw takes at most three numbers. Whether it is wide is asked once for all attempts: the
     * larger ones would else be refused more often and the share be less than was asked for. */
    struct ghn_rng rng = {recipe->seed, ghn_rng_stream("width"), 4 * number};
    if (ghn_rng_uniform(recipe->seed, ghn_rng_stream("wide"), use) < recipe->wide)
        ret->C = ghn_evaluation_width(ret);
    else if (recipe->widths)
        ghn_draw_width(ret, &rng);
    return GHN_OK;
}

/* The architecture of candidate number `use`: the first draw that is not too large. */
static enum ghn_status draw_arch(const struct draw *draw, uint64_t use, struct ghn_net *net,
                                 struct ghn_arch **ret, struct ghn_err *err) {
    int64_t most = draw->recipe->max_flops;
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        struct ghn_arch *arch = NULL;
        enum ghn_status status = draw_net(draw, use, attempt, net, err);
        if (status == GHN_OK)
            status = ghn_net_to_arch(net, &ghn_limits_default, &arch, err);
        if (status == GHN_OK && (most == 0 || arch->flops <= most)) {
            *ret = arch;
            return GHN_OK;
        }
        ghn_arch_free(arch);
        if (status != GHN_OK)
            return status;
    }
    return ghn_fail(err, GHN_OUT_OF_RANGE, "max_flops",
                    "%d architectures in a row have more than %lld multiply-adds", MAX_ATTEMPTS,
                    (long long)most);
}

static void build(void *context, int i) {
    struct draw *draw = context;
    struct ghn__candidate *candidate = &draw->candidates[i];
    struct ghn_err *err = &draw->errors[i];
    uint64_t use = candidate->use;
    clear(candidate);
    candidate->use = use;
    enum ghn_status status = draw_arch(draw, use, &candidate->net, &candidate->arch, err);
    if (status == GHN_OK)
        status = ghn_graph_from_arch(candidate->arch, &ghn_limits_default, &candidate->graph, err);
    draw->statuses[i] = status;
}

static int64_t count_nodes(const struct ghn__meta_batch *batch) {
    int64_t n = 0;
    for (int i = 0; i < batch->m; i++)
        n += batch->candidates[i].graph->n_nodes;
    return n;
}

enum ghn_status ghn__meta_batch_draw(struct ghn__meta_batch *batch,
                                     const struct ghn_meta_recipe *recipe,
                                     const struct ghn_dataset *dataset, struct ghn_pool *pool,
                                     uint64_t *next_use, struct ghn_err *err) {
    struct draw draw = {.recipe = recipe, .dataset = dataset, .candidates = batch->candidates};
    for (int group = 0; group < MAX_GROUPS; group++) {
        for (int i = 0; i < batch->m; i++) {
            batch->candidates[i].use = (*next_use)++;
            draw.errors[i] = (struct ghn_err)GHN_ERR_INIT;
        }
        ghn_pool_run(pool, batch->m, build, &draw);
        for (int i = 0; i < batch->m; i++)
            if (draw.statuses[i] != GHN_OK) {
                if (err)
                    *err = draw.errors[i];
                return draw.statuses[i];
            }
        if (recipe->max_nodes == 0 || count_nodes(batch) <= recipe->max_nodes)
            return GHN_OK;
    }
    return ghn_fail(err, GHN_OUT_OF_RANGE, "max_nodes",
                    "%d groups of %d architectures in a row have more than %d nodes", MAX_GROUPS,
                    batch->m, recipe->max_nodes);
}
