#include "stream.h"

#include <stdlib.h>

#include "clock.h"

struct ghnd_stream *ghnd_stream_new(struct ghnd_snapshot *snapshot,
                                    _Atomic int64_t *inflight_bytes) {
    struct ghnd_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return NULL;
    stream->snapshot = ghnd_snapshot_ref(snapshot);
    stream->inflight_bytes = inflight_bytes;
    return stream;
}

void ghnd_stream_free(void *context) {
    struct ghnd_stream *stream = context;
    if (!stream)
        return;
    ghn_encoder_free(stream->encoder);
    ghn_prediction_free(stream->prediction);
    ghn_graph_free(stream->graph);
    ghnd_snapshot_unref(stream->snapshot);
    atomic_fetch_sub(stream->inflight_bytes, stream->reserved);
    free(stream);
}

bool ghnd_stream_admit(struct ghnd_stream *stream, const struct ghnd_model *model, int64_t more,
                       struct ghnd_problem *problem) {
    const struct ghnd_config *config = &stream->snapshot->config;
    int64_t n = stream->graph->n_nodes;
    int64_t bytes = ghn_predict_bytes(ghn_model_config(model->model), stream->graph);
    if (bytes < 0 || bytes > config->max_prediction_bytes) {
        ghnd_problem_set(problem, GHND_E_LIBRARY_TOO_LARGE, "",
                         "the prediction would take %lld bytes; the limit is %lld",
                         (long long)bytes, (long long)config->max_prediction_bytes);
        return false;
    }
    bytes += 2 * n * n + more; /* the graph's distances */
    int64_t before = atomic_fetch_add(stream->inflight_bytes, bytes);
    stream->reserved = bytes;
    if (before == 0 || before + bytes <= config->max_inflight_bytes)
        return true; /* one alone is always let through */
    ghnd_problem_set(problem, GHND_E_OVERLOADED, "",
                     "the answers under way take %lld bytes of the %lld set aside for them",
                     (long long)before, (long long)config->max_inflight_bytes);
    return false;
}

ssize_t ghnd_stream_read(void *context, uint64_t position, char *buf, size_t n) {
    struct ghnd_stream *stream = context;
    const struct ghnd_config *config = &stream->snapshot->config;
    uint64_t owed = (uint64_t)(config->min_send_rate * config->send_window / 1000);
    if (owed > 0 && position - stream->conn->mark >= owed) {
        stream->conn->mark = position;
        ghnd_conn_enter(stream->conn, GHND_PHASE_SEND, ghnd_now_ms() + config->send_window);
    }
    return (ssize_t)ghn_encoder_read(stream->encoder, position, buf, n);
}
