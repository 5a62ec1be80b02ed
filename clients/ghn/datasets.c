/* ghn datasets: what a server can train on. */
#include <stdio.h>

#include "cli.h"
#include "http.h"
#include "job.h"

const char cli_datasets_help[] =
    "usage: ghn datasets [--server URL] [--token-file FILE] [--json]\n"
    "\n"
    "Lists the data sets that a server can train on (ghn dataset PATH describes one that is "
    "here).\n"
    "\n"
    "  --server URL        http://127.0.0.1:8080, or what GHN_SERVER says\n"
    "  --token-file FILE   holds the token that the server asks for\n"
    "  --json              what the server says, as JSON\n";

static long long whole(const json_t *set, const char *key) {
    return json_integer_value(json_object_get(set, key));
}

static void print_row(const json_t *set) {
    char name[CLI_JOB_TEXT], kind[CLI_JOB_TEXT], size[64];
    if (json_is_integer(json_object_get(set, "height")))
        (void)snprintf(size, sizeof size, "%lld x %lld x %lld", whole(set, "channels"),
                       whole(set, "height"), whole(set, "width"));
    else
        (void)snprintf(size, sizeof size, "%lld x any", whole(set, "channels"));
    printf("%-20s  %-9s  %7lld  %-13s  %9lld  %9lld\n", cli_job_text(set, "name", name),
           cli_job_text(set, "kind", kind), whole(set, "classes"), size, whole(set, "train_images"),
           whole(set, "test_images"));
}

static int print(json_t *answer, bool json) {
    const json_t *set;
    size_t i;
    if (json)
        return cli_print_json(json_incref(answer), JSON_INDENT(2));
    printf("%s%-20s  %-9s  %7s  %-13s  %9s  %9s%s\n", cli_bold(stdout), "name", "kind", "classes",
           "images", "to train", "to test", cli_plain(stdout));
    json_array_foreach(json_object_get(answer, "datasets"), i, set) print_row(set);
    return CLI_OK;
}

int cli_datasets(int argc, char **argv) {
    const char *server = NULL, *token_file = NULL;
    bool json = false;
    const struct cli_option options[] = {{.name = "server", .text = &server},
                                         {.name = "token-file", .text = &token_file},
                                         {.name = "json", .flag = &json}};
    int first, code;
    if (!cli_options(argc, argv, options, 3, cli_datasets_help, 0, 0, &first, &code))
        return code;
    const struct cli_http http = {
        .server = cli_server(server), .path = "/datasets", .token_file = token_file, .silence = 60};
    struct ghn_err err = GHN_ERR_INIT;
    json_t *answer = NULL;
    long http_code = 0;
    if (cli_http_json(&http, &answer, &http_code, &err) != GHN_OK)
        return cli_fail(&err, cli_http_advice(http_code));
    code = print(answer, json);
    json_decref(answer);
    return code;
}
