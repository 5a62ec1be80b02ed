/* ghn train: trains a hypernetwork. */
#include "train/meta.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli.h"
#include "folder.h"
#include "progress.h"
#include "stop.h"
#include "train_progress.h"
#include "train_validate.h"

const char cli_train_help[] =
    "usage: ghn train --data FOLDER --dir DIR [-o FILE] [--steps N] [options]\n"
    "\n"
    "Trains a GHN-2 hypernetwork on random architectures of DeepNets-1M and the images of a data\n"
    "set. Ctrl-C saves where it is; the same command goes on from there, also after a crash or a\n"
    "power cut, and comes to the same hypernetwork as if it had never been stopped. DIR always\n"
    "holds the latest one as checkpoint.safetensors, which ghn and ghnd load.\n"
    "\n"
    "  --data FOLDER        the data set: CIFAR-10 or -100 (binary version), the MNIST family, or\n"
    "                       pictures as ghn help dataset says; \"shapes\" is drawn. Images become\n"
    "                       3 x 32 x 32, or what --side says\n"
    "  --dir DIR            where the training's state is kept\n"
    "  -o, --output FILE    where the hypernetwork goes at the end\n"
    "  --start GHN          begin with this hypernetwork instead of a random one, also of another\n"
    "                       number of classes: what depends on that is new. The checkpoint lists\n"
    "                       the trainings behind it\n"
    "  --steps N            100000. More may be given later: the learning rate is then what it\n"
    "                       would have been for so many\n"
    "  --threads N          networks side by side; one for every processor\n"
    "  --save-minutes N     between states; 5\n"
    "  --stop-minutes N     stop, as Ctrl-C does, after so long\n"
    "  --validate N         networks of the validation split to try the hypernetwork on, every 20\n"
    "                       minutes and at the end; 16, 0 for none. On the images behind those of\n"
    "                       --images, or without it on the test images\n"
    "  --json               a summary with the history, as a JSON object\n"
    "\n"
    "the recipe (in brackets the paper's, where that is another):\n"
    "  --recipe frugal|paper   what the options below change: frugal is for hours of a processor,\n"
    "                       paper that of Knyazev et al. (2021), for days\n"
    "  --meta-batch N       architectures a step; 8\n"
    "  --batch-size N       images a network and step; 32 [64]\n"
    "  --own-images         every architecture has images of its own; the default [not]\n"
    "  --shared-images      they all have the same\n"
    "  --optimizer adam|adamw|muon   muon, which makes the steps of matrices orthogonal [adam]\n"
    "  --lr X               0.001\n"
    "  --warmup-steps N     over which it grows from 0; 100 [0]\n"
    "  --decay-steps N      over which it falls to a hundredth, at the end; all [0]\n"
    "  --weight-decay X     1e-5\n"
    "  --beta1 X, --beta2 X 0.95, 0.98 [0.9, 0.999]\n"
    "  --ema-decay X        checkpoints are a moving average of the parameters, with this decay a\n"
    "                       step; 0.99 [0, none]\n"
    "  --clip-norm X        largest norm of the gradient; 5, 0 for any\n"
    "  --clip-network X     largest norm of the gradient of one network, 0 for any; 5 [0]\n"
    "  --label-smoothing X  0\n"
    "  --pool N             train on the first N architectures only; 0 for ever new ones\n"
    "  --max-flops N        only architectures of at most N million multiply-adds an image; 0 for\n"
    "                       any\n"
    "  --side N             pixels along a side of the images and so of the networks' input; 32.\n"
    "                       A multiple of 8 up to 64, of 32 up to 224\n"
    "  --no-widths          all networks with 32 channels\n"
    "  --wide X             share of the networks that are as wide as those of evaluations; 0\n"
    "  --max-nodes N        leave out meta-batches with more nodes; 2200, 0 for none\n"
    "  --images N           train on the first N images only; 0 for all\n"
    "  --no-augment         without random crops and flips\n"
    "  --precision auto|f32|bf16   of the networks; auto: bf16 where the processor is made for it\n"
    "  --seed N             0\n"
    "\n"
    "the hypernetwork:\n"
    "  --hid N              width of a node embedding; 32, with --start that hypernetwork's\n";

