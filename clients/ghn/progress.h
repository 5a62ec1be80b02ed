/* The progress of a training, or of work that is counted, on standard error: a bar that stays in
 * its line on a terminal, a plain line every few seconds elsewhere; and a line for every evaluation
 * of a training. */
#ifndef GHN_CLIENT_PROGRESS_H
#define GHN_CLIENT_PROGRESS_H

#include <stdbool.h>

#include "train/finetune.h"

struct cli_progress {
    bool terminal;
    bool drawn;               /* a bar stands in the terminal's current line */
    double shown;             /* ghn_seconds() of the last plain line; 0: there was none */
    double line_seconds;      /* between two of them */
    int64_t tested;           /* step of the evaluation that was last shown; -1: none */
    double loss, top1, top5;  /* of that evaluation; NaN: none */
    struct ghn_progress last; /* what was last told; step -1: nothing */
};

/* Looks whether standard error is a terminal; plain lines come every 5 seconds. */
void cli_progress_init(struct cli_progress *progress);

/* Shows a point: the report of a training (`context` is a struct cli_progress). Call it as often as
 * there is news. */
void cli_progress_show(void *context, const struct ghn_progress *point);

/* Shows step `step` of `steps`, with a text behind it: as a bar, or as a line if one is due. */
void cli_progress_step(struct cli_progress *progress, int64_t step, int64_t steps,
                       const char *text);

/* Shows that `done` of `total` things called `what` are done, and a text that says more. */
void cli_progress_count(struct cli_progress *progress, int64_t done, int64_t total,
                        const char *what, const char *text);

/* Removes the bar, so that other text can follow. */
void cli_progress_end(struct cli_progress *progress);

/* Seconds as "0:07", "12:34", "3:25:45" into buf, "?" for NaN; returns buf. */
enum { CLI_DURATION = 32 };
char *cli_duration(double seconds, char buf[CLI_DURATION]);

#endif
