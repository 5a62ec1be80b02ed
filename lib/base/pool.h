/* A fixed set of threads for short pieces of work that one caller waits for. */
#ifndef GHN_BASE_POOL_H
#define GHN_BASE_POOL_H

#include "base/status.h"

struct ghn_pool;

/* A pool of n threads in all, the caller's own included (n = 1 starts none; n = 0: one for every
 * processor that this process may use). Free with ghn_pool_free. GHN_NO_MEMORY, or GHN_IO if a
 * thread cannot be started. */
enum ghn_status ghn_pool_new(int n, struct ghn_pool **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Stops the threads and frees the pool; NULL is allowed. No ghn_pool_run may be under way. */
void ghn_pool_free(struct ghn_pool *pool);

/* The number of threads, the caller's included; 1 for NULL. */
int ghn_pool_size(const struct ghn_pool *pool);

/* Calls task(context, i) for every i in [0, count), spread over the pool's threads and the
 * caller's, and returns when all are done. Thread-safe: several callers may share a pool; a caller
 * always works on its own tasks, so it needs no free thread to get on. With pool NULL the caller
 * does all. Tasks must not call ghn_pool_run on the same pool. */
void ghn_pool_run(struct ghn_pool *pool, int count, void (*task)(void *context, int i),
                  void *context);

#endif
