/* ghn finetune: trains a network, on this machine or as a job at a server. */
#include "train/finetune.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/mem.h"
#include "cli.h"
#include "finetune_there.h"
#include "folder.h"
#include "http.h"
#include "progress.h"
#include "recipe_options.h"
#include "start.h"
#include "stop.h"

const char cli_finetune_help[] =
    "usage: ghn finetune NETWORK.json --data FOLDER -o FILE\n"
    "                    (--checkpoint GHN | --parameters FILE | --init random)\n"
    "                    [--steps N | --epochs X] [--dir DIR] [--json] [recipe]\n"
    "       ghn finetune NETWORK.json --server URL --data NAME [-o FILE] [--model ID]\n"
    "                    [--parameters FILE | --init random] [--no-wait] [--steps N ...] [recipe]\n"
    "\n"
    "Trains a network on this machine, from parameters that a hypernetwork predicts, that a file\n"
    "holds, or that are random. NETWORK.json holds a request, arch or genotype; - is standard\n"
    "input. Ctrl-C saves where it is; the same command goes on from there, and comes to the same\n"
    "parameters as if it had never been stopped.\n"
    "\n"
    "With --server it becomes a job there, which is followed to its end; Ctrl-C ends only that, "
    "and\n"
    "ghn jobs shows, watches and cancels it.\n"
    "\n"
    "  --data FOLDER        the data set: CIFAR-10 or -100 (binary version), the MNIST family, or\n"
    "                       pictures as ghn help dataset says; \"shapes\" is drawn\n"
    "  -o, --output FILE    the trained parameters, those of the best evaluation\n"
    "  --checkpoint GHN     start from what this hypernetwork predicts\n"
    "  --parameters FILE    start from these\n"
    "  --init WAY           ghn, upload or random, where the two above do not say it\n"
    "  --dir DIR            where checkpoints go and are kept; without it FILE.training, which\n"
    "                       is removed at the end\n"
    "  --loader-threads N   that read and augment images; 1\n"
    "  --json               a summary with the history, as a JSON object\n"
    "\n"
    "at a server:\n"
    "  --server URL         http://127.0.0.1:8080, say\n"
    "  --data NAME          one of the server's data sets (ghn datasets)\n"
    "  --model ID           the server's hypernetwork to start from; its first\n"
    "  --no-wait            print the id of the job and leave it alone\n"
    "  --token-file FILE    holds the token that the server asks for\n"
    "\n"
    "the recipe:\n"
    "  --steps N, --epochs X         how long; 1000 steps\n"
    "  --batch-size N                64\n"
    "  --optimizer sgd|adamw         sgd\n"
    "  --lr X                        0.025; adamw: 0.001\n"
    "  --momentum X, --nesterov      0.9; of sgd\n"
    "  --beta1 X, --beta2 X, --eps X 0.9, 0.999, 1e-8; of adamw\n"
    "  --weight-decay X              3e-4\n"
    "  --schedule constant|step|cosine   cosine\n"
    "  --warmup-steps N              0\n"
    "  --step-size N, --gamma X      a third of all, 0.1; of the schedule step\n"
    "  --clip-norm X                 largest norm of the gradient; 5, 0 for any\n"
    "  --label-smoothing X           0\n"
    "  --precision auto|f32|bf16     auto: bf16 where the processor is made for it\n"
    "  --seed N                      0\n"
    "  --n-shots N                   train on so many images of each class; 0 for all\n"
    "  --no-augment                  without random crops and flips\n"
    "  --cutout N                    side of the squares cut out; 0\n"
    "  --eval-every N                steps between evaluations; 0: so many that they\n"
    "                                take a tenth of the time\n"
    "  --eval-images N               test on the first N images; 0 for all\n"
    "  --orth-from N, --orth-noise X orthogonalise weights from number N on; 0 (off), 3e-5\n";

struct wanted {
    const char *network, *data, *output, *dir;
    struct cli_source source;
    int64_t loader_threads;
    bool json;
    struct ghn_recipe recipe;

    const char *server, *token_file, *model;
    bool no_wait;
    json_t *fields; /* of the recipe that were given */
};

/* --- The command line --- */

/* Where the parameters come from: as --init says, or as the files that are given say. */
static int choose_start(struct wanted *wanted, bool init_given) {
    struct cli_source *source = &wanted->source;
    if (source->checkpoint && source->parameters)
        return cli_usage("finetune", "--checkpoint and --parameters exclude each other");
    if (!init_given && !source->checkpoint && !source->parameters)
        return cli_usage("finetune",
                         "one of --checkpoint GHN, --parameters FILE, --init random is needed");
    if (!init_given)
        wanted->recipe.start = source->checkpoint ? GHN_START_GHN : GHN_START_UPLOAD;
    if (wanted->recipe.start == GHN_START_GHN && !source->checkpoint)
        return cli_usage("finetune", "--init ghn needs --checkpoint GHN");
    if (wanted->recipe.start == GHN_START_UPLOAD && !source->parameters)
        return cli_usage("finetune", "--init upload needs --parameters FILE");
    if (wanted->recipe.start == GHN_START_RANDOM && (source->checkpoint || source->parameters))
        return cli_usage("finetune", "--init random takes no file to start from");
    source->seed = wanted->recipe.seed;
    return CLI_OK;
}

