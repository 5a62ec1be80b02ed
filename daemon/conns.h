/* Connections and their absolute deadlines.
 *
 * The HTTP library only knows an idle time, which a byte now and then prolongs for ever. So every
 * connection has a deadline here, and one that misses it has its socket shut down. */
#ifndef GHND_CONNS_H
#define GHND_CONNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a connection is waited on for. */
enum ghnd_phase {
    GHND_PHASE_HEADER, /* the client, to send the header of its request */
    GHND_PHASE_BODY,   /* the client, to send the body */
    GHND_PHASE_WORK,   /* ourselves: no deadline */
    GHND_PHASE_SEND,   /* the client, to take the answer */
    GHND_PHASE_IDLE,   /* the client, to send another request or none */
    GHND_N_PHASES,
};

extern const char *const ghnd_phase_names[GHND_N_PHASES];

struct ghnd_conn {
    struct ghnd_conn *next, *prev;
    int fd;
    atomic_int phase;
    _Atomic int64_t deadline_ms; /* INT64_MAX for none */
    atomic_bool expired;         /* a deadline was missed and the socket shut down */
    uint64_t mark;               /* bytes of the answer handed over when the deadline was set */
};

struct ghnd_conns {
    pthread_mutex_t lock;
    struct ghnd_conn *first;
    atomic_int count;
    _Atomic uint64_t missed[GHND_N_PHASES]; /* deadlines missed so far, by phase */
};

void ghnd_conns_init(struct ghnd_conns *conns);
void ghnd_conns_done(struct ghnd_conns *conns);

/* Adds a connection that has until `deadline_ms` to send a header; NULL if there is no memory. The
 * HTTP thread that accepted it calls this, and ghnd_conns_remove before the socket is closed. */
struct ghnd_conn *ghnd_conns_add(struct ghnd_conns *conns, int fd, int64_t deadline_ms);
void ghnd_conns_remove(struct ghnd_conns *conns, struct ghnd_conn *conn);

/* Enters a phase; deadline_ms = 0 for none. */
void ghnd_conn_enter(struct ghnd_conn *conn, enum ghnd_phase phase, int64_t deadline_ms);

/* Bytes that the client's side has acknowledged since the connection began; -1 if that is not
 * known, as for a socket that is none of TCP. */
int64_t ghnd_conn_taken(const struct ghnd_conn *conn);

/* Shuts down every socket whose deadline has passed. Called by the main thread. */
void ghnd_conns_sweep(struct ghnd_conns *conns, int64_t now_ms);

/* Wakes every connection whose client has closed its side while we wait for it to send something. A
 * close that arrives together with data is no edge of its own, and libmicrohttpd 0.9.75 would not
 * notice it until the deadline. Called by the main thread. */
void ghnd_conns_notice_hangups(struct ghnd_conns *conns);

/* Shuts down every socket but those in GHND_PHASE_WORK. */
void ghnd_conns_sever(struct ghnd_conns *conns);

#endif
