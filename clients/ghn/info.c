/* ghn info: what is in a hypernetwork or parameter file. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli.h"
#include "ghn/blocks.h"
#include "ghn/model.h"
#include "tensor/stats.h"
#include "tensor/tensors.h"

const char cli_info_help[] =
    "usage: ghn info FILE [--json] [--no-tensors]\n"
    "\n"
    "Describes a file: a hypernetwork (safetensors or PyTorch), a network's parameters, or a\n"
    "blocks answer. Says what it is and where it comes from, and lists its tensors with the\n"
    "mean, standard deviation, minimum and maximum of their values.\n"
    "\n"
    "  --json         as a JSON object\n"
    "  --no-tensors   without the list\n";

/* Values converted at a time. */
enum { CHUNK = 65536 };

static void gather(const struct ghn_tensor *tensor, float *chunk, struct ghn_stats *stats) {
    size_t size = ghn_dtype_size(tensor->dtype), n = tensor->n_bytes / size;
    const unsigned char *bytes = tensor->data;
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t count = n - first < CHUNK ? n - first : CHUNK;
        if (tensor->dtype == GHN_F32) {
            ghn_stats_add(stats, (const float *)tensor->data + first, count);
        } else {
            ghn_dtype_to_f32(tensor->dtype, chunk, bytes + first * size, count);
            ghn_stats_add(stats, chunk, count);
        }
    }
}

/* What kind of file it is, in words. */
static const char *kind_of(const struct ghn_tensors *tensors, const struct ghn_model *model) {
    if (model)
        return ghn_config_kind(ghn_model_config(model));
    return ghn_blocks_is(tensors) ? "blocks" : "parameters";
}

static json_t *config_json(const struct ghn_config *config) {
    return json_pack("{s:i, s:[i,i,i,i], s:i, s:s, s:s, s:b, s:b, s:b}", "hid", config->hid,
                     "max_shape", config->max_shape[0], config->max_shape[1], config->max_shape[2],
                     config->max_shape[3], "num_classes", config->num_classes, "hypernet",
                     config->hypernet == GHN_MLP ? "mlp" : "gatedgnn", "decoder",
                     config->decoder == GHN_DECODER_MLP ? "mlp" : "conv", "weight_norm",
                     config->weight_norm, "ve", config->ve, "layernorm", config->layernorm);
}

static json_t *tensor_json(const struct ghn_tensor *tensor, const struct ghn_stats *stats) {
    json_t *entry =
        json_pack("{s:o, s:s, s:o, s:f, s:f, s:f, s:f}", "name", cli_text_json(tensor->name),
                  "dtype", ghn_dtype_name(tensor->dtype), "shape",
                  ghn_shape_to_json(&tensor->shape), "mean", stats->mean, "std",
                  ghn_stats_std(stats), "min", (double)stats->min, "max", (double)stats->max);
    if (entry && stats->n_not_finite > 0)
        (void)json_object_set_new(entry, "not_finite", json_integer(stats->n_not_finite));
    return entry;
}

static int64_t elements_of(const struct ghn_tensors *tensors) {
    int64_t sum = 0;
    for (int i = 0; i < tensors->n; i++)
        sum += (int64_t)(tensors->items[i].n_bytes / ghn_dtype_size(tensors->items[i].dtype));
    return sum;
}

static uint64_t bytes_of(const struct ghn_tensors *tensors) {
    uint64_t sum = 0;
    for (int i = 0; i < tensors->n; i++)
        sum += tensors->items[i].n_bytes;
    return sum;
}

static int print_json(const struct ghn_tensors *tensors, const struct ghn_model *model,
                      const char *path, bool with_tensors, float *chunk) {
    json_t *root =
        json_pack("{s:o, s:s, s:s, s:s, s:o*, s:O, s:i, s:I, s:I}", "file", cli_text_json(path),
                  "kind", kind_of(tensors, model), "format",
                  tensors->format == GHN_TORCH_ZIP ? "torch" : "safetensors", "sha256",
                  tensors->sha256, "config", model ? config_json(ghn_model_config(model)) : NULL,
                  "metadata", tensors->metadata, "n_tensors", tensors->n, "elements",
                  (json_int_t)elements_of(tensors), "tensor_bytes", (json_int_t)bytes_of(tensors));
    json_t *list = with_tensors ? json_array() : NULL;
    int failed = !root;
    for (int i = 0; i < tensors->n && list; i++) {
        struct ghn_stats stats = {0};
        gather(&tensors->items[i], chunk, &stats);
        failed |= json_array_append_new(list, tensor_json(&tensors->items[i], &stats));
    }
    if (list && root)
        failed |= json_object_set_new(root, "tensors", list);
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return cli_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
}

