#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cli.h"
#include "http.h"
#include "output.h"

enum { MAX_ID = 64 };

bool cli_job_is_id(const char *text) {
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t n = strlen(text);
    return n > 0 && n <= MAX_ID && strspn(text, good) == n;
}

const char *cli_job_text(const json_t *job, const char *key, char buf[CLI_JOB_TEXT]) {
    const char *text = json_string_value(json_object_get(job, key));
    (void)snprintf(buf, CLI_JOB_TEXT, "%.*s", CLI_JOB_TEXT - 1, text && *text ? text : "-");
    ghn_utf8_sanitise(buf);
    return buf;
}

bool cli_job_is_final(const json_t *job) {
    char state[CLI_JOB_TEXT];
    (void)cli_job_text(job, "state", state);
    return strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
}

enum ghn_status cli_job_ask(const struct cli_link *link, const char *id, const char *method,
                            json_t **ret, long *ret_code, struct ghn_err *err) {
    char path[MAX_ID + 32];
    (void)snprintf(path, sizeof path, "/jobs/%.64s", id);
    const struct cli_http http = {.server = link->server,
                                  .path = path,
                                  .token_file = link->token_file,
                                  .method = method,
                                  .silence = 60};
    return cli_http_json(&http, ret, ret_code, err);
}

static int summarise(const char *path) {
    struct cli_header header = {0};
    struct ghn_err err = GHN_ERR_INIT;
    char bytes[CLI_NUMBER];
    if (cli_header_read(path, &header, &err) != GHN_OK)
        return cli_fail(&err, "the answer is damaged");
    const char *step = cli_header_text(&header, "step"),
               *top1 = cli_header_text(&header, "test_top1");
    printf("%s: %d tensors, %s, of step %s", path, header.tensors, cli_bytes(header.bytes, bytes),
           step ? step : "?");
    if (top1)
        printf(", test top-1 %s%.2f %%%s", cli_bold(stdout), 100 * strtod(top1, NULL),
               cli_plain(stdout));
    puts("");
    cli_header_done(&header);
    return CLI_OK;
}

int cli_job_save(const struct cli_link *link, const char *id, const char *path) {
    char route[MAX_ID + 32];
    struct cli_output output;
    struct ghn_err err = GHN_ERR_INIT;
    long code = 0;
    (void)snprintf(route, sizeof route, "/jobs/%.64s/parameters", id);
    const struct cli_http http = {.server = link->server,
                                  .path = route,
                                  .token_file = link->token_file,
                                  .accept = "application/octet-stream",
                                  .silence = 60};
    if (cli_output_open(&output, path, true, &err) != GHN_OK)
        return cli_fail(&err, "-o FILE says where they go");
    enum ghn_status status = cli_http_request(&http, &output, &code, &err);
    if (status == GHN_OK)
        status = cli_output_commit(&output, &err);
    else
        cli_output_discard(&output);
    if (status != GHN_OK)
        return cli_fail(&err, cli_http_advice(code));
    return strcmp(path, "-") == 0 ? CLI_OK : summarise(path);
}
