/* What all parts of the daemon share. */
#ifndef GHND_APP_H
#define GHND_APP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/pool.h"
#include "conns.h"
#include "datasets.h"
#include "log.h"
#include "metrics.h"
#include "queue.h"
#include "snapshot.h"

struct ghnd_jobs;

/* The daemon's life, in order. */
enum ghnd_life {
    GHND_STARTING,
    GHND_SERVING,
    GHND_DRAINING, /* /readyz fails, everything else is served */
    GHND_CLOSING,  /* nothing new is accepted; what is under way is finished */
    GHND_STOPPING, /* every request is refused */
};

/* Lock rule: `lock` guards `snapshot`, the pointer; everything else is atomic, has a lock of its
 * own, or is set before threads start. */
struct ghnd_app {
    pthread_mutex_t lock;
    struct ghnd_snapshot *snapshot; /* for new requests */
    struct ghnd_log log;
    struct ghnd_metrics metrics;
    struct ghnd_conns conns;
    struct ghnd_datasets datasets;
    struct ghnd_queue *queue;        /* of what predicts */
    struct ghnd_queue *ledger_queue; /* of what asks the ledger */
    struct ghn_pool *pool;
    struct ghnd_jobs *jobs;
    atomic_int life;                /* enum ghnd_life */
    _Atomic int64_t active;         /* requests between first line and last byte */
    _Atomic int64_t suspended;      /* of those, with a suspended connection */
    _Atomic int64_t inflight_bytes; /* reserved by predictions */
    _Atomic int64_t body_bytes;     /* memory of requests' bodies */
    uint64_t id_seed;               /* of request ids */
    _Atomic uint64_t id_count;
};

/* The current snapshot, a new reference. */
struct ghnd_snapshot *ghnd_app_snapshot(struct ghnd_app *app);

/* Makes snapshot (whose reference is taken over) the current one. */
void ghnd_app_replace(struct ghnd_app *app, struct ghnd_snapshot *snapshot);

enum ghnd_life ghnd_app_life(struct ghnd_app *app);

#endif