static void print_config(const struct ghn_config *config) {
    const int *shape = config->max_shape;
    printf("configuration  width %d, blocks of %d x %d x %d x %d, %d classes\n"
           "               %s, %s decoder; weight norm %s, virtual edges %s, layer norm %s\n",
           config->hid, shape[0], shape[1], shape[2], shape[3], config->num_classes,
           config->hypernet == GHN_MLP ? "per-node MLP" : "gated GNN",
           config->decoder == GHN_DECODER_MLP ? "MLP" : "convolutional",
           config->weight_norm ? "on" : "off", config->ve ? "on" : "off",
           config->layernorm ? "on" : "off");
}

/* Plain values of the metadata, one a line; long ones are cut. */
static void print_metadata(const json_t *metadata) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value) {
        char *text = json_is_string(value) ? strdup(json_string_value(value))
                                           : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        size_t length = text ? strlen(text) : 0;
        if (length > 100)
            text[100] = '\0';
        char *name = cli_clean(key), *shown = text ? cli_clean(text) : NULL;
        if (name && shown && length > 100)
            printf("metadata       %s: %s ... (%zu bytes)\n", name, shown, length);
        else if (name && shown)
            printf("metadata       %s: %s\n", name, shown);
        free(name);
        free(shown);
        free(text);
    }
}

static void print_tensors(const struct ghn_tensors *tensors, float *chunk) {
    char shape[GHN_SHAPE_TEXT];
    int width = 4;
    for (int i = 0; i < tensors->n; i++) {
        int length = (int)strlen(tensors->items[i].name);
        width = length > width && length <= 60 ? length : width;
    }
    printf("\n%s%-*s  %-5s  %-20s %10s %10s %10s %10s%s\n", cli_bold(stdout), width, "tensor",
           "type", "shape", "mean", "std", "min", "max", cli_plain(stdout));
    for (int i = 0; i < tensors->n; i++) {
        const struct ghn_tensor *tensor = &tensors->items[i];
        struct ghn_stats stats = {0};
        gather(tensor, chunk, &stats);
        char *name = cli_clean(tensor->name);
        printf("%-*s  %-5s  %-20s %10.4g %10.4g %10.4g %10.4g", width, name ? name : "?",
               ghn_dtype_name(tensor->dtype), ghn_shape_text(&tensor->shape, shape, sizeof(shape)),
               stats.mean, ghn_stats_std(&stats), (double)stats.min, (double)stats.max);
        free(name);
        if (stats.n_not_finite > 0)
            printf("  %lld not finite", (long long)stats.n_not_finite);
        putchar('\n');
    }
}

static void print_text(const struct ghn_tensors *tensors, const struct ghn_model *model,
                       const char *path, bool with_tensors, float *chunk) {
    char count[CLI_NUMBER], bytes[CLI_NUMBER], *shown = cli_clean(path);
    printf("%sfile%s           %s\n"
           "kind           %s%s, as a %s file\n"
           "sha256         %s\n",
           cli_bold(stdout), cli_plain(stdout), shown ? shown : "?", model ? "hypernetwork " : "",
           kind_of(tensors, model), tensors->format == GHN_TORCH_ZIP ? "PyTorch" : "safetensors",
           tensors->sha256);
    free(shown);
    if (model)
        print_config(ghn_model_config(model));
    print_metadata(tensors->metadata);
    printf("total          %d tensors, %s values, %s\n", tensors->n,
           cli_count(elements_of(tensors), count), cli_bytes(bytes_of(tensors), bytes));
    if (with_tensors)
        print_tensors(tensors, chunk);
}

int cli_info(int argc, char **argv) {
    bool as_json = false, no_tensors = false;
    const struct cli_option options[] = {{.name = "json", .flag = &as_json},
                                         {.name = "no-tensors", .flag = &no_tensors}};
    int first, code;
    if (!cli_options(argc, argv, options, 2, cli_info_help, 1, 1, &first, &code))
        return code;
    const char *path = argv[first];
    struct ghn_tensors *tensors = NULL;
    struct ghn_model *model = NULL;
    struct ghn_err err = GHN_ERR_INIT;
    if (ghn_tensors_read(path, &tensors, &err) != GHN_OK)
        return cli_fail(&err, NULL);
    if (cli_model_of(path, &model, &err) != GHN_OK) {
        ghn_tensors_free(tensors);
        return cli_fail(&err, NULL);
    }
    float *chunk = ghn_malloc(CHUNK * sizeof(*chunk));
    if (!chunk)
        code = cli_failf(path, NULL, "not enough memory");
    else if (as_json)
        code = print_json(tensors, model, path, !no_tensors, chunk);
    else
        print_text(tensors, model, path, !no_tensors, chunk);
    ghn_free(chunk);
    ghn_model_unref(model);
    ghn_tensors_free(tensors);
    return chunk && !as_json ? CLI_OK : code;
}
