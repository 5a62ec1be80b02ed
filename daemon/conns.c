/* Lock rule: conns->lock guards the list, and with it that a listed fd is open: a connection leaves
 * the list before its socket is closed, so whoever holds the lock never shuts down another's. Phase
 * and deadline are atomic: the connection's own HTTP thread writes them without the lock. */
#include "conns.h"

#include <linux/tcp.h> /* for more of TCP_INFO than the C library knows */
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

const char *const ghnd_phase_names[GHND_N_PHASES] = {"header", "body", "work", "send", "idle"};

void ghnd_conns_init(struct ghnd_conns *conns) {
    pthread_mutex_init(&conns->lock, NULL);
}

void ghnd_conns_done(struct ghnd_conns *conns) {
    pthread_mutex_destroy(&conns->lock);
}

struct ghnd_conn *ghnd_conns_add(struct ghnd_conns *conns, int fd, int64_t deadline_ms) {
    struct ghnd_conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return NULL;
    conn->fd = fd;
    ghnd_conn_enter(conn, GHND_PHASE_HEADER, deadline_ms);
    pthread_mutex_lock(&conns->lock);
    conn->next = conns->first;
    if (conn->next)
        conn->next->prev = conn;
    conns->first = conn;
    pthread_mutex_unlock(&conns->lock);
    atomic_fetch_add(&conns->count, 1);
    return conn;
}

void ghnd_conns_remove(struct ghnd_conns *conns, struct ghnd_conn *conn) {
    pthread_mutex_lock(&conns->lock);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        conns->first = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    pthread_mutex_unlock(&conns->lock);
    atomic_fetch_sub(&conns->count, 1);
    free(conn);
}

void ghnd_conn_enter(struct ghnd_conn *conn, enum ghnd_phase phase, int64_t deadline_ms) {
    atomic_store(&conn->phase, (int)phase);
    atomic_store(&conn->deadline_ms, deadline_ms ? deadline_ms : INT64_MAX);
}

int64_t ghnd_conn_taken(const struct ghnd_conn *conn) {
    struct tcp_info info = {0};
    socklen_t n = sizeof(info);
    if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return -1;
    return (int64_t)info.tcpi_bytes_acked;
}

void ghnd_conns_sweep(struct ghnd_conns *conns, int64_t now_ms) {
    pthread_mutex_lock(&conns->lock);
    for (struct ghnd_conn *conn = conns->first; conn; conn = conn->next) {
        int64_t deadline = atomic_load(&conn->deadline_ms);
        /* Once is enough; and the exchange fails if the connection has just entered a new phase. */
        if (deadline > now_ms ||
            !atomic_compare_exchange_strong(&conn->deadline_ms, &deadline, INT64_MAX))
            continue;
        atomic_fetch_add(&conns->missed[atomic_load(&conn->phase)], 1);
        atomic_store(&conn->expired, true);
        (void)shutdown(conn->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&conns->lock);
}

/* Whether the phase is one of waiting for the client to send. */
static bool is_receiving(int phase) {
    return phase == GHND_PHASE_HEADER || phase == GHND_PHASE_BODY || phase == GHND_PHASE_IDLE;
}

void ghnd_conns_notice_hangups(struct ghnd_conns *conns) {
    pthread_mutex_lock(&conns->lock);
    for (struct ghnd_conn *conn = conns->first; conn; conn = conn->next) {
        struct pollfd fd = {.fd = conn->fd, .events = POLLRDHUP};
        /* Nothing more will come, so shutting the receiving side changes nothing but that it wakes
         * the poll; data that is already there can still be read, and be answered. */
        if (is_receiving(atomic_load(&conn->phase)) && poll(&fd, 1, 0) == 1)
            (void)shutdown(conn->fd, SHUT_RD);
    }
    pthread_mutex_unlock(&conns->lock);
}

void ghnd_conns_sever(struct ghnd_conns *conns) {
    pthread_mutex_lock(&conns->lock);
    for (struct ghnd_conn *conn = conns->first; conn; conn = conn->next)
        if (atomic_load(&conn->phase) != GHND_PHASE_WORK)
            (void)shutdown(conn->fd, SHUT_RDWR);
    pthread_mutex_unlock(&conns->lock);
}
