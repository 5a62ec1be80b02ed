/* ghn predict: a network's description goes in, a file with all its parameters comes out. */
#include "predict.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "http.h"

const char cli_predict_help[] =
    "usage: ghn predict REQUEST.json [-o FILE] [--server URL | --checkpoint FILE] [--model ID]\n"
    "                   [--dtype f32|f16|bf16] [--form safetensors|blocks|report]\n"
    "                   [--no-class-layers] [--seed N] [--token-file FILE]\n"
    "\n"
    "Predicts all parameters of a network. REQUEST.json holds the body of a request, or an arch,\n"
    "genotype or graph by itself; - is standard input. The answer is written whole or not at all,\n"
    "and a summary says what is in it.\n"
    "\n"
    "  -o, --output FILE   where to; the network's name and .safetensors (.blocks.safetensors,\n"
    "                      .report.json) if not given, - for standard output\n"
    "  --server URL        who predicts; http://127.0.0.1:8080, or what GHN_SERVER says\n"
    "  --checkpoint FILE   predict here, with this hypernetwork\n"
    "  --model ID          which of the server's hypernetworks\n"
    "  --dtype TYPE        type of the values; f32\n"
    "  --form FORM         safetensors: the tensors in full; blocks: the same values, about 30\n"
    "                      times smaller (ghn convert makes them full); report: statistics as\n"
    "                      JSON\n"
    "  --no-class-layers   leave out the classifier's parameters\n"
    "  --seed N            for what is initialised and not predicted; 0\n"
    "  --token-file FILE   holds the token that the server asks for\n";

struct form_row {
    const char *name;
    const char *accept;
    const char *suffix;
};

static const struct form_row forms[] = {
    [CLI_SAFETENSORS] = {"safetensors", "application/octet-stream", ".safetensors"},
    [CLI_BLOCKS] = {"blocks", "application/vnd.ghn.blocks", ".blocks.safetensors"},
    [CLI_REPORT] = {"report", "application/json", ".report.json"},
};

struct wanted {
    const char *request, *output, *server, *checkpoint, *model, *dtype, *form, *token_file;
    bool no_class_layers;
    int64_t seed; /* -1: not given */
    enum cli_form form_id;
};

/* Reads the command line; true to go on. */
static bool parse(int argc, char **argv, struct wanted *wanted, int *ret_exit) {
    const struct cli_option options[] = {
        {.name = "output", .letter = 'o', .text = &wanted->output},
        {.name = "server", .text = &wanted->server},
        {.name = "checkpoint", .text = &wanted->checkpoint},
        {.name = "model", .text = &wanted->model},
        {.name = "dtype", .text = &wanted->dtype},
        {.name = "form", .text = &wanted->form},
        {.name = "token-file", .text = &wanted->token_file},
        {.name = "no-class-layers", .flag = &wanted->no_class_layers},
        {.name = "seed", .number = &wanted->seed, .min = 0, .max = INT64_MAX},
    };
    int first;
    if (!cli_options(argc, argv, options, sizeof(options) / sizeof(options[0]), cli_predict_help, 1,
                     1, &first, ret_exit))
        return false;
    wanted->request = argv[first];
    if (wanted->server && wanted->checkpoint) {
        *ret_exit = cli_usage("predict", "--server and --checkpoint exclude each other");
        return false;
    }
    if (cli_same_file(wanted->output, wanted->request) ||
        cli_same_file(wanted->output, wanted->checkpoint)) {
        *ret_exit = cli_usage("predict", "--output: %s is what is read", wanted->output);
        return false;
    }
    for (int i = 0; i <= CLI_REPORT; i++)
        if (!wanted->form || strcmp(wanted->form, forms[i].name) == 0) {
            wanted->form_id = (enum cli_form)i;
            return true;
        }
    *ret_exit =
        cli_usage("predict", "--form: '%s' is none of safetensors, blocks, report", wanted->form);
    return false;
}

/* Puts the options into the request, where they take the place of what it says. */
static enum ghn_status add_options(json_t *root, const struct wanted *wanted, struct ghn_err *err) {
    int failed = 0;
    if (!json_is_object(root))
        return ghn_fail(err, GHN_WRONG_TYPE, wanted->request, "a request is a JSON object");
    if (wanted->model)
        failed |= json_object_set_new(root, "model", cli_text_json(wanted->model));
    if (wanted->dtype)
        failed |= json_object_set_new(root, "dtype", cli_text_json(wanted->dtype));
    if (wanted->no_class_layers)
        failed |= json_object_set_new(root, "predict_class_layers", json_false());
    if (wanted->seed >= 0)
        failed |= json_object_set_new(root, "seed", json_integer(wanted->seed));
    return failed ? ghn_fail_memory(err) : GHN_OK;
}

/* A file name from the network's name: what may mislead a shell or a file system becomes '_'. */
static void default_name(const char *network, const char *suffix, char *ret, size_t n) {
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    (void)snprintf(ret, n, "%.100s", *network ? network : "parameters");
    for (char *c = ret; *c; c++)
        if (!strchr(good, *c) || (c == ret && (*c == '.' || *c == '-')))
            *c = '_';
    (void)snprintf(ret + strlen(ret), n - strlen(ret), "%s", suffix);
}

