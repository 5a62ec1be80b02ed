#include "guard.h"

#include <nettle/memops.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_FIELDS = 64 };

/* Whether the n characters are a token (RFC 9110, section 5.6.2). */
static bool is_token(const char *s, size_t n) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == '\0' || !strchr(others, c)))
            return false;
    }
    return n > 0;
}

/* Whether the n characters of a field's value hold no control character but tabs. */
static bool is_value(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7F)
            return false;
    return true;
}

static void add_accept(struct ghnd_header *header, const char *value) {
    size_t used = strlen(header->accept);
    (void)snprintf(header->accept + used, sizeof(header->accept) - used, "%s%s", used ? "," : "",
                   value);
}

static bool names(const char *key, const char *name) {
    return strcasecmp(key, name) == 0;
}

/* MHD_KeyValueIteratorN: notes one field. */
static enum MHD_Result note(void *context, enum MHD_ValueKind kind, const char *key,
                            size_t key_size, const char *value, size_t value_size) {
    (void)kind;
    struct ghnd_header *header = context;
    if (!is_token(key, key_size) || !is_value(value ? value : "", value ? value_size : 0)) {
        header->malformed = true;
        return MHD_YES;
    }
    const char *text = value ? value : "";
    if (names(key, "Host"))
        header->n_host++, header->host = text;
    else if (names(key, "Origin"))
        header->n_origin++, header->origin = text;
    else if (names(key, "Content-Length"))
        header->n_length++, header->length = text;
    else if (names(key, "Transfer-Encoding"))
        header->n_transfer++, header->transfer = text;
    else if (names(key, "Content-Type"))
        header->n_type++, header->type = text;
    else if (names(key, "Content-Encoding"))
        header->encoding = text;
    else if (names(key, "Authorization"))
        header->n_authorization++, header->authorization = text;
    else if (names(key, "Idempotency-Key"))
        header->n_key++, header->key = text;
    else if (names(key, "Last-Event-ID"))
        header->last_event = text;
    else if (names(key, "Range"))
        header->condition.range = text;
    else if (names(key, "If-Range"))
        header->condition.if_range = text;
    else if (names(key, "If-Match"))
        header->condition.if_match = text;
    else if (names(key, "If-None-Match"))
        header->condition.if_none_match = text;
    else if (names(key, "X-Request-Id"))
        header->request_id = text;
    else if (names(key, "Accept"))
        add_accept(header, text);
    return MHD_YES;
}

void ghnd_header_read(struct MHD_Connection *connection, struct ghnd_header *ret) {
    memset(ret, 0, sizeof(*ret));
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, note, ret);
}

static bool refuse(struct ghnd_problem *problem, const char *where, const char *detail) {
    ghnd_problem_set(problem, GHND_E_BAD_REQUEST, where, "%s", detail);
    return false;
}

/* A decimal number without sign, space or list, up to 2^64 - 1 (beyond: that). */
static bool parse_length(const char *text, uint64_t *ret) {
    size_t n = strspn(text, "0123456789");
    if (n == 0 || text[n] != '\0')
        return false;
    uint64_t length = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(length, UINT64_C(10), &length) ||
            __builtin_add_overflow(length, (uint64_t)(text[i] - '0'), &length)) {
            length = UINT64_MAX;
            break;
        }
    *ret = length;
    return true;
}

bool ghnd_guard_framing(const struct ghnd_header *header, const char *version, uint64_t *ret_length,
                        struct ghnd_problem *problem) {
    uint64_t length = 0;
    if (header->malformed)
        return refuse(problem, "",
                      "a header field has a name or value with characters that HTTP "
                      "does not allow");
    if (header->n_host == 0 && strcmp(version, "HTTP/1.1") == 0)
        return refuse(problem, "Host", "HTTP/1.1 asks for the field");
    if (header->n_host > 1)
        return refuse(problem, "Host", "the field may stand only once");
    if (header->n_length > 1)
        return refuse(problem, "Content-Length", "the field may stand only once");
    if (header->n_transfer > 0 && header->n_length > 0)
        return refuse(problem, "Transfer-Encoding", "the field excludes Content-Length");
    if (header->n_transfer > 1)
        return refuse(problem, "Transfer-Encoding", "the field may stand only once");
    if (header->n_transfer == 1 && strcmp(version, "HTTP/1.1") != 0)
        return refuse(problem, "Transfer-Encoding", "only HTTP/1.1 has transfer codings");
    if (header->n_transfer == 1 && strcasecmp(header->transfer, "chunked") != 0) {
        ghnd_problem_set(problem, GHND_E_UNSUPPORTED_TRANSFER_ENCODING, "Transfer-Encoding",
                         "expected \"chunked\", found \"%s\"", header->transfer);
        return false;
    }
    if (header->n_length == 1 && !parse_length(header->length, &length))
        return refuse(problem, "Content-Length", "expected a decimal number");
    *ret_length = length;
    return true;
}

const char *ghnd_guard_target(const char *target) {
    bool query = false;
    int fields = 0;
    for (const char *p = target; *p; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F ||
            (p[0] == '%' && p[1] == '0' && p[2] == '0'))
            return "the target of the request holds characters that it must not";
        query = query || *p == '?';
        fields += query && (*p == '?' || *p == '&');
    }
    return fields > MAX_FIELDS ? "the target of the request has too many fields" : NULL;
}

const char *ghnd_guard_path(const char *target, const char **ret_authority, size_t *ret_n) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], n) != 0)
            continue;
        *ret_authority = target + n;
        *ret_n = strcspn(target + n, "/");
        target += n + *ret_n;
        return *target ? target : "/";
    }
    return target;
}

bool ghnd_guard_origin(const struct ghnd_header *header, const char *authority, size_t n,
                       struct ghnd_problem *problem) {
    const char *of = header->origin ? strstr(header->origin, "://") : NULL;
    if (header->n_origin == 0 || (header->n_origin == 1 && of && strlen(of + 3) == n &&
                                  strncasecmp(of + 3, authority, n) == 0))
        return true;
    ghnd_problem_set(problem, GHND_E_FOREIGN_ORIGIN, "Origin",
                     "the page is of %.100s, and the server was asked for as %.*s", header->origin,
                     n < 100 ? (int)n : 100, authority);
    return false;
}

bool ghnd_guard_token(const char *authorization, const char *token) {
    static const char scheme[] = "Bearer ";
    if (!authorization || strncasecmp(authorization, scheme, strlen(scheme)) != 0)
        return false;
    const char *given = authorization + strlen(scheme);
    while (*given == ' ')
        given++;
    size_t n = strlen(token);
    return strlen(given) == n && memeql_sec(given, token, n);
}
