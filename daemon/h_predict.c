/* POST /predict: a network comes in, its parameters go out. Runs on a worker. */
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "clock.h"
#include "ghn/answer.h"
#include "request.h"

/* What one call is about while it is worked on. */
struct work {
    struct ghnd_call call;
    const struct ghnd_model *model;
    struct ghnd_stream *stream;
    struct ghn_arch *arch; /* NULL for a request that gave a graph */
    int64_t step_started_us;
};

/* Notes the time since the last call as that of a step. */
static void end_step(struct ghnd_request *request, struct work *work, enum ghnd_step step) {
    int64_t now = ghnd_now_us();
    request->steps_us[step] = now - work->step_started_us;
    work->step_started_us = now;
}

static bool parse(struct ghnd_request *request, struct work *work) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghnd_call_parse(request->body ? request->body : "", request->body_size,
                                             &request->snapshot->json_limits, &work->call, &err);
    if (!ghnd_library_succeeded(request, status, &err))
        return false;
    work->model = ghnd_find_model(request, work->call.model, "model");
    if (!work->model)
        return false;
    (void)snprintf(request->model, sizeof(request->model), "%s", work->model->id);
    return true;
}

static bool make_graph(struct ghnd_request *request, struct work *work) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghnd_call_graph(&work->call, &request->snapshot->limits,
                                             &work->stream->graph, &work->arch, &err);
    return ghnd_library_succeeded(request, status, &err);
}

/* Bytes of a report about a tensor, and how often those of a tensor itself are in memory at once
 * while it is made: as they are, and twice in base64. */
enum { TENSOR_REPORT = 1024, TENSOR_COPIES = 4 };

/* Refuses what a JSON report would have to hold in memory as a whole; *ret_bytes is what it takes
 * to make one. */
static bool admit_inline(struct ghnd_request *request, const struct work *work,
                         int64_t *ret_bytes) {
    const struct ghn_graph *graph = work->stream->graph;
    int64_t limit = request->snapshot->config.max_inline_bytes, elements = 0;
    *ret_bytes = 0;
    if (request->media->form != GHND_FORM_REPORT)
        return true;
    *ret_bytes = (int64_t)graph->n_slots * TENSOR_REPORT;
    if (!work->call.include_tensors)
        return true;
    for (int i = 0; i < graph->n_slots; i++)
        elements += graph->slots[i].numel; /* their sum is within max_parameters */
    int64_t bytes = elements * (int64_t)ghn_dtype_size(work->call.dtype);
    if (bytes <= limit) {
        *ret_bytes += TENSOR_COPIES * bytes;
        return true;
    }
    ghnd_problem_set(&request->problem, GHND_E_LIBRARY_TOO_LARGE, "include_tensors",
                     "the tensors have %lld bytes and a report takes up to %lld; ask for "
                     "application/octet-stream instead",
                     (long long)bytes, (long long)limit);
    return false;
}

static bool predict(struct ghnd_request *request, struct work *work) {
    const struct ghn_predict_options options = {
        .keep_class_layers = !work->call.predict_class_layers, .seed = work->call.seed};
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_predict(work->model->model, work->stream->graph, &options,
                                         request->app->pool, &work->stream->prediction, &err);
    return ghnd_library_succeeded(request, status, &err);
}

static const char *network_of(const struct work *work) {
    return work->arch ? work->arch->name : "";
}

/* Names the answer's file after the network, with '_' for what a file name should not hold. */
static void set_file_name(struct ghnd_reply *reply, const char *network, const char *extension) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_-.";
    char stem[64];
    (void)snprintf(stem, sizeof(stem), "%s", *network ? network : "prediction");
    for (char *p = stem; *p; p++)
        if (!strchr(allowed, *p) || (p == stem && *p == '.'))
            *p = '_';
    (void)snprintf(reply->name, sizeof(reply->name), "%s.%s", stem, extension);
}

/* Hands the stream over to the reply. */
static void reply_stream(struct ghnd_request *request, struct work *work) {
    struct ghnd_stream *stream = work->stream;
    struct ghn_err err = GHN_ERR_INIT;
    bool blocks = request->media->form == GHND_FORM_BLOCKS;
    json_t *metadata =
        ghn_answer_metadata(work->model->model, network_of(work), stream->prediction);
    enum ghn_status status =
        metadata
            ? ghn_encoder_new(stream->prediction, blocks ? GHN_FORM_BLOCKS : GHN_FORM_SAFETENSORS,
                              work->call.dtype, metadata, &stream->encoder, &err)
            : ghn_fail_memory(&err);
    json_decref(metadata);
    if (!ghnd_library_succeeded(request, status, &err))
        return;
    struct ghnd_reply *reply = &request->reply;
    reply->status = 200;
    reply->type = request->media->type;
    reply->stream = stream;
    set_file_name(reply, network_of(work), blocks ? "blocks" : "safetensors");
    work->stream = NULL;
}

static void reply_report(struct ghnd_request *request, struct work *work) {
    const struct ghn_report_options options = {.data = work->call.include_tensors,
                                               .dtype = work->call.dtype};
    ghnd_reply_json(request, ghn_answer_report(work->model->model, network_of(work),
                                               work->stream->prediction, &options));
    ghnd_reply_count(&request->reply, work->stream->inflight_bytes);
}

/* From the body to the prediction; false after setting the problem. */
static bool run_steps(struct ghnd_request *request, struct work *work) {
    int64_t report = 0;
    bool ok = parse(request, work);
    end_step(request, work, GHND_STEP_PARSE);
    if (!ok)
        return false;
    ok = make_graph(request, work);
    end_step(request, work, GHND_STEP_GRAPH);
    if (!ok || !admit_inline(request, work, &report) ||
        !ghnd_stream_admit(work->stream, work->model, report, &request->problem))
        return false;
    ok = predict(request, work);
    end_step(request, work, GHND_STEP_PREDICT);
    return ok;
}

void ghnd_h_predict(struct ghnd_request *request) {
    struct work work = {.step_started_us = ghnd_now_us()};
    work.stream = ghnd_stream_new(request->snapshot, &request->app->inflight_bytes);
    if (!work.stream) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_NO_MEMORY, "", "not enough memory");
        return;
    }
    if (run_steps(request, &work)) {
        if (request->media->form == GHND_FORM_REPORT)
            reply_report(request, &work);
        else
            reply_stream(request, &work);
        end_step(request, &work, GHND_STEP_ENCODE);
    }
    ghnd_stream_free(work.stream);
    ghn_arch_free(work.arch);
    ghnd_call_done(&work.call);
}