static enum ghn_status ask_server(const struct cli_request *request, const struct wanted *wanted,
                                  struct cli_output *output, const char **ret_next,
                                  struct ghn_err *err) {
    char *body = json_dumps(request->root, JSON_COMPACT);
    if (!body)
        return ghn_fail_memory(err);
    const struct cli_http http = {.server = cli_server(wanted->server),
                                  .path = "/predict",
                                  .token_file = wanted->token_file,
                                  .accept = forms[wanted->form_id].accept,
                                  .body = body};
    long code;
    enum ghn_status status = cli_http_request(&http, output, &code, err);
    free(body);
    if (status != GHN_OK && code == 0)
        *ret_next = "is ghnd running there? --checkpoint FILE predicts without a server";
    else if (status != GHN_OK)
        *ret_next = cli_http_advice(code);
    return status;
}

/* Whether an entry before `name` has this reason. */
static bool is_repeated(const json_t *reasons, const char *name, const char *reason) {
    const char *earlier;
    json_t *value;
    json_object_foreach((json_t *)reasons, earlier, value) {
        if (strcmp(earlier, name) == 0)
            return false;
        if (json_is_string(value) && strcmp(json_string_value(value), reason) == 0)
            return true;
    }
    return false;
}

static void print_clean(const char *before, const char *text) {
    char *clean = cli_clean(text);
    printf("%s%s\n", before, clean ? clean : "?");
    free(clean);
}

/* Lists what was not predicted, every reason once with the tensors that it is about. */
static void print_not_predicted(const json_t *reasons) {
    const char *name, *other;
    json_t *value, *other_value;
    json_object_foreach((json_t *)reasons, name, value) {
        const char *reason = json_is_string(value) ? json_string_value(value) : "";
        if (is_repeated(reasons, name, reason))
            continue;
        print_clean("not predicted: ", reason);
        json_object_foreach((json_t *)reasons, other, other_value) {
            if (json_is_string(other_value) && strcmp(json_string_value(other_value), reason) == 0)
                print_clean("  ", other);
        }
    }
}

static int summarise(const char *path, double seconds) {
    struct cli_header header = {0};
    struct ghn_err err = GHN_ERR_INIT;
    if (cli_header_read(path, &header, &err) != GHN_OK)
        return cli_fail(&err, "the answer is damaged");
    char count[CLI_NUMBER], bytes[CLI_NUMBER];
    const char *kind = cli_header_text(&header, "hypernetwork"),
               *trained = cli_header_text(&header, "hypernetwork_trained");
    printf("%s: %d tensors, %s parameters, %s, in %.2f s\n", path, header.tensors,
           cli_count(header.elements, count), cli_bytes(header.bytes, bytes), seconds);
    if (trained && strcmp(trained, "false") == 0)
        printf("predicted by a %s that is untrained: no better than random parameters\n",
               kind ? kind : "hypernetwork");
    json_t *reasons = cli_json_in(cli_header_text(&header, "not_predicted"));
    print_not_predicted(reasons);
    json_decref(reasons);
    cli_header_done(&header);
    return CLI_OK;
}

static int predict(struct cli_request *request, const struct wanted *wanted, const char *path) {
    struct cli_output output;
    struct ghn_err err = GHN_ERR_INIT;
    const char *next = NULL;
    if (cli_output_open(&output, path, wanted->form_id != CLI_REPORT, &err) != GHN_OK)
        return cli_fail(&err, "-o FILE says where the answer goes");
    double started = output.started;
    enum ghn_status status = wanted->checkpoint
                                 ? cli_predict_here(request, wanted->request, wanted->checkpoint,
                                                    wanted->form_id, &output, &err)
                                 : ask_server(request, wanted, &output, &next, &err);
    if (status == GHN_OK)
        status = cli_output_commit(&output, &err);
    else
        cli_output_discard(&output);
    if (status != GHN_OK)
        return cli_fail(&err, next);
    double seconds = ghn_seconds() - started;
    if (strcmp(path, "-") == 0)
        return CLI_OK;
    if (wanted->form_id != CLI_REPORT)
        return summarise(path, seconds);
    printf("%s: the report, in %.2f s\n", path, seconds);
    return CLI_OK;
}

int cli_predict(int argc, char **argv) {
    struct wanted wanted = {.seed = -1};
    struct cli_request request = {0};
    struct ghn_err err = GHN_ERR_INIT;
    char name[160];
    int code;
    if (!parse(argc, argv, &wanted, &code))
        return code;
    if (cli_request_read(wanted.request, &request, &err) != GHN_OK ||
        add_options(request.root, &wanted, &err) != GHN_OK) {
        code = cli_fail(&err, NULL);
    } else {
        default_name(cli_request_name(&request), forms[wanted.form_id].suffix, name, sizeof(name));
        code = predict(&request, &wanted, wanted.output ? wanted.output : name);
    }
    cli_request_done(&request);
    return code;
}
