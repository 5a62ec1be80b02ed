/* A prediction on its way to a client: everything its bytes are made from, with one owner. */
#ifndef GHND_STREAM_H
#define GHND_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conns.h"
#include "ghn/encode.h"
#include "ghn/predict.h"
#include "graph/graph.h"
#include "problem.h"
#include "snapshot.h"

struct ghnd_stream {
    struct ghnd_snapshot *snapshot; /* a reference of its own */
    struct ghn_graph *graph;        /* owned, like the next two; NULL until made */
    struct ghn_prediction *prediction;
    struct ghn_encoder *encoder;
    _Atomic int64_t *inflight_bytes; /* where `reserved` is counted while the stream lives */
    int64_t reserved;
    struct ghnd_conn *conn; /* that it is sent on; borrowed while sending */
};

/* A stream in its starting state; NULL if there is no memory. */
struct ghnd_stream *ghnd_stream_new(struct ghnd_snapshot *snapshot,
                                    _Atomic int64_t *inflight_bytes);

/* Reserves the memory that a prediction of stream->graph by that model will take, and `more` bytes,
 * before any of it is allocated; false after setting problem. */
bool ghnd_stream_admit(struct ghnd_stream *stream, const struct ghnd_model *model, int64_t more,
                       struct ghnd_problem *problem);

/* Frees a stream and gives back what it reserved; NULL is allowed. */
void ghnd_stream_free(void *stream);

/* MHD_ContentReaderCallback: fills buf from offset `position`, and moves the deadline of the
 * connection on whenever the client has taken what a window's minimum rate asks for. */
ssize_t ghnd_stream_read(void *stream, uint64_t position, char *buf, size_t n);

#endif
