/* ghn convert: other files as full safetensors files. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "ghn/blocks.h"
#include "ghn/model.h"
#include "tensor/tensors.h"

const char cli_convert_help[] =
    "usage: ghn convert IN OUT.safetensors\n"
    "\n"
    "Writes IN as a safetensors file:\n"
    "  a hypernetwork (PyTorch or safetensors)   with its configuration, ready for ghnd\n"
    "  a PyTorch file of parameters              tensors of the state_dict, under their names\n"
    "  a blocks answer                           every tensor in full; what results is the same\n"
    "                                            file as the full answer, to the byte\n"
    "Nothing in IN is executed.\n";

/* The metadata as the strings that a safetensors file can hold, and where the file came from. */
static json_t *string_metadata(const struct ghn_tensors *tensors, const char *in) {
    json_t *strings = json_object(), *value;
    const char *key, *slash = strrchr(in, '/');
    json_object_foreach(tensors->metadata, key, value) {
        char *text =
            json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        (void)json_object_set_new(strings, key,
                                  json_string(text ? text : json_string_value(value)));
        free(text);
    }
    (void)json_object_set_new(strings, "converted_from", cli_text_json(slash ? slash + 1 : in));
    (void)json_object_set_new(strings, "converted_from_sha256", json_string(tensors->sha256));
    return strings;
}

/* Writes what was read as what it is; *ret_kind says what that was. */
static enum ghn_status convert(const struct ghn_tensors *tensors, const char *in, const char *out,
                               const char **ret_kind, struct ghn_err *err) {
    struct ghn_model *model = NULL;
    enum ghn_status status;
    if (ghn_blocks_is(tensors)) {
        *ret_kind = "blocks in full";
        return ghn_blocks_write_full(tensors, out, err);
    }
    json_t *metadata = string_metadata(tensors, in);
    if (!metadata)
        return ghn_fail_memory(err);
    status = cli_model_of(in, &model, err);
    *ret_kind = model ? "hypernetwork" : "parameters";
    if (status == GHN_OK)
        status = model ? ghn_model_save(model, out, metadata, err)
                       : ghn_safetensors_write(out, tensors->items, tensors->n, metadata, err);
    ghn_model_unref(model);
    json_decref(metadata);
    return status;
}

int cli_convert(int argc, char **argv) {
    int first, code;
    if (!cli_options(argc, argv, NULL, 0, cli_convert_help, 2, 2, &first, &code))
        return code;
    const char *in = argv[first], *out = argv[first + 1], *kind = "";
    struct ghn_tensors *tensors = NULL;
    struct cli_header header = {0};
    struct ghn_err err = GHN_ERR_INIT;
    if (cli_same_file(in, out))
        return cli_usage("convert", "%s is what is read; the result needs a file of its own", in);
    enum ghn_status status = ghn_tensors_read(in, &tensors, &err);
    if (status == GHN_OK)
        status = convert(tensors, in, out, &kind, &err);
    ghn_tensors_free(tensors);
    if (status == GHN_OK)
        status = cli_header_read(out, &header, &err);
    if (status != GHN_OK)
        return cli_fail(&err, NULL);
    char count[CLI_NUMBER], bytes[CLI_NUMBER];
    printf("%s: %s, %d tensors, %s values, %s\n", out, kind, header.tensors,
           cli_count(header.elements, count), cli_bytes(header.bytes, bytes));
    cli_header_done(&header);
    return CLI_OK;
}
