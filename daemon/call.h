/* The body of POST /predict, decoded. Knows nothing of HTTP, so that a fuzzer can call it. */
#ifndef GHND_CALL_H
#define GHND_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/arch.h"
#include "base/json.h"
#include "base/status.h"
#include "graph/graph.h"
#include "tensor/dtype.h"

struct ghnd_call {
    json_t *root;      /* the whole body */
    const char *model; /* within root; NULL for the default */
    enum ghn_dtype dtype;
    bool predict_class_layers;
    bool include_tensors;
    uint64_t seed;
};

/* Parses n bytes of JSON and the fields beside the network. The caller ends with ghnd_call_done. */
enum ghn_status ghnd_call_parse(const void *text, size_t n, const struct ghn_json_limits *limits,
                                struct ghnd_call *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* The same for a root that is decoded already, which stays the caller's. On failure the other
 * fields of call are as they were. */
enum ghn_status ghnd_call_fields(struct ghnd_call *call, struct ghn_err *err) GHN_MUST_CHECK;

/* Whether key is one of those fields, and so none of the network's. */
bool ghnd_call_has(const char *key);

void ghnd_call_done(struct ghnd_call *call);

/* The graph of the network, and its architecture or NULL; both freed by the caller. */
enum ghn_status ghnd_call_graph(const struct ghnd_call *call, const struct ghn_limits *limits,
                                struct ghn_graph **ret, struct ghn_arch **ret_arch,
                                struct ghn_err *err) GHN_MUST_CHECK;

#endif
