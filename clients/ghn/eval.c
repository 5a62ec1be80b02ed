/* ghn eval: how good a network with given parameters is, or a hypernetwork on many networks. */
#include <string.h>

#include "cli.h"
#include "eval_nets.h"
#include "start.h"
#include "train/finetune.h"

const char cli_eval_help[] =
    "usage: ghn eval NETWORK.json --data FOLDER (--parameters FILE | --checkpoint GHN)\n"
    "                [--split test|train] [--images N] [--batch-size N] [--batch-statistics]\n"
    "                [--precision auto|f32|bf16] [--seed N] [--json]\n"
    "       ghn eval --checkpoint GHN --split SPLIT ... --data FOLDER [--count N] [--first I]\n"
    "                [--sgd-steps N] [--results FILE] [--threads N] [--images N] [--json] ...\n"
    "\n"
    "With a network: evaluates it on images: loss, and how often the right class is the first\n"
    "and among the first five. NETWORK.json holds a request, arch or genotype; - is standard\n"
    "input.\n"
    "\n"
    "  --data FOLDER        the data set: CIFAR-10 or -100 (binary version), the MNIST family, or\n"
    "                       pictures as ghn help dataset says; \"shapes\" is drawn\n"
    "  --parameters FILE    the network's parameters\n"
    "  --checkpoint GHN     parameters as this hypernetwork predicts them\n"
    "  --split SPLIT        which images: test (the default) or train\n"
    "  --images N           the first N of them; all\n"
    "  --batch-size N       images at a time; 64\n"
    "  --batch-statistics   batch norm takes the statistics of each batch, as it does anyway for\n"
    "                       parameters that come without running ones\n"
    "  --precision P        f32, bf16, or auto: bf16 where the processor is made for it\n"
    "  --seed N             of what a hypernetwork does not predict; 0\n"
    "  --json               as a JSON object\n"
    "\n"
    "Without a network: evaluates the hypernetwork, on networks of DeepNets-1M that it has not\n"
    "seen, on the test images, as the papers do: batch norm takes the statistics of each batch of\n"
    "64. Says of each split how good the networks are: mean, its standard error, median, best;\n"
    "how many are better than chance (by more than two standard errors), and how many fail with\n"
    "outputs that are not finite, which count as guessing. --json has every network.\n"
    "\n"
    "  --split SPLIT        test, wide, deep, dense, bnfree, predefined, val, search or train "
    "(ghn\n"
    "                       help sample says what they are); may be given several times. all: the\n"
    "                       first six, of which there are published numbers\n"
    "  --count N            networks of each split; as many as the published split has\n"
    "  --first I            number of the first one; 0\n"
    "  --arch-seed S        of the networks, as ghn sample --seed; 0\n"
    "  --size SIDE          of the networks' input; that of the images, 224 where they differ\n"
    "  --sgd-steps N        also trains each network from a random start for N steps (batches of\n"
    "                       96, momentum 0.9, rate 0.025 falling as a cosine) and evaluates that\n"
    "  --results FILE       keeps the result of every network that is done, as a line of JSON;\n"
    "                       what is there, of this checkpoint and these options, is not done "
    "again\n"
    "  --threads N          networks at a time, each by one thread; one for every processor. The\n"
    "                       results are the same for any number\n"
    "  --images, --batch-size, --precision, --seed, --json   as above\n";

struct wanted {
    const char *network, *data, *split, *precision;
    struct cli_source source;
    int64_t seed, images, batch;
    bool batch_statistics, json;
    enum ghn_split split_id;
    enum ghn_precision precision_id;
    struct cli_eval_nets nets; /* what only many networks want */
};

/* What is wrong with the options of one network; CLI_OK or a complaint's exit code. */
static int check_one(struct wanted *wanted) {
    const struct cli_eval_nets *nets = &wanted->nets;
    if (nets->count || nets->first || nets->arch_seed || nets->size || nets->sgd_steps ||
        nets->threads || nets->results)
        return cli_usage("eval",
                         "--count, --first, --arch-seed, --size, --sgd-steps, --threads and "
                         "--results do not go with a network");
    if (!wanted->source.parameters == !wanted->source.checkpoint)
        return cli_usage("eval", "one of --parameters FILE and --checkpoint GHN is needed");
    if (nets->splits.n > 1)
        return cli_usage("eval", "--split is given %d times", nets->splits.n);
    wanted->split = nets->splits.n > 0 ? nets->splits.items[0] : "test";
    if (strcmp(wanted->split, "train") == 0)
        wanted->split_id = GHN_SPLIT_TRAIN;
    else if (strcmp(wanted->split, "test") != 0)
        return cli_usage("eval", "--split: '%s' is none of test, train", wanted->split);
    wanted->source.seed = (uint64_t)wanted->seed;
    return CLI_OK;
}

