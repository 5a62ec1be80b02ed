/* ghn eval: how good a network with given parameters is. */
#include <string.h>

#include "cli.h"
#include "start.h"
#include "train/finetune.h"

const char cli_eval_help[] =
    "usage: ghn eval NETWORK.json --data FOLDER (--parameters FILE | --checkpoint GHN)\n"
    "                [--split test|train] [--images N] [--batch-size N] [--batch-statistics]\n"
    "                [--precision auto|f32|bf16] [--seed N] [--json]\n"
    "\n"
    "Evaluates a network on images: loss, and how often the right class is the first and among\n"
    "the first five. NETWORK.json holds a request, arch or genotype; - is standard input.\n"
    "\n"
    "  --data FOLDER        the data set: CIFAR-10 or -100 (binary version), the MNIST family, or\n"
    "                       train/CLASS/FILE.jpg and test/CLASS/...; \"shapes\" is drawn\n"
    "  --parameters FILE    the network's parameters\n"
    "  --checkpoint GHN     parameters as this hypernetwork predicts them\n"
    "  --split SPLIT        which images: test (the default) or train\n"
    "  --images N           the first N of them; all\n"
    "  --batch-size N       images at a time; 64\n"
    "  --batch-statistics   batch norm takes the statistics of each batch, as it does anyway for\n"
    "                       parameters that come without running ones\n"
    "  --precision P        f32, bf16, or auto: bf16 where the processor is made for it\n"
    "  --seed N             of what a hypernetwork does not predict; 0\n"
    "  --json               as a JSON object\n";

struct wanted {
    const char *network, *data, *split, *precision;
    struct cli_source source;
    int64_t seed, images, batch;
    bool batch_statistics, json;
    enum ghn_split split_id;
    enum ghn_precision precision_id;
};

/* What depends on more than one option, or is a name; CLI_OK or a complaint's exit code. */
static int check(struct wanted *wanted) {
    if (!wanted->data)
        return cli_usage("eval", "--data FOLDER is missing");
    if (!wanted->source.parameters == !wanted->source.checkpoint)
        return cli_usage("eval", "one of --parameters FILE and --checkpoint GHN is needed");
    if (wanted->split && strcmp(wanted->split, "train") == 0)
        wanted->split_id = GHN_SPLIT_TRAIN;
    else if (wanted->split && strcmp(wanted->split, "test") != 0)
        return cli_usage("eval", "--split: '%s' is none of test, train", wanted->split);
    if (wanted->precision && !ghn_precision_parse(wanted->precision, &wanted->precision_id))
        return cli_usage("eval", "--precision: '%s' is none of auto, f32, bf16", wanted->precision);
    wanted->source.seed = (uint64_t)wanted->seed;
    return CLI_OK;
}

static bool parse(int argc, char **argv, struct wanted *wanted, int *ret_exit) {
    const struct cli_option options[] = {
        {.name = "data", .text = &wanted->data},
        {.name = "parameters", .text = &wanted->source.parameters},
        {.name = "checkpoint", .text = &wanted->source.checkpoint},
        {.name = "split", .text = &wanted->split},
        {.name = "precision", .text = &wanted->precision},
        {.name = "images", .number = &wanted->images, .min = 0, .max = INT64_MAX},
        {.name = "batch-size", .number = &wanted->batch, .min = 1, .max = 65536},
        {.name = "seed", .number = &wanted->seed, .min = 0, .max = INT64_MAX},
        {.name = "batch-statistics", .flag = &wanted->batch_statistics},
        {.name = "json", .flag = &wanted->json},
    };
    int first;
    if (!cli_options(argc, argv, options, sizeof options / sizeof options[0], cli_eval_help, 1, 1,
                     &first, ret_exit))
        return false;
    wanted->network = argv[first];
    *ret_exit = check(wanted);
    return *ret_exit == CLI_OK;
}

/* What came out, and how. */
struct result {
    struct ghn_evaluation evaluation;
    const char *dataset, *split, *statistics;
    double seconds;
};

static int print_json(const struct result *result) {
    const struct ghn_evaluation *e = &result->evaluation;
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:o, s:f, s:f, s:s, s:f}", "dataset", result->dataset, "split",
                  result->split, "images", (json_int_t)e->images, "loss",
                  e->loss - e->loss == 0 ? json_real(e->loss) : json_null(), "top1", e->top1,
                  "top5", e->top5, "statistics", result->statistics, "seconds", result->seconds);
    int failed = !object || json_dumpf(object, stdout, JSON_INDENT(2)) != 0;
    json_decref(object);
    if (failed)
        return cli_failf(NULL, NULL, "not enough memory");
    puts("");
    return CLI_OK;
}

static void print_table(const struct result *result) {
    const struct ghn_evaluation *e = &result->evaluation;
    char count[CLI_NUMBER];
    printf("data set    %s, %s images of the %s split\n", result->dataset,
           cli_count(e->images, count), result->split);
    printf("batch norm  with %s statistics\n", result->statistics);
    printf("loss        %.4f\n", e->loss);
    printf("top-1       %s%.2f %%%s\n", cli_bold(stdout), 100 * e->top1, cli_plain(stdout));
    printf("top-5       %.2f %%\n", 100 * e->top5);
    printf("time        %.1f s, %.0f images/s\n", result->seconds,
           (double)e->images / result->seconds);
}

static int evaluate(const struct wanted *wanted, struct cli_start *start) {
    struct ghn_err err = GHN_ERR_INIT;
    const char *next = NULL;
    struct result result = {.split = wanted->split_id == GHN_SPLIT_TEST ? "test" : "train"};
    enum ghn_status status =
        cli_start_open(start, wanted->network, wanted->data, &wanted->source, &next, &err);
    if (status != GHN_OK)
        return cli_fail(&err, next);
    bool running = start->params->batches_tracked > 0 && !wanted->batch_statistics;
    double started = cli_seconds();
    status = ghn_evaluate(start->request.arch, start->params, start->dataset, wanted->split_id,
                          wanted->images, (int)wanted->batch,
                          running ? GHN_MODE_EVAL : GHN_MODE_BATCH_STATISTICS, wanted->precision_id,
                          NULL, &result.evaluation, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    result.seconds = cli_seconds() - started;
    result.dataset = start->dataset->name;
    result.statistics = running ? "running" : "batch";
    if (wanted->json)
        return print_json(&result);
    print_table(&result);
    return CLI_OK;
}

int cli_eval(int argc, char **argv) {
    struct wanted wanted = {.batch = 64, .split_id = GHN_SPLIT_TEST};
    struct cli_start start = {0};
    int code;
    if (!parse(argc, argv, &wanted, &code))
        return code;
    code = evaluate(&wanted, &start);
    cli_start_done(&start);
    return code;
}
