#include "http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli.h"

/* What is kept of an error answer. */
enum { MAX_PROBLEM = 65536 };

/* Of a JSON answer. */
enum { MAX_ANSWER = 64 << 20 };

/* How often a request with a key is sent. */
enum { ATTEMPTS = 7 };

/* One request under way. */
struct transfer {
    const struct cli_http *http;
    CURL *curl;
    bool taken;  /* something of a good answer has come */
    bool enough; /* the taker wants no more */
    struct cli_output *output;
    struct ghn_err write_err; /* why the output took no more */
    char *problem;            /* the body of an error answer */
    size_t problem_size;
};

const char *cli_server(const char *option) {
    const char *environment = getenv("GHN_SERVER");
    if (option)
        return option;
    return environment && *environment ? environment : "http://127.0.0.1:8080";
}

static long code_of(CURL *curl) {
    long code = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

static size_t on_body(char *data, size_t size, size_t count, void *context) {
    struct transfer *transfer = context;
    size_t n = size * count, room = MAX_PROBLEM - transfer->problem_size;
    if (code_of(transfer->curl) / 100 == 2) {
        transfer->taken = true;
        if (!transfer->http->take)
            return cli_output_write(transfer->output, data, n, &transfer->write_err) == GHN_OK ? n
                                                                                               : 0;
        transfer->enough = !transfer->http->take(transfer->http->context, data, n);
        return transfer->enough ? 0 : n;
    }
    (void)memcpy(transfer->problem + transfer->problem_size, data, n < room ? n : room);
    transfer->problem_size += n < room ? n : room;
    return n;
}

static int on_progress(void *context, curl_off_t total, curl_off_t done, curl_off_t up_total,
                       curl_off_t up_done) {
    struct transfer *transfer = context;
    (void)up_total;
    (void)up_done;
    if (transfer->http->stop && *transfer->http->stop)
        return 1;
    return transfer->output &&
           !cli_output_progress(transfer->output, (uint64_t)done, (uint64_t)total);
}

/* What the server says is wrong. */
static enum ghn_status fail_with_problem(const struct transfer *transfer, const char *url,
                                         struct ghn_err *err) {
    json_t *problem = NULL;
    if (ghn_json_load(transfer->problem, transfer->problem_size, NULL, &problem, NULL) != GHN_OK)
        return ghn_fail(err, GHN_IO, url, "the server answers with HTTP status %ld",
                        code_of(transfer->curl));
    const char *where = json_string_value(json_object_get(problem, "where")),
               *detail = json_string_value(json_object_get(problem, "detail")),
               *title = json_string_value(json_object_get(problem, "title")),
               *code = json_string_value(json_object_get(problem, "code"));
    enum ghn_status status =
        ghn_fail(err, GHN_IO, where && *where ? where : url, "%s (HTTP %ld %s)",
                 detail && *detail ? detail
                 : title           ? title
                                   : "no reason given",
                 code_of(transfer->curl), code ? code : "");
    json_decref(problem);
    return status;
}

static enum ghn_status add_header(struct curl_slist **headers, const char *text,
                                  struct ghn_err *err) {
    struct curl_slist *longer = curl_slist_append(*headers, text);
    if (!longer)
        return ghn_fail_memory(err);
    *headers = longer;
    return GHN_OK;
}

/* "Authorization: Bearer ..." with the first word of the file. */
static enum ghn_status add_token(struct curl_slist **headers, const char *path,
                                 struct ghn_err *err) {
    char *text = NULL, header[4096];
    size_t size;
    enum ghn_status status = cli_read(path, &text, &size, err);
    if (status != GHN_OK)
        return status;
    size_t length = 0;
    while (length < size && (unsigned char)text[length] > ' ' && (unsigned char)text[length] < 127)
        length++;
    if (length == 0 || length > sizeof(header) - 64)
        status = ghn_fail(err, GHN_INVALID_FILE, path, "it does not begin with a token");
    else
        (void)snprintf(header, sizeof(header), "Authorization: Bearer %.*s", (int)length, text);
    free(text);
    return status == GHN_OK ? add_header(headers, header, err) : status;
}

static enum ghn_status make_headers(const struct cli_http *http, struct curl_slist **headers,
                                    struct ghn_err *err) {
    char text[256];
    (void)snprintf(text, sizeof(text), "Accept: %s", http->accept ? http->accept : "*/*");
    enum ghn_status status = add_header(headers, text, err);
    if (status == GHN_OK && http->body)
        status = add_header(headers, "Content-Type: application/json", err);
    if (status == GHN_OK && http->key) {
        (void)snprintf(text, sizeof(text), "Idempotency-Key: %s", http->key);
        status = add_header(headers, text, err);
    }
    if (status == GHN_OK && http->last_event > 0) {
        (void)snprintf(text, sizeof(text), "Last-Event-ID: %lld", (long long)http->last_event);
        status = add_header(headers, text, err);
    }
    if (status == GHN_OK && http->token_file)
        status = add_token(headers, http->token_file, err);
    return status;
}

static void set_options(struct transfer *transfer, const struct cli_http *http, const char *url,
                        struct curl_slist *headers) {
    CURL *curl = transfer->curl;
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "ghn/" GHN_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, http->silence);
    (void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
    (void)curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
    if (http->body) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(http->body));
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, http->body);
    }
    if (http->method)
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, http->method);
}

