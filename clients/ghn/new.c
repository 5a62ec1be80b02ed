/* ghn new: a hypernetwork with PyTorch's initial values. */
#include <string.h>

#include "base/mem.h"
#include "cli.h"
#include "ghn/model.h"

const char cli_new_help[] =
    "usage: ghn new -o FILE [--kind ghn1|ghn2|mlp] [--classes K] [--max-shape O,I,S,S] [--hid N]\n"
    "               [--hypernet gatedgnn|mlp] [--decoder conv|mlp] [--seed N]\n"
    "\n"
    "Writes a freshly initialised hypernetwork, as a safetensors file. It is untrained: what it\n"
    "predicts is no better than random parameters. It serves to try the service out, and as the\n"
    "start of training. The same options and seed give the same file.\n"
    "\n"
    "  -o, --output FILE     where to\n"
    "  --kind KIND           ghn2 (the default), ghn1 (no virtual edges, normalisation of\n"
    "                        parameters or layer norm) or mlp (sees nodes, but no edges)\n"
    "  --classes K           classes of the networks to predict for; 10\n"
    "  --max-shape O,I,S,S   the block that is decoded; 64,64,11,11 (ImageNet: 64,64,16,16)\n"
    "  --hid N               width of a node embedding, a multiple of 4; 32\n"
    "  --hypernet, --decoder override what the kind says\n"
    "  --seed N              of the random numbers; 0\n";

struct choice {
    const char *name;
    int value;
};

enum { GHN1, GHN2, MLP };

static const struct choice kinds[] = {{"ghn1", GHN1}, {"ghn2", GHN2}, {"mlp", MLP}, {NULL, 0}};
static const struct choice hypernets[] = {{"gatedgnn", GHN_GATED_GNN}, {"mlp", GHN_MLP}, {NULL, 0}};
static const struct choice decoders[] = {
    {"conv", GHN_DECODER_CONV}, {"mlp", GHN_DECODER_MLP}, {NULL, 0}};

/* Looks name up (NULL: keeps *value); false if it is unknown. */
static bool choose(const struct choice *choices, const char *name, int *value) {
    for (; name && choices->name; choices++)
        if (strcmp(name, choices->name) == 0) {
            *value = choices->value;
            return true;
        }
    return !name;
}

struct texts {
    const char *output, *kind, *hypernet, *decoder, *max_shape;
};

/* Fills config as the options ask; CLI_OK, or a complaint's exit code. */
static int configure(const struct texts *texts, struct ghn_config *config) {
    int kind = GHN2, hypernet, decoder = (int)config->decoder;
    if (!choose(kinds, texts->kind, &kind))
        return cli_usage("new", "--kind: '%s' is none of ghn1, ghn2, mlp", texts->kind);
    config->weight_norm = config->ve = config->layernorm = kind != GHN1;
    hypernet = kind == MLP ? GHN_MLP : GHN_GATED_GNN;
    if (!choose(hypernets, texts->hypernet, &hypernet))
        return cli_usage("new", "--hypernet: '%s' is none of gatedgnn, mlp", texts->hypernet);
    if (!choose(decoders, texts->decoder, &decoder))
        return cli_usage("new", "--decoder: '%s' is none of conv, mlp", texts->decoder);
    config->hypernet = (enum ghn_hypernet_kind)hypernet;
    config->decoder = (enum ghn_decoder)decoder;
    int *shape = config->max_shape;
    char rest;
    if (texts->max_shape && sscanf(texts->max_shape, "%5d,%5d,%5d,%5d%c", &shape[0], &shape[1],
                                   &shape[2], &shape[3], &rest) != 4)
        return cli_usage("new", "--max-shape: '%s' is not of the form O,I,S,S", texts->max_shape);
    return CLI_OK;
}

static int make(const struct ghn_config *config, int64_t seed, const char *path) {
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    char seed_text[CLI_NUMBER], count[CLI_NUMBER];
    (void)snprintf(seed_text, sizeof(seed_text), "%lld", (long long)seed);
    json_t *metadata = json_pack("{s:s, s:s, s:s}", "trained", "false", "created_by",
                                 "ghn new " GHN_VERSION, "seed", seed_text);
    enum ghn_status status =
        metadata ? ghn_model_new(config, (uint64_t)seed, &model, &err) : ghn_fail_memory(&err);
    if (status == GHN_OK)
        status = ghn_model_save(model, path, metadata, &err);
    if (status == GHN_OK)
        printf("%s: %s with %s parameters, freshly initialised from seed %s\n"
               "It is untrained: what it predicts is no better than random parameters.\n",
               path, ghn_config_kind(config), cli_count(ghn_model_n_parameters(model), count),
               seed_text);
    ghn_model_unref(model);
    json_decref(metadata);
    return status == GHN_OK ? CLI_OK : cli_fail(&err, NULL);
}

int cli_new(int argc, char **argv) {
    struct texts texts = {0};
    struct ghn_config config = ghn_config_default;
    int64_t seed = 0, hid = config.hid, classes = config.num_classes;
    const struct cli_option options[] = {
        {.name = "output", .letter = 'o', .text = &texts.output},
        {.name = "kind", .text = &texts.kind},
        {.name = "classes", .number = &classes, .min = 1, .max = 65536},
        {.name = "max-shape", .text = &texts.max_shape},
        {.name = "hid", .number = &hid, .min = 4, .max = 1024},
        {.name = "hypernet", .text = &texts.hypernet},
        {.name = "decoder", .text = &texts.decoder},
        {.name = "seed", .number = &seed, .min = 0, .max = INT64_MAX},
    };
    int first, code;
    if (!cli_options(argc, argv, options, sizeof(options) / sizeof(options[0]), cli_new_help, 0, 0,
                     &first, &code))
        return code;
    if (!texts.output)
        return cli_usage("new", "-o FILE is missing");
    code = configure(&texts, &config);
    if (code != CLI_OK)
        return code;
    config.hid = (int)hid;
    config.num_classes = (int)classes;
    return make(&config, seed, texts.output);
}