struct wanted {
    const char *data, *dir, *output, *start, *recipe_name;
    int64_t threads, save_minutes, stop_minutes, validate, hid;
    bool json;
    struct ghn_meta_recipe recipe;
};

/* --- The command line --- */

/* Options with a fraction. */
struct real {
    const char *name, *text;
    double *value;
};

static int read_reals(const struct real *reals, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *end;
        if (!reals[i].text)
            continue;
        errno = 0;
        *reals[i].value = strtod(reals[i].text, &end);
        if (end == reals[i].text || *end || errno == ERANGE || !isfinite(*reals[i].value))
            return cli_usage("train", "--%s %s is no number", reals[i].name, reals[i].text);
    }
    return CLI_OK;
}

/* What is read as 64-bit numbers or as words before it is checked and put into the recipe. */
struct raw {
    int64_t meta_batch, batch, nodes, max_flops, side, seed;
    bool own_images, shared_images, no_widths, no_augment;
    const char *precision, *optimizer;
};

static int check(const struct wanted *wanted, const struct raw *raw,
                 struct ghn_meta_recipe *recipe) {
    if (!wanted->data)
        return cli_usage("train", "--data FOLDER is missing");
    if (!wanted->dir)
        return cli_usage("train", "--dir DIR is missing");
    if (wanted->start && wanted->hid > 0)
        return cli_usage("train", "--hid is what the hypernetwork of --start has");
    if (raw->own_images && raw->shared_images)
        return cli_usage("train", "--own-images and --shared-images exclude each other");
    if (raw->precision && !ghn_precision_parse(raw->precision, &recipe->precision))
        return cli_usage("train", "--precision %s; expected auto, f32 or bf16", raw->precision);
    if (raw->optimizer && !ghn_meta_optimizer_parse(raw->optimizer, &recipe->optimizer))
        return cli_usage("train", "--optimizer %s; expected adam, adamw or muon", raw->optimizer);
    return CLI_OK;
}

static void narrow(const struct raw *raw, struct ghn_meta_recipe *r) {
    r->meta_batch = (int)raw->meta_batch;
    r->batch_size = (int)raw->batch;
    r->max_nodes = (int)raw->nodes;
    r->max_flops = 1000000 * raw->max_flops;
    r->side = (int)raw->side;
    r->seed = (uint64_t)raw->seed;
    r->own_images = (r->own_images || raw->own_images) && !raw->shared_images;
    r->widths = r->widths && !raw->no_widths;
    r->augment = r->augment && !raw->no_augment;
}

