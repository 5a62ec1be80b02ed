/* Writing the genotype form. */
#include "deepnets/deepnets.h"

/* [["conv_3x3", 0], ...], or NULL. */
static json_t *branches_json(const struct ghn_cell *cell) {
    json_t *list = json_array();
    for (int i = 0; list && i < 2 * cell->n_steps; i++)
        if (json_array_append_new(
                list, json_pack("[s, i]", ghn_cell_op_name(cell->op[i]), cell->pred[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *concat_json(const struct ghn_cell *cell) {
    json_t *list = json_array();
    for (int i = 0; list && i < cell->n_concat; i++)
        if (json_array_append_new(list, json_integer(cell->concat[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *norm_json(enum ghn_net_norm norm) {
    if (norm == GHN_NORM_NONE)
        return json_null();
    return json_string(norm == GHN_NORM_BATCH ? "bnorm" : "bn-track");
}

/* json_pack fails, and gives back what it was given, where one of its values is NULL. */
json_t *ghn_net_to_json(const struct ghn_net *net) {
    json_t *genotype =
        json_pack("{s:o, s:o, s:o, s:o}", "normal", branches_json(&net->normal), "normal_concat",
                  concat_json(&net->normal), "reduce", branches_json(&net->reduce), "reduce_concat",
                  concat_json(&net->reduce));
    json_t *fields = json_pack(
        "{s:i, s:i, s:i, s:o, s:b, s:b, s:b, s:i, s:i, s:i, s:i}", "C", net->C, "n_cells",
        net->n_cells, "ks", net->ks, "norm", norm_json(net->norm), "preproc", net->preproc,
        "glob_avg", net->glob_avg, "stem_pool", net->stem_pool, "stem_type", net->stem_type,
        "C_mult", net->C_mult, "fc_layers", net->fc_layers, "fc_dim", net->fc_dim);
    json_t *input = json_pack("[I, I, I]", (json_int_t)net->input[0], (json_int_t)net->input[1],
                              (json_int_t)net->input[2]);
    return json_pack("{s:o, s:o, s:o, s:i}", "genotype", genotype, "net", fields, "input", input,
                     "num_classes", net->num_classes);
}
