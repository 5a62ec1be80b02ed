/* ghn sample: networks of DeepNets-1M. */
#include "deepnets/sample.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "output.h"
#include "sample_stats.h"

const char cli_sample_help[] =
    "usage: ghn sample [--split SPLIT] [--count N] [--first I] [--seed S] [--size 32|224]\n"
    "                  [--classes K] [--draw-width] [-o FILE | --stats]\n"
    "\n"
    "Draws networks from the space of DeepNets-1M. Each line that it writes is a JSON object\n"
    "with the genotype form of a network, which is a request of its own: ghn predict and\n"
    "POST /predict take it as it is. The same options give the same networks; network I of a\n"
    "split and seed is the same whatever --first and --count are.\n"
    "\n"
    "  --split SPLIT   train (the default); val, test: as train; wide: test, four times as wide;\n"
    "                  deep: 10 to 36 cells; dense: up to 10 steps a cell; bnfree: without norm;\n"
    "                  search: for architecture search; predefined: ResNet-50 (an arch) and a ViT\n"
    "  --count N       how many; as many as the published split has, 1000 of train and search\n"
    "  --first I       number of the first one; 0\n"
    "  --seed S        of the random numbers; 0\n"
    "  --size SIDE     of the images, 32 (the default) or 224\n"
    "  --classes K     classes; 10\n"
    "  --draw-width    train: C and fc_dim as training draws them, not 32 and 256 for all\n"
    "  -o, --output FILE   where to; standard output if absent\n"
    "  --stats         instead of the networks, a table of what they are like\n"
    "\n"
    "No network of another split is one of train, whatever the seeds, and none of val is one of\n"
    "test. The networks of splits other than train have at least 2.5 million parameters.\n";

/* What is asked for. */
struct order {
    enum ghn_deepnets_split split;
    int64_t count, first, seed, side, classes;
    bool draw_width;
};

/* How many are drawn if it is not said. */
enum { SOME = 1000 };

/* Network i as a genotype. */
static enum ghn_status draw(const struct order *order, int64_t i, struct ghn_net *ret,
                            struct ghn_err *err) {
    enum ghn_status status = ghn_sample_net(order->split, (uint64_t)order->seed, i, ret, err);
    if (status != GHN_OK)
        return status;
    ghn_sample_for_images(order->split, order->side, (int)order->classes, ret);
    struct ghn_rng rng = {
        .seed = ghn_rng_bits((uint64_t)order->seed, ghn_rng_stream("width"), (uint64_t)i)};
    if (order->draw_width)
        ghn_draw_width(ret, &rng);
    return GHN_OK;
}

/* The request of an arch, a new reference. */
static enum ghn_status predefined_json(const struct order *order, int64_t i, json_t **ret,
                                       struct ghn_err *err) {
    struct ghn_arch *arch = NULL;
    enum ghn_status status =
        ghn_predefined_arch(i, order->side, (int)order->classes, &ghn_limits_default, &arch, err);
    if (status != GHN_OK)
        return status;
    json_t *json = json_pack("{s:o}", "arch", ghn_arch_to_json(arch));
    ghn_arch_free(arch);
    *ret = json;
    return json ? GHN_OK : ghn_fail_memory(err);
}

/* Network i as a request, a new reference; ResNet-50 is no genotype. */
static enum ghn_status request_json(const struct order *order, int64_t i, json_t **ret,
                                    struct ghn_err *err) {
    struct ghn_net net;
    if (order->split == GHN_DEEPNETS_PREDEFINED && i == 0)
        return predefined_json(order, i, ret, err);
    enum ghn_status status = draw(order, i, &net, err);
    if (status != GHN_OK)
        return status;
    json_t *json = ghn_net_to_json(&net);
    *ret = json;
    return json ? GHN_OK : ghn_fail_memory(err);
}

