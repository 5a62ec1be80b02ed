/* Evaluating a hypernetwork on networks of DeepNets-1M: what ghn eval does without a network. */
#ifndef GHN_CLIENT_EVAL_NETS_H
#define GHN_CLIENT_EVAL_NETS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"
#include "train/evaluate_nets.h"

/* The command line; 0 stands for a default throughout. */
struct cli_eval_nets {
    const char *checkpoint, *data;
    const char *results; /* NULL: results are not kept */
    struct cli_list splits;
    int64_t first, count, images, batch, size, sgd_steps, threads, seed, arch_seed;
    enum ghn_precision precision;
    bool json;
};

/* Checks what depends on more than one option, evaluates, and prints; returns an exit code. */
int cli_eval_nets(const struct cli_eval_nets *wanted);

/* The networks of one split, and how far they are. */
struct cli_eval_split {
    enum ghn_deepnets_split split;
    int64_t first, count;
    struct ghn_net_scores *scores; /* (count) */
};

/* What all splits have in common. */
struct cli_eval_run {
    const struct ghn_model *model;
    const struct ghn_dataset *dataset;
    int64_t images, batch, sgd_steps;
    json_t *options; /* all that the scores depend on but the network */
    double seconds;  /* that it took, without what was known before */
};

/* --- Results that are kept (eval_results.c) --- */

/* A file of lines, each a JSON object with the scores of a network and, under "run", the options of
 * their run. */
struct cli_results {
    const char *path; /* NULL: nothing is kept */
    int fd;
    json_t *known;         /* the lines of a run with the same options */
    const json_t *options; /* borrowed */
};

/* Opens the file, which need not exist, and reads what is known of runs with these options; others
 * are passed over. A last line that was cut off is removed. GHN_IO; GHN_INVALID_FILE for a file
 * that is something else. The caller frees with cli_results_done, also on failure. */
enum ghn_status cli_results_open(struct cli_results *results, const char *path,
                                 const json_t *options, struct ghn_err *err) GHN_MUST_CHECK;

/* Fills in the scores of the networks of a split that are known; returns how many. */
int64_t cli_results_find(const struct cli_results *results, const struct cli_eval_split *split);

/* Appends the scores of a network and sees to it that they are on the disk. Another process may
 * append to the same file. */
enum ghn_status cli_results_add(const struct cli_results *results, enum ghn_deepnets_split split,
                                const struct ghn_net_scores *scores,
                                struct ghn_err *err) GHN_MUST_CHECK;

void cli_results_done(struct cli_results *results);

/* The scores of a network as a JSON object, a new reference; NULL if there is no memory. */
json_t *cli_net_scores_to_json(enum ghn_deepnets_split split, const struct ghn_net_scores *scores);

/* --- Printing (eval_report.c) --- */

/* Prints a table, or with json an object that has every network's scores; networks that have none
 * are left out. */
enum ghn_status cli_eval_report(const struct cli_eval_run *run, const struct cli_eval_split *splits,
                                int n_splits, bool json, struct ghn_err *err) GHN_MUST_CHECK;

#endif