/* The same for a job: what the server has to say of it, it says itself. */
static int choose_start_there(const struct wanted *wanted) {
    if (wanted->source.checkpoint)
        return cli_usage("finetune", "--server and --checkpoint exclude each other; --model ID is "
                                     "for the server's");
    if (wanted->dir || wanted->json)
        return cli_usage("finetune", "--dir and --json do not go with --server");
    return CLI_OK;
}

/* The recipe of the options; CLI_OK or a complaint's exit code. */
static int read_recipe(const struct cli_recipe_options *fields, struct wanted *wanted) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = cli_recipe_options_json(fields, &wanted->fields, &err);
    if (status == GHN_OK)
        status = ghn_recipe_from_json(wanted->fields, "", &wanted->recipe, &err);
    if (status != GHN_OK)
        return cli_usage("finetune", "%s: %s", err.where, err.message);
    if (wanted->server)
        return choose_start_there(wanted);
    if (wanted->no_wait || wanted->model || wanted->token_file)
        return cli_usage("finetune", "--model, --no-wait and --token-file need --server URL");
    return choose_start(wanted, json_object_get(wanted->fields, "init") != NULL);
}

static int parse_with(int argc, char **argv, struct cli_recipe_options *fields,
                      struct wanted *wanted) {
    struct cli_option options[CLI_RECIPE_FIELDS + 11] = {
        {.name = "data", .text = &wanted->data},
        {.name = "output", .letter = 'o', .text = &wanted->output},
        {.name = "dir", .text = &wanted->dir},
        {.name = "checkpoint", .text = &wanted->source.checkpoint},
        {.name = "parameters", .text = &wanted->source.parameters},
        {.name = "loader-threads", .number = &wanted->loader_threads, .min = 1, .max = 64},
        {.name = "json", .flag = &wanted->json},
        {.name = "server", .text = &wanted->server},
        {.name = "token-file", .text = &wanted->token_file},
        {.name = "model", .text = &wanted->model},
        {.name = "no-wait", .flag = &wanted->no_wait},
    };
    enum { OWN = 11 };
    int first, code = CLI_OK;
    size_t n = OWN + cli_recipe_options_list(fields, options + OWN);
    if (!cli_options(argc, argv, options, n, cli_finetune_help, 1, 1, &first, &code))
        return code == CLI_OK ? -1 : code;
    wanted->network = argv[first];
    if (!wanted->data)
        return cli_usage("finetune", "--data FOLDER is missing");
    if (!wanted->output && !wanted->server)
        return cli_usage("finetune", "-o FILE is missing");
    if (cli_same_file(wanted->output, wanted->network) ||
        cli_same_file(wanted->output, wanted->source.checkpoint) ||
        cli_same_file(wanted->output, wanted->source.parameters))
        return cli_usage("finetune", "--output: %s is what is read", wanted->output);
    return read_recipe(fields, wanted);
}

/* Reads the command line; true to go on. */
static bool parse(int argc, char **argv, struct wanted *wanted, int *ret_exit) {
    struct cli_recipe_options fields;
    struct ghn_err err = GHN_ERR_INIT;
    if (cli_recipe_options_init(&fields, &err) != GHN_OK) {
        *ret_exit = cli_fail(&err, NULL);
        return false;
    }
    int code = parse_with(argc, argv, &fields, wanted);
    cli_recipe_options_done(&fields);
    *ret_exit = code > 0 ? code : CLI_OK;
    return code == CLI_OK;
}

/* --- What came out --- */

static int print_json(const struct wanted *wanted, const struct cli_header *header,
                      const struct ghn_progress *last, json_t *history) {
    const char *step = cli_header_text(header, "step"),
               *top1 = cli_header_text(header, "test_top1");
    return cli_print_json(json_pack("{s:o, s:s*, s:s*, s:I, s:f, s:I, s:O}", "output",
                                    cli_text_json(wanted->output), "step", step, "test_top1", top1,
                                    "steps", (json_int_t)last->steps, "seconds", last->seconds,
                                    "parameters", (json_int_t)header->elements, "history", history),
                          JSON_INDENT(2));
}

static void print_summary(const struct wanted *wanted, const struct cli_header *header,
                          const struct ghn_progress *last) {
    char bytes[CLI_NUMBER], time[CLI_DURATION];
    const char *step = cli_header_text(header, "step"),
               *top1 = cli_header_text(header, "test_top1");
    printf("%s: %d tensors, %s, of step %s", wanted->output, header->tensors,
           cli_bytes(header->bytes, bytes), step ? step : "?");
    if (top1)
        printf(", test top-1 %s%.2f %%%s", cli_bold(stdout), 100 * strtod(top1, NULL),
               cli_plain(stdout));
    printf("; %lld steps in %s\n", (long long)last->steps, cli_duration(last->seconds, time));
}

