/* What an architecture computes, whatever way it is written down: its hash, and whether its output
 * is available. */
#include "deepnets/layers.h"
#include "deepnets/rules.h"

/* --- Availability (A6, forward semantics) --- */

/* Whether a cell's output is available, given whether its inputs are. */
static bool cell_available(const struct ghn_cell *cell, bool input0, bool input1) {
    bool available[GHN_MAX_STEPS + 2] = {input0, input1};
    for (int i = 0; i < 2 * cell->n_steps; i++)
        if (cell->op[i] != GHN_CELL_NONE && available[cell->pred[i]])
            available[i / 2 + 2] = true;
    for (int i = 0; i < cell->n_concat; i++)
        if (available[cell->concat[i]])
            return true;
    return false;
}

bool ghn__net_has_output(const struct ghn_net *net) {
    bool in[2] = {true, true};
    for (int i = 0; i < net->n_cells; i++) {
        bool reduction = ghn__is_reduction(i, net->n_cells);
        bool out = cell_available(reduction ? &net->reduce : &net->normal, in[0], in[1]);
        in[0] = in[1];
        in[1] = out;
    }
    return in[1];
}

/* --- The hash --- */

/* A number that two unlike pairs will hardly share. */
static uint64_t mix(uint64_t a, uint64_t b) {
    return ghn_rng_bits(a, 0, b);
}

/* A cell as the expression it computes. A state is the sum of its branches and the output the set
 * of its states: addition of hashes does not see the order. Branches that lead nowhere never enter,
 * and a state without a branch is 0. */
static uint64_t hash_cell(const struct ghn_cell *cell) {
    uint64_t state[GHN_MAX_STEPS + 2] = {1, 2}, output = 0;
    for (int i = 0; i < 2 * cell->n_steps; i++)
        if (cell->op[i] != GHN_CELL_NONE && state[cell->pred[i]] != 0)
            state[i / 2 + 2] += mix(state[cell->pred[i]], (uint64_t)cell->op[i]);
    for (int i = 0; i < cell->n_concat; i++)
        output += mix(state[cell->concat[i]], GHN_N_CELL_OPS);
    return output;
}

uint64_t ghn_net_structure(const struct ghn_net *net) {
    bool vit = ghn__net_has_op(net, GHN_CELL_MSA);
    /* The ViT stem has no use for the fields of the others, nor that of type 1 for the pool. */
    bool pool = !vit && net->stem_type == 0 && net->stem_pool;
    /* Each but the first below 16. */
    const int fields[] = {
        net->n_cells,   vit,          vit ? 0 : net->ks, vit ? 0 : net->stem_type,
        pool,           net->C_mult,  net->preproc,      net->norm != GHN_NORM_NONE,
        net->fc_layers, net->glob_avg};
    uint64_t hash = mix(hash_cell(&net->normal), hash_cell(&net->reduce));
    uint64_t packed = 0;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        packed = packed * 16 + (uint64_t)fields[i];
    return mix(hash, packed);
}

/* --- The division of the space --- */

enum ghn__side ghn__side_of(uint64_t structure) {
    switch (structure % GHN__PARTS) {
    case 0:
        return GHN__SIDE_VAL;
    case 1:
        return GHN__SIDE_TEST;
    default:
        return GHN__SIDE_TRAIN;
    }
}