/* Whether a request with a key is to be sent again: its answer was lost, the server is busy, or,
 * for one that was sent before, the server is away: it may be starting again. */
static bool is_lost(const struct transfer *transfer, CURLcode result, bool sent) {
    if (transfer->taken)
        return false;
    return result == CURLE_GOT_NOTHING || result == CURLE_RECV_ERROR ||
           result == CURLE_SEND_ERROR || result == CURLE_PARTIAL_FILE ||
           (result == CURLE_COULDNT_CONNECT && sent) ||
           (result == CURLE_OK && code_of(transfer->curl) == 503);
}

static CURLcode perform_with_key(struct transfer *transfer) {
    CURLcode result = curl_easy_perform(transfer->curl);
    struct timespec pause = {0, 250000000};
    for (int i = 1; i < ATTEMPTS && transfer->http->key && is_lost(transfer, result, i > 1); i++) {
        (void)nanosleep(&pause, NULL);
        pause.tv_sec = 2 * pause.tv_sec + pause.tv_nsec * 2 / 1000000000;
        pause.tv_nsec = pause.tv_nsec * 2 % 1000000000;
        transfer->problem_size = 0;
        result = curl_easy_perform(transfer->curl);
    }
    return result;
}

static enum ghn_status perform(struct transfer *transfer, const char *url, long *ret_code,
                               struct ghn_err *err) {
    CURLcode result = perform_with_key(transfer);
    *ret_code = code_of(transfer->curl);
    if (result == CURLE_ABORTED_BY_CALLBACK)
        return ghn_fail(err, GHN_IO, NULL, "interrupted; nothing was written");
    if (result == CURLE_WRITE_ERROR && transfer->enough)
        return GHN_OK;
    if (result == CURLE_WRITE_ERROR)
        return ghn_fail(err, GHN_IO, transfer->write_err.where, "%s", transfer->write_err.message);
    if (result != CURLE_OK)
        return ghn_fail(err, GHN_IO, url, "%s", curl_easy_strerror(result));
    return *ret_code / 100 == 2 ? GHN_OK : fail_with_problem(transfer, url, err);
}

enum ghn_status cli_http_request(const struct cli_http *http, struct cli_output *output,
                                 long *ret_code, struct ghn_err *err) {
    struct transfer transfer = {
        .http = http, .curl = curl_easy_init(), .output = output, .problem = malloc(MAX_PROBLEM)};
    struct curl_slist *headers = NULL;
    char url[1024];
    enum ghn_status status;
    size_t length = strlen(http->server);
    while (length > 0 && http->server[length - 1] == '/')
        length--;
    *ret_code = CLI_HTTP_NOT_SENT;
    if (!transfer.curl || !transfer.problem)
        status = ghn_fail_memory(err);
    else if (length + strlen(http->path) >= sizeof(url))
        status = ghn_fail(err, GHN_OUT_OF_RANGE, "--server", "the address is too long");
    else
        status = make_headers(http, &headers, err);
    if (status == GHN_OK) {
        (void)snprintf(url, sizeof(url), "%.*s%s", (int)length, http->server, http->path);
        set_options(&transfer, http, url, headers);
        status = perform(&transfer, url, ret_code, err);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(transfer.curl);
    free(transfer.problem);
    return status;
}

/* --- JSON --- */

struct memory {
    char *data;
    size_t n;
    bool failed;
};

static bool keep(void *context, const char *data, size_t n) {
    struct memory *memory = context;
    char *grown = memory->n + n <= MAX_ANSWER ? realloc(memory->data, memory->n + n) : NULL;
    if (!grown) {
        memory->failed = true;
        return false;
    }
    memcpy(grown + memory->n, data, n);
    memory->data = grown;
    memory->n += n;
    return true;
}

enum ghn_status cli_http_json(const struct cli_http *http, json_t **ret, long *ret_code,
                              struct ghn_err *err) {
    struct memory memory = {0};
    struct cli_http request = *http;
    request.accept = "application/json";
    request.take = keep;
    request.context = &memory;
    enum ghn_status status = cli_http_request(&request, NULL, ret_code, err);
    if (status == GHN_OK && memory.failed)
        status = ghn_fail(err, GHN_TOO_LARGE, http->path, "the answer is too long");
    if (status == GHN_OK &&
        ghn_json_load(memory.data ? memory.data : "", memory.n, NULL, ret, NULL) != GHN_OK)
        status = ghn_fail(err, GHN_IO, http->server, "the answer is no JSON; is this a ghnd?");
    free(memory.data);
    return status;
}

const char *cli_http_advice(long code) {
    switch (code) {
    case 0:
        return "is ghnd running there? --server URL or GHN_SERVER names another";
    case 401:
        return "the server asks for a token: --token-file FILE";
    case 503:
        return "the server is busy; try again in a moment";
    default:
        return NULL;
    }
}
