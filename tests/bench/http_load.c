/* An HTTP client that does nothing but ask and read:
 *
 *     http_load PORT CONNECTIONS REQUESTS PATH ACCEPT [BODY_FILE]
 *
 * keeps CONNECTIONS connections to 127.0.0.1 busy until REQUESTS answers have been read to their
 * last byte (GET, or POST of the file), and prints one line: requests a second, and the least,
 * median and 99th percentile of milliseconds from the first byte sent to the last byte read. One
 * thread; an answer without Content-Length or with another status than 200 ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 256, HEAD_MAX = 8192, BUFFER = 1 << 20 };

struct connection {
    int fd;
    double began;
    char head[HEAD_MAX + 1];
    size_t head_n;
    bool in_body;
    size_t body_left;
};

static char *request;
static size_t request_n;

static void die(const char *what) {
    fprintf(stderr, "http_load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static char *read_file(const char *path, size_t *ret_n) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        die(path);
    long n = ftell(file);
    char *text = malloc((size_t)n + 1);
    rewind(file);
    if (!text || fread(text, 1, (size_t)n, file) != (size_t)n)
        die(path);
    fclose(file);
    *ret_n = (size_t)n;
    return text;
}

static void make_request(const char *path, const char *accept, const char *body_file) {
    size_t n = 0;
    char *body = body_file ? read_file(body_file, &n) : NULL;
    request = malloc(HEAD_MAX + n);
    if (!request)
        die("memory");
    int head = snprintf(request, HEAD_MAX,
                        "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        body ? "POST" : "GET", path, accept, n);
    if (n)
        memcpy(request + head, body, n);
    request_n = (size_t)head + n;
    free(body);
}

static void connect_to(struct connection *c, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void ask(struct connection *c) {
    c->began = now_ms();
    c->head_n = 0;
    c->in_body = false;
    for (size_t done = 0; done < request_n;) {
        ssize_t k = send(c->fd, request + done, request_n - done, MSG_NOSIGNAL);
        if (k < 0)
            die("send");
        done += (size_t)k;
    }
}

/* Takes in n bytes of an answer's head; what is beyond it counts as body. */
static void take_head(struct connection *c, const char *data, size_t n) {
    if (c->head_n + n > HEAD_MAX)
        n = HEAD_MAX - c->head_n;
    memcpy(c->head + c->head_n, data, n);
    c->head_n += n;
    c->head[c->head_n] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return;
    errno = 0;
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head + 8, " 200", 4) != 0 || !length || length > end)
        die(c->head);
    c->body_left = strtoull(length + 17, NULL, 10);
    c->in_body = true;
    c->body_left -= c->head_n - (size_t)(end + 4 - c->head);
}

/* Reads once; true if that was the end of an answer. The head is read into a small buffer, so that
 * nothing of the body is copied twice. */
static bool advance(struct connection *c, char *buffer) {
    errno = 0;
    ssize_t k = recv(c->fd, buffer, c->in_body ? BUFFER : HEAD_MAX / 2, 0);
    if (k <= 0)
        die("the server closed the connection");
    if (c->in_body)
        c->body_left -= (size_t)k;
    else
        take_head(c, buffer, (size_t)k);
    return c->in_body && c->body_left == 0;
}

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    if (argc < 6)
        die("usage: http_load PORT CONNECTIONS REQUESTS PATH ACCEPT [BODY_FILE]");
    int port = atoi(argv[1]), n = atoi(argv[2]), total = atoi(argv[3]), asked = 0, done = 0;
    if (n < 1 || n > MAX_CONNECTIONS || total < n)
        die("CONNECTIONS is 1 to 256, REQUESTS at least as many");
    make_request(argv[4], argv[5], argc > 6 ? argv[6] : NULL);
    struct connection *connections = calloc((size_t)n, sizeof(*connections));
    struct pollfd fds[MAX_CONNECTIONS];
    double *took = calloc((size_t)total, sizeof(*took));
    char *buffer = malloc(BUFFER);
    if (!connections || !took || !buffer)
        die("memory");
    for (int i = 0; i < n; i++) {
        connect_to(&connections[i], port);
        fds[i] = (struct pollfd){.fd = connections[i].fd, .events = POLLIN};
    }
    double began = now_ms();
    for (; asked < n; asked++)
        ask(&connections[asked]);
    while (done < total) {
        if (poll(fds, (nfds_t)n, 60000) <= 0)
            die("nothing came for a minute");
        for (int i = 0; i < n && done < total; i++) {
            if (!fds[i].revents || !advance(&connections[i], buffer))
                continue;
            took[done++] = now_ms() - connections[i].began;
            if (asked < total) {
                ask(&connections[i]);
                asked++;
            } else {
                fds[i].fd = -1;
            }
        }
    }
    double all = now_ms() - began;
    qsort(took, (size_t)total, sizeof(*took), by_value);
    printf("%.1f %.2f %.2f %.2f\n", total / all * 1e3, took[0], took[total / 2],
           took[(total * 99 - 1) / 100]);
    return 0;
}
