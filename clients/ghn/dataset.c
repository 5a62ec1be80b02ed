/* ghn dataset: what is in a data set. */
#include "data/dataset.h"

#include <stdlib.h>
#include <unistd.h>

#include "cli.h"
#include "data/loader.h"

const char cli_dataset_help[] =
    "usage: ghn dataset PATH [--json | --check]\n"
    "\n"
    "Describes a data set of images: its kind, its classes, the size of its images and how many\n"
    "there are to train and to test with. Pictures are only read with --check.\n"
    "\n"
    "PATH is a folder with one of\n"
    "  data_batch_1.bin ... data_batch_5.bin, test_batch.bin   CIFAR-10, binary version\n"
    "  train.bin, test.bin                                     CIFAR-100, binary version\n"
    "  train-images-idx3-ubyte ... t10k-labels-idx1-ubyte      MNIST and its like, or with .gz\n"
    "  train/CLASS/FILE, test/CLASS/FILE (or val/)             JPEG and PNG files; without test,\n"
    "                                                          one in ten of a class is held out\n"
    "  CLASS/FILE                                              the same\n"
    "or the word shapes, for pictures that are drawn when they are wanted.\n"
    "\n"
    "  --json   as a JSON object\n"
    "  --check  decode every picture and name those that training would fail at\n";

/* Names of classes that are listed as text. */
enum { LISTED = 10 };

static json_t *classes_json(const struct ghn_dataset *dataset) {
    json_t *list = json_array();
    for (int i = 0; list && i < dataset->n_classes; i++)
        if (json_array_append_new(list, cli_text_json(dataset->class_names[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* The size is null where images differ. */
static json_t *size_json(const struct ghn_dataset *dataset) {
    return dataset->height ? json_pack("[i, i]", dataset->height, dataset->width) : json_null();
}

static int print_json(const struct ghn_dataset *dataset, const char *path) {
    return cli_print_json(
        json_pack(
            "{s:o, s:s, s:I, s:I, s:i, s:o, s:i, s:o}", "path", cli_text_json(path), "kind",
            ghn_dataset_kind_name(dataset->kind), "train", (json_int_t)dataset->n[GHN_SPLIT_TRAIN],
            "test", (json_int_t)dataset->n[GHN_SPLIT_TEST], "channels", dataset->channels, "size",
            size_json(dataset), "n_classes", dataset->n_classes, "classes", classes_json(dataset)),
        JSON_INDENT(2));
}

static void print_classes(const struct ghn_dataset *dataset) {
    int listed = dataset->n_classes <= LISTED ? dataset->n_classes : LISTED - 1;
    char count[CLI_NUMBER];
    printf("classes   %s:", cli_count(dataset->n_classes, count));
    for (int i = 0; i < listed; i++) {
        char *name = cli_clean(dataset->class_names[i]);
        printf("%s %s", i ? "," : "", name ? name : "?");
        free(name);
    }
    puts(listed < dataset->n_classes ? ", ..." : "");
}

static void print_text(const struct ghn_dataset *dataset, const char *path) {
    char train[CLI_NUMBER], test[CLI_NUMBER], *name = cli_clean(path);
    printf("%sdata set%s  %s\n"
           "kind      %s\n"
           "images    %s to train with, %s to test with\n",
           cli_bold(stdout), cli_plain(stdout), name ? name : "?",
           ghn_dataset_kind_name(dataset->kind), cli_count(dataset->n[GHN_SPLIT_TRAIN], train),
           cli_count(dataset->n[GHN_SPLIT_TEST], test));
    if (dataset->height)
        printf("size      %d x %d, %s\n", dataset->height, dataset->width,
               dataset->channels == 1 ? "grey" : "RGB");
    else
        puts("size      of their own; resized to what a network takes, RGB");
    if (dataset->passed_over > 0)
        printf("beside    %s that are no .jpg, .jpeg or .png, or links, and are passed over\n",
               cli_count(dataset->passed_over, train));
    print_classes(dataset);
    free(name);
}

/* Reads every image of a split; names and counts those that cannot be. */
static enum ghn_status check_split(const struct ghn_dataset *dataset, enum ghn_split split,
                                   int64_t *bad, struct ghn_err *err) {
    int64_t side = dataset->height ? 0 : 8; /* pictures are decoded whole, whatever is wanted */
    const struct ghn_loader_options options = {
        .split = split,
        .batch = 1,
        .chw = {dataset->channels, dataset->height + side, dataset->width + side},
        .threads = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    struct ghn_loader *loader = NULL;
    enum ghn_status status = ghn_loader_new(dataset, &options, &loader, err);
    for (int64_t i = 0; status == GHN_OK && i < dataset->n[split]; i++) {
        const struct ghn_batch *batch;
        struct ghn_err found = GHN_ERR_INIT;
        if (ghn_loader_next(loader, &batch, &found) == GHN_OK)
            continue;
        char *where = cli_clean(found.where);
        printf("%s: %s\n", where ? where : "?", found.message);
        free(where);
        ++*bad;
    }
    ghn_loader_free(loader);
    return status;
}

static int check(const char *path) {
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    int64_t bad = 0;
    enum ghn_status status = ghn_dataset_open(path, &dataset, &err);
    for (int split = 0; status == GHN_OK && split < 2; split++)
        status = check_split(dataset, split, &bad, &err);
    if (status != GHN_OK) {
        ghn_dataset_free(dataset);
        return cli_fail(&err, NULL);
    }
    char all[CLI_NUMBER], some[CLI_NUMBER];
    (void)cli_count(dataset->n[GHN_SPLIT_TRAIN] + dataset->n[GHN_SPLIT_TEST], all);
    if (bad)
        printf("%s of %s images cannot be read\n", cli_count(bad, some), all);
    else
        printf("all %s images can be read\n", all);
    ghn_dataset_free(dataset);
    return bad ? CLI_FAILED : CLI_OK;
}

int cli_dataset(int argc, char **argv) {
    bool as_json = false, checked = false;
    const struct cli_option options[] = {{.name = "json", .flag = &as_json},
                                         {.name = "check", .flag = &checked}};
    int first, code = CLI_OK;
    if (!cli_options(argc, argv, options, 2, cli_dataset_help, 1, 1, &first, &code))
        return code;
    struct ghn_dataset *dataset = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (checked && as_json)
        return cli_usage("dataset", "--check prints lines; it does not go with --json");
    if (checked)
        return check(argv[first]);
    if (ghn_dataset_describe(argv[first], &dataset, &err) != GHN_OK)
        return cli_fail(&err, NULL);
    code = CLI_OK;
    if (as_json)
        code = print_json(dataset, argv[first]);
    else
        print_text(dataset, argv[first]);
    ghn_dataset_free(dataset);
    return code;
}
