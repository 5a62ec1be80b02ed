#include "finetune_there.h"

#include <nettle/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "cli.h"
#include "http.h"
#include "request.h"
#include "tensor/tensors.h"

/* 128 random bits in hex. */
enum { KEY = 33 };

static enum ghn_status make_key(char ret[KEY], struct ghn_err *err) {
    unsigned char bits[(KEY - 1) / 2];
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        return ghn_fail(err, GHN_IO, NULL, "there are no random numbers to be had");
    for (size_t i = 0; i < sizeof bits; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", bits[i]);
    return GHN_OK;
}

/* The bytes in base64, to be freed with free; NULL if there is no memory. */
static char *to_base64(const char *data, size_t n) {
    char *text = malloc(BASE64_ENCODE_RAW_LENGTH(n) + 1);
    if (!text)
        return NULL;
    base64_encode_raw(text, n, (const uint8_t *)data);
    text[BASE64_ENCODE_RAW_LENGTH(n)] = '\0';
    return text;
}

/* The bytes of a file as it is sent: safetensors, which others are turned into. Freed with free. */
static enum ghn_status read_parameters(const char *path, char **ret, size_t *ret_n,
                                       struct ghn_err *err) {
    struct ghn_tensors *tensors = NULL;
    enum ghn_status status = ghn_tensors_read(path, &tensors, err);
    char *header = NULL, *data = NULL;
    size_t n_header = 0, n = 0;
    if (status == GHN_OK)
        status = ghn_safetensors_header(tensors->items, tensors->n, NULL, &header, &n_header, err);
    for (int i = 0; status == GHN_OK && i < tensors->n; i++)
        n += tensors->items[i].n_bytes;
    if (status == GHN_OK && !(data = malloc(n_header + n)))
        status = ghn_fail_memory(err);
    if (status == GHN_OK) {
        memcpy(data, header, n_header);
        *ret_n = n_header;
        for (int i = 0; i < tensors->n; i++) {
            memcpy(data + *ret_n, tensors->items[i].data, tensors->items[i].n_bytes);
            *ret_n += tensors->items[i].n_bytes;
        }
        *ret = data;
    }
    ghn_free(header);
    ghn_tensors_free(tensors);
    return status;
}

static enum ghn_status add_parameters(json_t *root, const char *path, struct ghn_err *err) {
    char *data = NULL;
    size_t n = 0;
    enum ghn_status status = read_parameters(path, &data, &n, err);
    if (status != GHN_OK)
        return status;
    char *text = to_base64(data, n);
    int failed = !text || json_object_set_new(root, "parameters", json_string(text)) != 0 ||
                 json_object_set_new(root, "init", json_string("upload")) != 0;
    free(text);
    free(data);
    return failed ? ghn_fail_memory(err) : GHN_OK;
}

/* The body of the request, to be freed with free. What options say takes the place of what the file
 * says. */
static enum ghn_status make_body(const struct cli_submission *submission, char **ret,
                                 struct ghn_err *err) {
    struct cli_request request = {0};
    enum ghn_status status = cli_request_read(submission->network, &request, err);
    if (status == GHN_OK && !json_is_object(request.root))
        status = ghn_fail(err, GHN_WRONG_TYPE, submission->network, "a request is a JSON object");
    if (status == GHN_OK &&
        (json_object_update(request.root, submission->fields) != 0 ||
         json_object_set_new(request.root, "dataset", cli_text_json(submission->data)) != 0 ||
         (submission->model &&
          json_object_set_new(request.root, "model", cli_text_json(submission->model)) != 0)))
        status = ghn_fail_memory(err);
    if (status == GHN_OK && submission->parameters)
        status = add_parameters(request.root, submission->parameters, err);
    if (status == GHN_OK && !(*ret = json_dumps(request.root, JSON_COMPACT)))
        status = ghn_fail_memory(err);
    cli_request_done(&request);
    return status;
}

/* Sends it; *ret is the job. */
static enum ghn_status submit(const struct cli_submission *submission, json_t **ret, long *ret_code,
                              struct ghn_err *err) {
    char key[KEY], *body = NULL;
    enum ghn_status status = make_key(key, err);
    if (status == GHN_OK)
        status = make_body(submission, &body, err);
    const struct cli_http http = {.server = submission->link.server,
                                  .path = "/finetune",
                                  .token_file = submission->link.token_file,
                                  .body = body,
                                  .key = key};
    if (status == GHN_OK)
        status = cli_http_json(&http, ret, ret_code, err);
    free(body);
    return status;
}

static const char *advice(long code, const struct ghn_err *err) {
    if (code > 0 && strcmp(err->where, "dataset") == 0)
        return "ghn datasets lists what the server has";
    return code >= 0 ? cli_http_advice(code) : NULL;
}

int cli_finetune_there(const struct cli_submission *submission) {
    struct ghn_err err = GHN_ERR_INIT;
    char id[CLI_JOB_TEXT];
    json_t *job = NULL;
    long code = -1; /* nothing was sent yet */
    if (submit(submission, &job, &code, &err) != GHN_OK)
        return cli_fail(&err, advice(code, &err));
    (void)cli_job_text(job, "id", id);
    json_decref(job);
    if (!cli_job_is_id(id))
        return cli_failf(submission->link.server, NULL, "the answer is no job; is this a ghnd?");
    if (!submission->wait) {
        puts(id);
        return CLI_OK;
    }
    (void)fprintf(stderr, "job %s\n", id);
    int exit_code = cli_job_follow(&submission->link, id);
    if (exit_code == CLI_OK && submission->output)
        exit_code = cli_job_save(&submission->link, id, submission->output);
    return exit_code;
}