/* Writes it as a line, whose length is added to *bytes. */
static enum ghn_status write_line(const struct order *order, int64_t i, struct cli_output *output,
                                  uint64_t *bytes, struct ghn_err *err) {
    json_t *json = NULL;
    enum ghn_status status = request_json(order, i, &json, err);
    if (status != GHN_OK)
        return status;
    char *line = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!line)
        return ghn_fail_memory(err);
    *bytes += strlen(line) + 1;
    status = cli_output_write(output, line, strlen(line), err);
    if (status == GHN_OK)
        status = cli_output_write(output, "\n", 1, err);
    free(line);
    return status;
}

static int write_lines(const struct order *order, const char *path) {
    struct cli_output output;
    uint64_t bytes = 0;
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = cli_output_open(&output, path, false, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    for (int64_t i = 0; i < order->count && status == GHN_OK; i++) {
        /* Standard output shows by itself how far it is. */
        if (output.file && !cli_output_progress(&output, bytes, 0))
            status = ghn_fail(&err, GHN_STOPPED, path, "stopped; nothing was written");
        else
            status = write_line(order, order->first + i, &output, &bytes, &err);
    }
    if (status == GHN_OK)
        status = cli_output_commit(&output, &err);
    cli_output_discard(&output);
    return status == GHN_OK ? CLI_OK : cli_fail(&err, NULL);
}

static int print_stats(const struct order *order) {
    struct cli_sample_stats stats;
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = cli_sample_stats_init(&stats, order->count, &err);
    for (int64_t i = 0; i < order->count && status == GHN_OK; i++) {
        struct ghn_net net;
        status = draw(order, order->first + i, &net, &err);
        if (status == GHN_OK)
            cli_sample_stats_add(&stats, &net);
    }
    if (status == GHN_OK)
        cli_sample_stats_print(&stats);
    cli_sample_stats_done(&stats);
    return status == GHN_OK ? CLI_OK : cli_fail(&err, NULL);
}

/* What the options must be to each other; CLI_OK, or a complaint's exit code. `count` is -1 where
 * none was given. */
static int complete(struct order *order, bool stats, const char *path) {
    bool predefined = order->split == GHN_DEEPNETS_PREDEFINED;
    int64_t published = ghn_deepnets_split_size(order->split);
    if (order->count < 0) {
        order->count = published < SOME ? published : SOME;
        if (predefined)
            order->count -= order->first;
    }
    if (predefined && (order->count < 1 || order->first + order->count > published))
        return cli_usage("sample", "predefined has networks 0 and 1 only");
    if (predefined && stats)
        return cli_usage("sample", "--stats: predefined is a list, not a sample");
    if (stats && path)
        return cli_usage("sample", "--stats and -o exclude each other");
    if (order->side != 32 && order->side != 224)
        return cli_usage("sample", "--size: '%lld' is neither 32 nor 224", (long long)order->side);
    if (order->draw_width && order->split != GHN_DEEPNETS_TRAIN)
        return cli_usage("sample", "--draw-width: only networks of train are trained with widths "
                                   "that are drawn");
    return CLI_OK;
}

int cli_sample(int argc, char **argv) {
    struct order order = {.count = -1, .side = 32, .classes = 10};
    const char *split = "train", *path = NULL;
    bool stats = false;
    const struct cli_option options[] = {
        {.name = "split", .text = &split},
        {.name = "count", .number = &order.count, .min = 1, .max = 100000000},
        {.name = "first", .number = &order.first, .min = 0, .max = INT64_MAX / 2},
        {.name = "seed", .number = &order.seed, .min = 0, .max = INT64_MAX},
        {.name = "size", .number = &order.side, .min = 32, .max = 224},
        {.name = "classes", .number = &order.classes, .min = 1, .max = 65536},
        {.name = "draw-width", .flag = &order.draw_width},
        {.name = "output", .letter = 'o', .text = &path},
        {.name = "stats", .flag = &stats},
    };
    int first, code;
    if (!cli_options(argc, argv, options, sizeof(options) / sizeof(options[0]), cli_sample_help, 0,
                     0, &first, &code))
        return code;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_deepnets_split_from_name(split, "--split", &order.split, &err) != GHN_OK)
        return cli_usage("sample", "--split: %s", err.message);
    code = complete(&order, stats, path);
    if (code != CLI_OK)
        return code;
    return stats ? print_stats(&order) : write_lines(&order, path ? path : "-");
}
