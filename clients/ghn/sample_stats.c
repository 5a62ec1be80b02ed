#include "sample_stats.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli.h"

enum ghn_status cli_sample_stats_init(struct cli_sample_stats *stats, int64_t n,
                                      struct ghn_err *err) {
    *stats = (struct cli_sample_stats){.capacity = n};
    stats->params = ghn_calloc((size_t)n, sizeof(*stats->params));
    stats->C = ghn_calloc((size_t)n, sizeof(*stats->C));
    if (stats->params && stats->C)
        return GHN_OK;
    cli_sample_stats_done(stats);
    return ghn_fail_memory(err);
}

void cli_sample_stats_done(struct cli_sample_stats *stats) {
    ghn_free(stats->params);
    ghn_free(stats->C);
    *stats = (struct cli_sample_stats){0};
}

/* Counts the operations of a cell; true if an msa is one of them. */
static bool count_ops(const struct ghn_cell *cell, int64_t counts[GHN_N_CELL_OPS]) {
    bool msa = false;
    for (int i = 0; i < 2 * cell->n_steps; i++) {
        counts[cell->op[i]]++;
        msa = msa || cell->op[i] == GHN_CELL_MSA;
    }
    return msa;
}

void cli_sample_stats_add(struct cli_sample_stats *stats, const struct ghn_net *net) {
    if (stats->n == stats->capacity)
        return;
    bool normal_msa = count_ops(&net->normal, stats->normal),
         reduce_msa = count_ops(&net->reduce, stats->reduce);
    stats->steps[net->normal.n_steps]++;
    stats->cells += net->n_cells;
    stats->vit += normal_msa || reduce_msa;
    stats->no_norm += net->norm == GHN_NORM_NONE;
    stats->flat += !net->glob_avg;
    stats->no_preproc += !net->preproc;
    stats->stem1 += net->stem_type == 1;
    stats->stem_pool += net->stem_pool;
    stats->C_mult2 += net->C_mult == 2;
    stats->fc_layers2 += net->fc_layers == 2;
    stats->params[stats->n] = ghn_net_n_params(net);
    stats->C[stats->n++] = net->C;
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, int64_t *values, int64_t n) {
    char text[CLI_NUMBER];
    qsort(values, (size_t)n, sizeof(*values), compare);
    printf("%-14s", name);
    for (int percent = 0; percent <= 100; percent += 25)
        printf(" %14s", cli_count(values[(n - 1) * percent / 100], text));
    putchar('\n');
}

static void print_share(const char *name, int64_t count, int64_t n) {
    printf("%-20s %6.1f %%\n", name, 100 * (double)count / (double)n);
}

static void print_ops(const struct cli_sample_stats *stats) {
    int64_t branches = 0;
    for (int op = 0; op < GHN_N_CELL_OPS; op++)
        branches += stats->normal[op];
    printf("\n%s%-20s %8s %8s%s\n", cli_bold(stdout), "operation", "normal", "reduce",
           cli_plain(stdout));
    for (int op = 0; op < GHN_N_CELL_OPS; op++)
        printf("%-20s %6.1f %% %6.1f %%\n", ghn_cell_op_name((enum ghn_cell_op)op),
               100 * (double)stats->normal[op] / (double)branches,
               100 * (double)stats->reduce[op] / (double)branches);
}

void cli_sample_stats_print(struct cli_sample_stats *stats) {
    char count[CLI_NUMBER], name[CLI_NUMBER];
    printf("%s%s networks%s, of %.1f cells on average\n\n", cli_bold(stdout),
           cli_count(stats->n, count), cli_plain(stdout), (double)stats->cells / (double)stats->n);
    printf("%-14s %14s %14s %14s %14s %14s\n", "", "least", "25 %", "median", "75 %", "most");
    print_quantiles("parameters", stats->params, stats->n);
    print_quantiles("C", stats->C, stats->n);
    putchar('\n');
    for (int steps = 1; steps <= GHN_MAX_STEPS; steps++)
        if (stats->steps[steps] > 0) {
            (void)snprintf(name, sizeof(name), "%d step%s a cell", steps, steps == 1 ? "" : "s");
            print_share(name, stats->steps[steps], stats->n);
        }
    print_share("with msa (ViT)", stats->vit, stats->n);
    print_share("no norm", stats->no_norm, stats->n);
    print_share("no glob_avg", stats->flat, stats->n);
    print_share("no preproc", stats->no_preproc, stats->n);
    print_share("stem_type 1", stats->stem1, stats->n);
    print_share("stem_pool", stats->stem_pool, stats->n);
    print_share("C_mult 2", stats->C_mult2, stats->n);
    print_share("fc_layers 2", stats->fc_layers2, stats->n);
    print_ops(stats);
}