/* The same for many networks, whose options are gathered. */
static int check_many(struct wanted *wanted) {
    struct cli_eval_nets *nets = &wanted->nets;
    if (!wanted->source.checkpoint)
        return cli_usage("eval", "NETWORK.json is missing, or --checkpoint GHN and --split for the "
                                 "networks of DeepNets-1M");
    if (wanted->source.parameters || wanted->batch_statistics)
        return cli_usage("eval", "--parameters and --batch-statistics need a network");
    nets->checkpoint = wanted->source.checkpoint;
    nets->data = wanted->data;
    nets->images = wanted->images;
    nets->batch = wanted->batch;
    nets->seed = wanted->seed;
    nets->precision = wanted->precision_id;
    nets->json = wanted->json;
    return CLI_OK;
}

/* What depends on more than one option, or is a name. */
static int check(struct wanted *wanted) {
    if (!wanted->data)
        return cli_usage("eval", "--data FOLDER is missing");
    if (wanted->precision && !ghn_precision_parse(wanted->precision, &wanted->precision_id))
        return cli_usage("eval", "--precision: '%s' is none of auto, f32, bf16", wanted->precision);
    return wanted->network ? check_one(wanted) : check_many(wanted);
}

static bool parse(int argc, char **argv, struct wanted *wanted, int *ret_exit) {
    struct cli_eval_nets *nets = &wanted->nets;
    const struct cli_option options[] = {
        {.name = "data", .text = &wanted->data},
        {.name = "parameters", .text = &wanted->source.parameters},
        {.name = "checkpoint", .text = &wanted->source.checkpoint},
        {.name = "split", .list = &nets->splits},
        {.name = "precision", .text = &wanted->precision},
        {.name = "images", .number = &wanted->images, .min = 0, .max = INT64_MAX},
        {.name = "batch-size", .number = &wanted->batch, .min = 1, .max = 65536},
        {.name = "seed", .number = &wanted->seed, .min = 0, .max = INT64_MAX},
        {.name = "batch-statistics", .flag = &wanted->batch_statistics},
        {.name = "json", .flag = &wanted->json},
        {.name = "count", .number = &nets->count, .min = 1, .max = 1000000},
        {.name = "first", .number = &nets->first, .min = 0, .max = INT64_MAX / 2},
        {.name = "arch-seed", .number = &nets->arch_seed, .min = 0, .max = INT64_MAX},
        {.name = "size", .number = &nets->size, .min = 8, .max = 1024},
        {.name = "sgd-steps", .number = &nets->sgd_steps, .min = 0, .max = 1000000000},
        {.name = "results", .text = &nets->results},
        {.name = "threads", .number = &nets->threads, .min = 1, .max = 1024},
    };
    int first;
    if (!cli_options(argc, argv, options, sizeof options / sizeof options[0], cli_eval_help, 0, 1,
                     &first, ret_exit))
        return false;
    wanted->network = first < argc ? argv[first] : NULL;
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
    return cli_print_json(json_pack("{s:o, s:s, s:I, s:o, s:f, s:f, s:s, s:f}", "dataset",
                                    cli_text_json(result->dataset), "split", result->split,
                                    "images", (json_int_t)e->images, "loss",
                                    e->loss - e->loss == 0 ? json_real(e->loss) : json_null(),
                                    "top1", e->top1, "top5", e->top5, "statistics",
                                    result->statistics, "seconds", result->seconds),
                          JSON_INDENT(2));
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
    double started = ghn_seconds();
    status = ghn_evaluate(start->request.arch, start->params, start->dataset, wanted->split_id,
                          wanted->images, (int)wanted->batch,
                          running ? GHN_MODE_EVAL : GHN_MODE_BATCH_STATISTICS, wanted->precision_id,
                          NULL, &result.evaluation, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    result.seconds = ghn_seconds() - started;
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
    if (!wanted.network)
        return cli_eval_nets(&wanted.nets);
    code = evaluate(&wanted, &start);
    cli_start_done(&start);
    return code;
}
