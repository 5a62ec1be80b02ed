/* ghn jobs: what a server is training. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "http.h"
#include "job.h"

const char cli_jobs_help[] =
    "usage: ghn jobs [list] [--state STATE] [--limit N]\n"
    "       ghn jobs show ID\n"
    "       ghn jobs watch ID\n"
    "       ghn jobs cancel ID\n"
    "       ghn jobs parameters ID -o FILE\n"
    "\n"
    "What a server trains, has trained and will train (ghn finetune --server).\n"
    "\n"
    "  list         the jobs, the newest first\n"
    "  show         all about one, with its history\n"
    "  watch        its progress until it ends; Ctrl-C ends only the watching. The exit code is 0\n"
    "               if the job succeeds\n"
    "  cancel       ends it; the parameters so far stay\n"
    "  parameters   the best ones so far, as safetensors\n"
    "\n"
    "  -o, --output FILE   where parameters go; - for standard output\n"
    "  --state STATE       only those that are queued, running, succeeded, failed, cancelled\n"
    "  --limit N           of the list; 100\n"
    "  --json              list, show and cancel: what the server says, as JSON\n"
    "  --server URL        http://127.0.0.1:8080, or what GHN_SERVER says\n"
    "  --token-file FILE   holds the token that the server asks for\n";

struct wanted {
    struct cli_link link;
    const char *id, *output, *state;
    int64_t limit;
    bool json;
};

static int print_json(json_t *value) {
    return cli_print_json(json_incref(value), JSON_INDENT(2));
}

/* --- The list --- */

static void print_row(const json_t *job) {
    char id[CLI_JOB_TEXT], state[CLI_JOB_TEXT], name[CLI_JOB_TEXT], data[CLI_JOB_TEXT],
        created[CLI_JOB_TEXT], steps[64];
    (void)snprintf(steps, sizeof steps, "%lld/%lld",
                   (long long)json_integer_value(json_object_get(job, "step")),
                   (long long)json_integer_value(json_object_get(job, "steps")));
    printf("%-16s  %-9s  %-15s  %-16s  %-12s  %.19s\n", cli_job_text(job, "id", id),
           cli_job_text(job, "state", state), steps, cli_job_text(job, "name", name),
           cli_job_text(job, "dataset", data), cli_job_text(job, "created", created));
}

static int list(const struct wanted *wanted) {
    char path[128];
    struct ghn_err err = GHN_ERR_INIT;
    json_t *answer = NULL, *job;
    long code = 0;
    size_t i;
    (void)snprintf(path, sizeof path, "/jobs?limit=%lld%s%.32s", (long long)wanted->limit,
                   wanted->state ? "&state=" : "", wanted->state ? wanted->state : "");
    const struct cli_http http = {.server = wanted->link.server,
                                  .path = path,
                                  .token_file = wanted->link.token_file,
                                  .silence = 60};
    if (cli_http_json(&http, &answer, &code, &err) != GHN_OK)
        return cli_fail(&err, cli_http_advice(code));
    const json_t *jobs = json_object_get(answer, "jobs");
    int exit_code = CLI_OK;
    if (wanted->json) {
        exit_code = print_json(answer);
    } else if (json_array_size(jobs) == 0) {
        puts("no jobs");
    } else {
        printf("%s%-16s  %-9s  %-15s  %-16s  %-12s  %s%s\n", cli_bold(stdout), "id", "state",
               "steps", "network", "data", "created (UTC)", cli_plain(stdout));
        json_array_foreach(jobs, i, job) print_row(job);
        if (json_is_string(json_object_get(answer, "next")))
            puts("there are more: --limit N");
    }
    json_decref(answer);
    return exit_code;
}

/* --- One --- */

/* A number of a point in so many columns, nothing where it is null. */
static void print_number(const json_t *point, const char *key, double scale, int digits) {
    const json_t *value = json_object_get(point, key);
    if (json_is_number(value))
        printf("  %10.*f", digits, scale * json_number_value(value));
    else
        printf("  %10s", "");
}

static void print_history(const json_t *history) {
    const json_t *point;
    size_t i;
    if (json_array_size(history) == 0)
        return;
    printf("%s%10s  %10s  %10s  %10s  %10s  %10s%s\n", cli_bold(stdout), "step", "loss", "train %",
           "test loss", "top-1 %", "lr", cli_plain(stdout));
    json_array_foreach((json_t *)(uintptr_t)history, i, point) {
        printf("%10lld", (long long)json_integer_value(json_object_get(point, "step")));
        print_number(point, "loss", 1, 4);
        print_number(point, "train_accuracy", 100, 2);
        print_number(point, "test_loss", 1, 4);
        print_number(point, "test_top1", 100, 2);
        print_number(point, "lr", 1, 6);
        puts("");
    }
}

