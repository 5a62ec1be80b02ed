/* From graph to blocks: one allocation holds a prediction, laid out before anything is computed. */
#include "ghn/predict.h"

#include <string.h>

#include "base/checked.h"
#include "ghn/decode.h"
#include "ghn/embed.h"
#include "ghn/plan.h"

/* Where the parts of a prediction lie in its storage, in bytes. */
struct layout {
    size_t blocks, outcomes, reasons, embeddings, values, total;
};

static size_t align(size_t n) {
    return (n + GHN_ALIGN - 1) / GHN_ALIGN * GHN_ALIGN;
}

/* Floats that a block takes, so that the next begins on a cache line. */
static int64_t block_floats(int64_t numel) {
    return (numel + GHN__PAD - 1) / GHN__PAD * GHN__PAD;
}

/* Blocks are no larger than their tensors, which the graph's budget bounds; but the graph may have
 * been made with any budget. False on overflow. */
static bool lay_out(const struct ghn_config *config, const struct ghn_graph *graph,
                    struct layout *ret) {
    size_t n_slots = (size_t)graph->n_slots;
    struct layout at;
    at.blocks = align(sizeof(struct ghn_prediction));
    at.outcomes = at.blocks + align(n_slots * sizeof(struct ghn_block));
    at.reasons = at.outcomes + align(n_slots * sizeof(enum ghn_outcome));
    at.embeddings = at.reasons + align(n_slots * sizeof(const char *));
    at.values = at.embeddings + align((size_t)graph->n_nodes * (size_t)config->hid * sizeof(float));
    int64_t floats = 0, bytes;
    for (int i = 0; i < graph->n_slots; i++) {
        struct ghn__plan plan = ghn__plan_slot(config, graph, i);
        if (!ghn_add_i64(floats, plan.numel, &floats) || !ghn_add_i64(floats, GHN__PAD, &floats))
            return false;
        floats -= GHN__PAD;
        floats += block_floats(plan.numel) - plan.numel;
    }
    if (!ghn_mul_i64(floats, sizeof(float), &bytes) ||
        !ghn_add_i64(bytes, (int64_t)at.values, &bytes))
        return false;
    at.total = (size_t)bytes;
    *ret = at;
    return true;
}

int64_t ghn_predict_bytes(const struct ghn_config *config, const struct ghn_graph *graph) {
    struct layout at;
    return lay_out(config, graph, &at) ? (int64_t)at.total : INT64_MAX;
}

void ghn_prediction_free(struct ghn_prediction *prediction) {
    if (prediction)
        ghn_free(prediction->storage);
}

/* What is decoded for a graph. */
struct work {
    const struct ghn_model *model;
    const struct ghn_graph *graph;
    struct ghn_prediction *prediction;
    struct ghn__weight_job *weights;
    struct ghn__vector_job *vectors;
    int n_weights, n_vectors;
    int class_slot;     /* of the classifier's weight, or -1 */
    float *class_block; /* W at position (0, 0) for it */
};

/* --- Preparing --- */

static const char why_class[] = "predict_class_layers is false";

/* What becomes of slot i, in the prediction's lists. */
static void settle(struct work *work, int i, const struct ghn__plan *plan, bool keep_class) {
    const struct ghn_slot *slot = &work->graph->slots[i];
    struct ghn_prediction *prediction = work->prediction;
    bool class_layer = plan->maker == GHN__MAKE_CLASS_WEIGHT || plan->maker == GHN__MAKE_CLASS_BIAS;
    prediction->blocks[i] = (struct ghn_block){plan->block, NULL};
    prediction->outcomes[i] = GHN_PREDICTED;
    prediction->reasons[i] = NULL;
    if (class_layer && keep_class) {
        prediction->outcomes[i] = GHN_OMITTED;
        prediction->reasons[i] = why_class;
        prediction->blocks[i].shape = slot->shape;
    } else if (slot->kind == GHN_SLOT_INIT || slot->kind == GHN_SLOT_OFF_PATH) {
        prediction->outcomes[i] = slot->kind == GHN_SLOT_INIT ? GHN_INITIALISED : GHN_OMITTED;
        prediction->reasons[i] = slot->why;
    }
}

static void add_weight(struct work *work, int i, const struct ghn__plan *plan, float *dst) {
    const struct ghn_slot *slot = &work->graph->slots[i];
    const struct ghn_config *config = &work->model->config;
    const int64_t *dim = plan->block.dim;
    struct ghn__weight_job job = {
        .embedding = work->prediction->embeddings + (size_t)slot->node * (size_t)config->hid,
        .dst = dst,
        .O = (int)dim[0],
        .I = (int)dim[1],
        .height = plan->block.ndim > 2 ? (int)dim[2] : 1,
        .width = plan->block.ndim > 3 ? (int)dim[3] : 1,
        .scale = ghn__weight_scale(config, &slot->shape),
    };
    if (plan->maker == GHN__MAKE_CLASS_WEIGHT) {
        work->class_slot = i;
        job.O = config->max_shape[0];
        job.scale = 1.0f;
        job.dst = work->class_block;
        if (config->decoder == GHN_DECODER_MLP)
            return; /* which has a head of its own */
    }
    work->weights[work->n_weights++] = job;
}