/* Reads all options over what w->recipe has. */
static bool read_options(int argc, char **argv, struct wanted *w, int *ret_exit) {
    struct ghn_meta_recipe *r = &w->recipe;
    struct raw raw = {.meta_batch = r->meta_batch,
                      .batch = r->batch_size,
                      .nodes = r->max_nodes,
                      .max_flops = r->max_flops / 1000000,
                      .side = r->side,
                      .seed = (int64_t)r->seed};
    const int64_t most = 1000000000;
    const struct cli_option plain[] = {
        {.name = "data", .text = &w->data},
        {.name = "dir", .text = &w->dir},
        {.name = "output", .letter = 'o', .text = &w->output},
        {.name = "start", .text = &w->start},
        {.name = "steps", .number = &r->steps, .min = 1, .max = most},
        {.name = "threads", .number = &w->threads, .min = 0, .max = 1024},
        {.name = "save-minutes", .number = &w->save_minutes, .min = 1, .max = 1440},
        {.name = "stop-minutes", .number = &w->stop_minutes, .min = 1, .max = 1000000},
        {.name = "validate", .number = &w->validate, .min = 0, .max = 500},
        {.name = "json", .flag = &w->json},
        {.name = "recipe", .text = &w->recipe_name},
        {.name = "meta-batch", .number = &raw.meta_batch, .min = 1, .max = 64},
        {.name = "batch-size", .number = &raw.batch, .min = 1, .max = 4096},
        {.name = "own-images", .flag = &raw.own_images},
        {.name = "shared-images", .flag = &raw.shared_images},
        {.name = "optimizer", .text = &raw.optimizer},
        {.name = "warmup-steps", .number = &r->warmup_steps, .min = 0, .max = most},
        {.name = "decay-steps", .number = &r->decay_steps, .min = 0, .max = most},
        {.name = "pool", .number = &r->pool, .min = 0, .max = most},
        {.name = "max-flops", .number = &raw.max_flops, .min = 0, .max = most},
        {.name = "side", .number = &raw.side, .min = 8, .max = 224},
        {.name = "no-widths", .flag = &raw.no_widths},
        {.name = "max-nodes", .number = &raw.nodes, .min = 0, .max = 1000000},
        {.name = "images", .number = &r->images, .min = 0, .max = most},
        {.name = "no-augment", .flag = &raw.no_augment},
        {.name = "precision", .text = &raw.precision},
        {.name = "seed", .number = &raw.seed, .min = 0, .max = INT64_MAX},
        {.name = "hid", .number = &w->hid, .min = 4, .max = 1024},
    };
    struct real reals[] = {{"lr", NULL, &r->lr},
                           {"weight-decay", NULL, &r->weight_decay},
                           {"beta1", NULL, &r->beta1},
                           {"beta2", NULL, &r->beta2},
                           {"ema-decay", NULL, &r->ema_decay},
                           {"wide", NULL, &r->wide},
                           {"clip-norm", NULL, &r->clip_norm},
                           {"clip-network", NULL, &r->clip_network},
                           {"label-smoothing", NULL, &r->label_smoothing}};
    enum { PLAIN = sizeof plain / sizeof *plain, REALS = sizeof reals / sizeof *reals };
    struct cli_option options[PLAIN + REALS];
    int first;
    memcpy(options, plain, sizeof plain);
    for (int i = 0; i < REALS; i++)
        options[PLAIN + i] = (struct cli_option){.name = reals[i].name, .text = &reals[i].text};
    if (!cli_options(argc, argv, options, PLAIN + REALS, cli_train_help, 0, 0, &first, ret_exit))
        return false;
    narrow(&raw, r);
    *ret_exit = check(w, &raw, r);
    if (*ret_exit == CLI_OK)
        *ret_exit = read_reals(reals, REALS);
    return *ret_exit == CLI_OK;
}

/* Which recipe it is changes what the other options change, wherever it stands: they are read once
 * more then. */
static bool parse(int argc, char **argv, struct wanted *w, int *ret_exit) {
    if (!read_options(argc, argv, w, ret_exit))
        return false;
    if (!w->recipe_name || strcmp(w->recipe_name, "frugal") == 0)
        return true;
    if (strcmp(w->recipe_name, "paper") != 0) {
        *ret_exit = cli_usage("train", "--recipe %s; expected frugal or paper", w->recipe_name);
        return false;
    }
    w->recipe = ghn_meta_recipe_paper;
    return read_options(argc, argv, w, ret_exit);
}

/* --- Training --- */

/* The machine and the program, for the checkpoint. */
static json_t *provenance(void) {
    struct utsname system = {0};
    char machine[256];
    (void)uname(&system);
    (void)snprintf(machine, sizeof machine, "%s, %ld processors", system.machine,
                   sysconf(_SC_NPROCESSORS_ONLN));
    return json_pack("{s:s, s:s}", "training_machine", machine, "program", "ghn " GHN_VERSION);
}

static int print_summary(const struct wanted *wanted, const struct ghn_meta_progress *last) {
    char time[CLI_DURATION];
    json_t *history = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (!wanted->json) {
        printf("%s: a hypernetwork of %lld steps, %s of training\n",
               wanted->output ? wanted->output : wanted->dir, (long long)last->step,
               cli_duration(last->seconds, time));
        return CLI_OK;
    }
    if (ghn_meta_history(wanted->dir, &history, &err) != GHN_OK)
        return cli_fail(&err, NULL);
    return cli_print_json(json_pack("{s:o*, s:o, s:o, s:o}", "output",
                                    cli_text_json(wanted->output), "dir",
                                    cli_text_json(wanted->dir), "last",
                                    ghn_meta_progress_to_json(last), "history", history),
                          JSON_INDENT(2));
}