/* Puts the parameters where they were asked for and tells of them. */
static int finish(const struct wanted *wanted, const char *dir, const struct ghn_progress *last) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_err err = GHN_ERR_INIT;
    struct cli_header header = {0};
    json_t *history = NULL;
    const char *path = ghn_arena_printf(&arena, "%s/%s", dir, GHN_PARAMETERS_FILE);
    enum ghn_status status =
        path ? cli_copy_file(path, wanted->output, &err) : ghn_fail_memory(&err);
    if (status == GHN_OK)
        status = cli_header_read(wanted->output, &header, &err);
    if (status == GHN_OK)
        status = ghn_finetune_history(dir, &history, &err);
    int code = CLI_OK;
    if (status != GHN_OK)
        code = cli_fail(&err, "the training itself is done; the same command tries this again");
    else if (wanted->json)
        code = print_json(wanted, &header, last, history);
    else
        print_summary(wanted, &header, last);
    if (code == CLI_OK && !wanted->dir) {
        cli_folder_remove(dir, GHN_STATE_FILE);
        cli_folder_remove(dir, GHN_PARAMETERS_FILE);
        (void)rmdir(dir);
    }
    json_decref(history);
    cli_header_done(&header);
    ghn_arena_done(&arena);
    return code;
}

/* Says what failed, and what is there nevertheless. */
static int fail(const struct ghn_err *err, enum ghn_status status, const struct wanted *wanted,
                const char *dir) {
    char next[GHN_ERR_MESSAGE] = "";
    if (status == GHN_STOPPED)
        (void)snprintf(next, sizeof next, "the same command goes on from there (%.300s)", dir);
    else if (status == GHN_DIVERGED)
        (void)snprintf(next, sizeof next,
                       "%.200s has the last good parameters; another recipe needs another --dir, "
                       "or that one removed",
                       dir);
    else if (strstr(err->where, GHN_STATE_FILE))
        (void)snprintf(next, sizeof next, "remove %.200s, or name another --dir, to start afresh",
                       dir);
    /* A folder of ours that nothing came into is none to keep. */
    if (!wanted->dir)
        (void)rmdir(dir);
    return cli_fail(err, *next ? next : NULL);
}

static int train(const struct wanted *wanted, struct cli_start *start, const char *dir) {
    struct ghn_err err = GHN_ERR_INIT;
    struct cli_progress progress;
    const char *next = NULL;
    enum ghn_status status =
        cli_start_open(start, wanted->network, wanted->data, &wanted->source, &next, &err);
    if (status != GHN_OK)
        return cli_fail(&err, next);
    int lock = -1;
    status = cli_folder_take(dir, &lock, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    cli_progress_init(&progress);
    cli_stop_catch();
    const struct ghn_finetune_options options = {
        .start = start->origin,
        .dir = dir,
        .report_seconds = progress.terminal ? 0.5 : 0,
        .loader_threads = (int)wanted->loader_threads,
        .stop = &cli_stop,
        .report = cli_progress_show,
        .context = &progress,
    };
    status = ghn_finetune(start->request.arch, start->dataset, &wanted->recipe, &options,
                          start->params, &err);
    cli_progress_end(&progress);
    int code =
        status == GHN_OK ? finish(wanted, dir, &progress.last) : fail(&err, status, wanted, dir);
    (void)close(lock);
    return code;
}

static int train_here(const struct wanted *wanted) {
    struct cli_start start = {0};
    struct ghn_arena arena = GHN_ARENA_INIT;
    const char *dir =
        wanted->dir ? wanted->dir : ghn_arena_printf(&arena, "%s.training", wanted->output);
    int code = dir ? train(wanted, &start, dir) : cli_failf(NULL, NULL, "not enough memory");
    cli_start_done(&start);
    ghn_arena_done(&arena);
    return code;
}

static int train_there(const struct wanted *wanted) {
    const struct cli_submission submission = {
        .link = {.server = cli_server(wanted->server), .token_file = wanted->token_file},
        .network = wanted->network,
        .data = wanted->data,
        .model = wanted->model,
        .parameters = wanted->source.parameters,
        .fields = wanted->fields,
        .output = wanted->output,
        .wait = !wanted->no_wait};
    return cli_finetune_there(&submission);
}

int cli_finetune(int argc, char **argv) {
    struct wanted wanted = {.loader_threads = 1};
    int code;
    if (parse(argc, argv, &wanted, &code))
        code = wanted.server ? train_there(&wanted) : train_here(&wanted);
    json_decref(wanted.fields);
    return code;
}
