#include "http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli.h"

/* What is kept of an error answer. */
enum { MAX_PROBLEM = 65536 };

/* One request under way. */
struct transfer {
    CURL *curl;
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
    if (code_of(transfer->curl) / 100 == 2)
        return cli_output_write(transfer->output, data, n, &transfer->write_err) == GHN_OK ? n : 0;
    (void)memcpy(transfer->problem + transfer->problem_size, data, n < room ? n : room);
    transfer->problem_size += n < room ? n : room;
    return n;
}

static int on_progress(void *context, curl_off_t total, curl_off_t done, curl_off_t up_total,
                       curl_off_t up_done) {
    struct transfer *transfer = context;
    (void)up_total;
    (void)up_done;
    return !cli_output_progress(transfer->output, (uint64_t)done, (uint64_t)total);
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
    if (status != GHN_OK)
        return status;
    struct curl_slist *longer = curl_slist_append(*headers, header);
    if (!longer)
        return ghn_fail_memory(err);
    *headers = longer;
    return GHN_OK;
}

static enum ghn_status make_headers(const struct cli_http *http, struct curl_slist **headers,
                                    struct ghn_err *err) {
    char accept[128];
    (void)snprintf(accept, sizeof(accept), "Accept: %s", http->accept ? http->accept : "*/*");
    *headers = curl_slist_append(NULL, accept);
    if (*headers && http->body) {
        struct curl_slist *longer = curl_slist_append(*headers, "Content-Type: application/json");
        if (!longer)
            return ghn_fail_memory(err);
    }
    if (!*headers)
        return ghn_fail_memory(err);
    return http->token_file ? add_token(headers, http->token_file, err) : GHN_OK;
}

static void set_options(struct transfer *transfer, const struct cli_http *http, const char *url,
                        struct curl_slist *headers) {
    CURL *curl = transfer->curl;
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "ghn/" GHN_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    (void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
    if (http->body) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(http->body));
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, http->body);
    }
}

static enum ghn_status perform(struct transfer *transfer, const char *url, long *ret_code,
                               struct ghn_err *err) {
    CURLcode result = curl_easy_perform(transfer->curl);
    *ret_code = code_of(transfer->curl);
    if (result == CURLE_ABORTED_BY_CALLBACK)
        return ghn_fail(err, GHN_IO, NULL, "interrupted; nothing was written");
    if (result == CURLE_WRITE_ERROR)
        return ghn_fail(err, GHN_IO, transfer->write_err.where, "%s", transfer->write_err.message);
    if (result != CURLE_OK)
        return ghn_fail(err, GHN_IO, url, "%s", curl_easy_strerror(result));
    return *ret_code / 100 == 2 ? GHN_OK : fail_with_problem(transfer, url, err);
}

enum ghn_status cli_http_request(const struct cli_http *http, struct cli_output *output,
                                 long *ret_code, struct ghn_err *err) {
    struct transfer transfer = {
        .curl = curl_easy_init(), .output = output, .problem = malloc(MAX_PROBLEM)};
    struct curl_slist *headers = NULL;
    char url[1024];
    enum ghn_status status;
    size_t length = strlen(http->server);
    while (length > 0 && http->server[length - 1] == '/')
        length--;
    *ret_code = 0;
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
