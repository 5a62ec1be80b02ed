#include "train_progress.h"

#include <math.h>
#include <stdio.h>

#include "cli.h"

enum { LINE = 256 };

void cli_train_progress_init(struct cli_train_progress *progress) {
    *progress = (struct cli_train_progress){.last = {.step = -1}};
    cli_progress_init(&progress->bar);
    progress->bar.line_seconds = 30;
}

/* "  loss 1.9  train 30 %  4.1 nets/s  2:10:00 left"; nothing that is not known. */
static void describe(const struct ghn_meta_progress *p, char line[LINE]) {
    char left[CLI_DURATION];
    size_t n = 0;
    line[0] = '\0';
#define ADD(...) n += (size_t)snprintf(line + n, n < LINE ? LINE - n : 0, __VA_ARGS__)
    if (!isnan(p->loss))
        ADD("  loss %.3f  accuracy %.1f %%", p->loss, 100 * p->accuracy);
    if (!isnan(p->gradient_norm))
        ADD("  |g| %.2g", p->gradient_norm);
    if (!isnan(p->architectures_per_second))
        ADD("  %.1f nets/s", p->architectures_per_second);
    if (p->not_finite > 0)
        ADD("  %lld networks left out", (long long)p->not_finite);
    if (p->skipped > 0)
        ADD("  %lld steps skipped", (long long)p->skipped);
    if (!isnan(p->seconds_left) && p->step < p->steps)
        ADD("  %s left", cli_duration(p->seconds_left, left));
#undef ADD
}

static void print_point(struct cli_train_progress *progress, const struct ghn_meta_progress *p) {
    char time[CLI_DURATION];
    cli_progress_end(&progress->bar);
    (void)fprintf(stderr, "step %lld, after %s: loss %.4f, accuracy %.2f %%", (long long)p->step,
                  cli_duration(p->seconds, time), p->loss, 100 * p->accuracy);
    if (!isnan(p->validation))
        (void)fprintf(stderr, ", unseen architectures %s%.2f %%%s", cli_bold(stderr),
                      100 * p->validation, cli_plain(stderr));
    (void)fputc('\n', stderr);
}

void cli_train_progress_show(struct cli_train_progress *progress,
                             const struct ghn_meta_progress *news, bool point) {
    char text[LINE];
    progress->last = *news;
    if (point) {
        print_point(progress, news);
        return;
    }
    describe(news, text);
    cli_progress_step(&progress->bar, news->step, news->steps, text);
}