static void add_vector(struct work *work, int i, const struct ghn__plan *plan, float *dst) {
    size_t node = (size_t)work->graph->slots[i].node, hid = (size_t)work->model->config.hid;
    work->vectors[work->n_vectors++] =
        (struct ghn__vector_job){.embedding = work->prediction->embeddings + node * hid,
                                 .dst = dst,
                                 .n = (int)plan->numel,
                                 .maker = plan->maker};
}

/* Slot i: its outcome, and a job if it is decoded into dst. */
static void prepare(struct work *work, int i, bool keep_class, float *dst) {
    struct ghn__plan plan = ghn__plan_slot(&work->model->config, work->graph, i);
    settle(work, i, &plan, keep_class);
    if (plan.maker == GHN__MAKE_NOTHING || work->prediction->outcomes[i] == GHN_OMITTED)
        return;
    work->prediction->blocks[i].data = dst;
    if (plan.maker == GHN__MAKE_CONSTANT)
        *dst = (float)work->graph->slots[i].init.a;
    else if (plan.maker == GHN__MAKE_WEIGHT || plan.maker == GHN__MAKE_CLASS_WEIGHT)
        add_weight(work, i, &plan, dst);
    else
        add_vector(work, i, &plan, dst);
}

static enum ghn_status prediction_alloc(const struct ghn_model *model,
                                        const struct ghn_graph *graph, struct ghn_prediction **ret,
                                        float **ret_values, struct ghn_err *err) {
    struct layout at;
    if (!lay_out(&model->config, graph, &at))
        return ghn_fail(err, GHN_TOO_LARGE, NULL, "the prediction's size exceeds 2^63 bytes");
    char *storage = ghn_malloc(at.total);
    if (!storage)
        return ghn_fail_memory(err);
    struct ghn_prediction *prediction = (struct ghn_prediction *)storage;
    *prediction = (struct ghn_prediction){
        .graph = graph,
        .blocks = (struct ghn_block *)(storage + at.blocks),
        .outcomes = (enum ghn_outcome *)(storage + at.outcomes),
        .reasons = (const char **)(storage + at.reasons),
        .embeddings = (float *)(storage + at.embeddings),
        .n_bytes = at.total,
        .storage = storage,
    };
    *ret = prediction;
    *ret_values = (float *)(storage + at.values);
    return GHN_OK;
}

static enum ghn_status work_init(struct work *work, struct ghn_err *err) {
    const int *max = work->model->config.max_shape;
    size_t n = (size_t)work->graph->n_slots;
    work->class_slot = -1;
    work->weights = ghn_calloc(n, sizeof(*work->weights));
    work->vectors = ghn_calloc(n, sizeof(*work->vectors));
    work->class_block = ghn_malloc((size_t)max[0] * (size_t)max[1] * sizeof(float));
    return work->weights && work->vectors && work->class_block ? GHN_OK : ghn_fail_memory(err);
}

static void work_done(struct work *work) {
    ghn_free(work->weights);
    ghn_free(work->vectors);
    ghn_free(work->class_block);
}

/* --- Decoding --- */

static enum ghn_status decode_class(const struct work *work, struct ghn_err *err) {
    int i = work->class_slot;
    if (i < 0)
        return GHN_OK;
    const struct ghn_model *model = work->model;
    const struct ghn_slot *slot = &work->graph->slots[i];
    const struct ghn_block *block = &work->prediction->blocks[i];
    const float *embedding =
        work->prediction->embeddings + (size_t)slot->node * (size_t)model->config.hid;
    return ghn__decode_class_weight(
        model, embedding, work->class_block, (int)block->shape.dim[0], (int)block->shape.dim[1],
        ghn__weight_scale(&model->config, &slot->shape), (float *)block->data, err);
}

static enum ghn_status decode_all(const struct work *work, struct ghn_pool *pool,
                                  struct ghn_err *err) {
    const struct ghn_model *model = work->model;
    enum ghn_status status = ghn__embed(model, work->graph, work->prediction->embeddings, err);
    if (status == GHN_OK)
        status = ghn__decode_vectors(model, work->vectors, work->n_vectors, pool, err);
    if (status == GHN_OK)
        status = ghn__decode_weights(model, work->weights, work->n_weights, pool, err);
    if (status == GHN_OK)
        status = decode_class(work, err);
    return status;
}

enum ghn_status ghn_predict(const struct ghn_model *model, const struct ghn_graph *graph,
                            const struct ghn_predict_options *options, struct ghn_pool *pool,
                            struct ghn_prediction **ret, struct ghn_err *err) {
    struct work work = {.model = model, .graph = graph};
    float *values = NULL;
    enum ghn_status status = prediction_alloc(model, graph, &work.prediction, &values, err);
    if (status == GHN_OK)
        status = work_init(&work, err);
    if (status == GHN_OK) {
        work.prediction->seed = options ? options->seed : 0;
        for (int i = 0; i < graph->n_slots; i++) {
            prepare(&work, i, options && options->keep_class_layers, values);
            values += block_floats(ghn__plan_slot(&model->config, graph, i).numel);
        }
        status = decode_all(&work, pool, err);
    }
    work_done(&work);
    if (status == GHN_OK)
        *ret = work.prediction;
    else
        ghn_prediction_free(work.prediction);
    return status;
}
