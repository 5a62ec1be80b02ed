/* The texts of a request's header: target, route, Accept, Authorization, framing. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "accept.h"
#include "guard.h"
#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_target(const char *text) {
    char id[GHND_PATH_ID + 1];
    enum ghnd_route route = ghnd_route_find(text, GHND_GET, id);
    assert(route <= GHND_ROUTE_NONE);
    assert((id[0] != '\0') == (strstr(ghnd_route_label(route), "{id}") != NULL));
    if (!ghnd_guard_target(text))
        assert(!strchr(text, ' ') && !strstr(text, "%00"));
    const char *authority = NULL;
    size_t n = 0;
    const char *path = ghnd_guard_path(text, &authority, &n);
    assert(path == text || (*path == '/' && authority > text && n <= strlen(authority)));
}

/* Any value of Accept gives one of our offers or none, and one that is given takes its own name. */
static void check_accept(const char *text) {
    const struct ghnd_media *media = ghnd_accept(text);
    if (media)
        assert(ghnd_accept(media->type) == media);
}

static void check_framing(char *length, const char *transfer) {
    struct ghnd_header header = {.n_host = 1, .n_length = 1, .length = length};
    struct ghnd_problem problem = {0};
    uint64_t n = 7;
    bool ok = ghnd_guard_framing(&header, "HTTP/1.1", &n, &problem);
    assert(ok == (problem.error == 0));
    assert(ok == (*length && strspn(length, "0123456789") == strlen(length)));
    header = (struct ghnd_header){.n_host = 1, .n_transfer = 1, .transfer = transfer};
    if (ghnd_guard_framing(&header, "HTTP/1.1", &n, &problem))
        assert(strlen(transfer) == strlen("chunked") && n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char token[] = "0123456789abcdef";
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    check_target(text);
    check_accept(text);
    check_framing(text, text);
    if (ghnd_guard_token(text, token))
        assert(strstr(text, token));
    free(text);
    return 0;
}