static int print_job(const json_t *job) {
    static const char *const keys[] = {"id",   "state",   "name",    "dataset", "model",
                                       "init", "created", "started", "finished"};
    char text[CLI_JOB_TEXT];
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        printf("%-9s %s\n", keys[i], cli_job_text(job, keys[i], text));
    printf("%-9s %lld of %lld\n", "step",
           (long long)json_integer_value(json_object_get(job, "step")),
           (long long)json_integer_value(json_object_get(job, "steps")));
    const json_t *error = json_object_get(job, "error");
    if (json_is_object(error))
        printf("%-9s %s\n", "error", cli_job_text(error, "detail", text));
    print_history(json_object_get(job, "history"));
    return CLI_OK;
}

static int ask(const struct wanted *wanted, const char *method) {
    struct ghn_err err = GHN_ERR_INIT;
    json_t *job = NULL;
    long code = 0;
    if (cli_job_ask(&wanted->link, wanted->id, method, &job, &code, &err) != GHN_OK)
        return cli_fail(&err, code == 404 ? "ghn jobs lists them" : cli_http_advice(code));
    char state[CLI_JOB_TEXT];
    int exit_code = CLI_OK;
    if (wanted->json)
        exit_code = print_json(job);
    else if (method)
        printf("%s: %s\n", wanted->id, cli_job_text(job, "state", state));
    else
        exit_code = print_job(job);
    json_decref(job);
    return exit_code;
}

static int show(const struct wanted *wanted) {
    return ask(wanted, NULL);
}

static int cancel(const struct wanted *wanted) {
    return ask(wanted, "DELETE");
}

static int watch(const struct wanted *wanted) {
    return cli_job_follow(&wanted->link, wanted->id);
}

static int parameters(const struct wanted *wanted) {
    if (!wanted->output)
        return cli_usage("jobs", "-o FILE is missing");
    return cli_job_save(&wanted->link, wanted->id, wanted->output);
}

/* --- The command line --- */

struct verb {
    const char *name;
    bool takes_id;
    int (*run)(const struct wanted *wanted);
};

static const struct verb verbs[] = {{"list", false, list},
                                    {"show", true, show},
                                    {"watch", true, watch},
                                    {"cancel", true, cancel},
                                    {"parameters", true, parameters}};

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static bool is_state(const char *text) {
    static const char *const states[] = {"queued", "running", "succeeded", "failed", "cancelled"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(states[i], text) == 0)
            return true;
    return false;
}

int cli_jobs(int argc, char **argv) {
    struct wanted wanted = {.limit = 100};
    const char *server = NULL;
    const struct cli_option options[] = {
        {.name = "server", .text = &server},
        {.name = "token-file", .text = &wanted.link.token_file},
        {.name = "output", .letter = 'o', .text = &wanted.output},
        {.name = "state", .text = &wanted.state},
        {.name = "limit", .number = &wanted.limit, .min = 1, .max = 1000},
        {.name = "json", .flag = &wanted.json},
    };
    int first, code;
    if (!cli_options(argc, argv, options, sizeof options / sizeof options[0], cli_jobs_help, 0, 2,
                     &first, &code))
        return code;
    const char *name = first < argc ? argv[first] : "list";
    const struct verb *verb = find_verb(name);
    wanted.link.server = cli_server(server);
    wanted.id = first + 1 < argc ? argv[first + 1] : NULL;
    if (!verb)
        return cli_usage("jobs", "'%s' is none of list, show, watch, cancel, parameters", name);
    if (verb->takes_id != (wanted.id != NULL))
        return cli_usage("jobs", verb->takes_id ? "%s needs the id of a job" : "%s takes no id",
                         name);
    if (wanted.id && !cli_job_is_id(wanted.id))
        return cli_usage("jobs", "'%s' is no id of a job", wanted.id);
    if (wanted.state && !is_state(wanted.state))
        return cli_usage("jobs",
                         "--state: '%s' is none of queued, running, succeeded, failed, "
                         "cancelled",
                         wanted.state);
    return verb->run(&wanted);
}