static int finish(const struct wanted *wanted, const struct ghn_meta_progress *last) {
    struct ghn_arena arena = GHN_ARENA_INIT;
    struct ghn_err err = GHN_ERR_INIT;
    const char *path = ghn_arena_printf(&arena, "%s/%s", wanted->dir, GHN_META_CHECKPOINT_FILE);
    enum ghn_status status = path ? GHN_OK : ghn_fail_memory(&err);
    if (status == GHN_OK && wanted->output)
        status = cli_copy_file(path, wanted->output, &err);
    ghn_arena_done(&arena);
    return status == GHN_OK ? print_summary(wanted, last) : cli_fail(&err, NULL);
}

static int fail(const struct wanted *wanted, enum ghn_status status, const struct ghn_err *err) {
    char next[GHN_ERR_MESSAGE] = "";
    if (status == GHN_STOPPED)
        (void)snprintf(next, sizeof next, "the same command goes on from there (%.300s)",
                       wanted->dir);
    else if (strstr(err->where, GHN_META_STATE_FILE))
        (void)snprintf(next, sizeof next,
                       "the same options, --recipe among them, go on there; another --dir starts "
                       "afresh");
    else if (status == GHN_INVALID_FILE || status == GHN_UNSUPPORTED_FILE)
        (void)snprintf(next, sizeof next,
                       "ghn dataset %.200s --check names all pictures that cannot be read; put "
                       "others in their places and the same command goes on",
                       wanted->data);
    return cli_fail(err, *next ? next : NULL);
}

/* What the callbacks of a training work with. */
struct view {
    struct cli_train_progress progress;
    struct cli_train_validation validation;
};

static void report(void *context, const struct ghn_meta_progress *news, bool point) {
    struct view *view = context;
    cli_train_progress_show(&view->progress, news, point);
}

static double validate(void *context, const struct ghn_model *model) {
    const struct view *view = context;
    return cli_train_validate(&view->validation, model);
}

static int train(const struct wanted *wanted, const struct ghn_dataset *dataset,
                 const struct ghn_model *start) {
    struct ghn_err err = GHN_ERR_INIT;
    struct view view = {.validation = {.dataset = dataset,
                                       .recipe = &wanted->recipe,
                                       .networks = wanted->validate,
                                       .threads = (int)wanted->threads}};
    struct ghn_model *model = NULL;
    struct ghn_config config = ghn_config_default; /* that of `start` takes its place */
    int lock = -1;
    enum ghn_status status = cli_folder_take(wanted->dir, &lock, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    if (wanted->hid > 0)
        config.hid = (int)wanted->hid;
    config.num_classes = dataset->n_classes;
    json_t *origin = provenance();
    cli_train_progress_init(&view.progress);
    cli_stop_catch();
    cli_stop_on(SIGALRM);
    if (wanted->stop_minutes > 0)
        (void)alarm((unsigned)wanted->stop_minutes * 60);
    const struct ghn_meta_options options = {.dir = wanted->dir,
                                             .provenance = origin,
                                             .save_seconds = 60.0 * (double)wanted->save_minutes,
                                             .threads = (int)wanted->threads,
                                             .stop = &cli_stop,
                                             .report = report,
                                             .validate = wanted->validate > 0 ? validate : NULL,
                                             .context = &view};
    status = ghn_meta_train(&config, start, dataset, &wanted->recipe, &options, &model, &err);
    cli_progress_end(&view.progress.bar);
    int code = status == GHN_OK ? finish(wanted, &view.progress.last) : fail(wanted, status, &err);
    ghn_model_unref(model);
    json_decref(origin);
    (void)close(lock);
    return code;
}

int cli_train(int argc, char **argv) {
    struct wanted wanted = {.save_minutes = 5, .validate = 16, .recipe = ghn_meta_recipe_frugal};
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_dataset *dataset = NULL;
    struct ghn_model *start = NULL;
    int code;
    if (!parse(argc, argv, &wanted, &code))
        return code;
    enum ghn_status status = ghn_dataset_open(wanted.data, &dataset, &err);
    if (status == GHN_OK && wanted.start)
        status = ghn_model_load(wanted.start, &start, &err);
    code = status == GHN_OK ? train(&wanted, dataset, start) : cli_fail(&err, NULL);
    ghn_model_unref(start);
    ghn_dataset_free(dataset);
    return code;
}
