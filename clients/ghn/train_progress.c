#include "train_progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"

enum { BAR = 20, LINE = 256 };

/* Seconds between lines where there is no terminal. */
static const double line_seconds = 30;

void cli_train_progress_init(struct cli_train_progress *progress) {
    *progress =
        (struct cli_train_progress){.terminal = isatty(STDERR_FILENO), .last = {.step = -1}};
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
        ADD("  %lld not finite", (long long)p->not_finite);
    if (!isnan(p->seconds_left) && p->step < p->steps)
        ADD("  %s left", cli_duration(p->seconds_left, left));
#undef ADD
}

static void draw_bar(struct cli_train_progress *progress, const struct ghn_meta_progress *p) {
    char text[LINE], line[LINE * 2], bar[BAR + 1];
    struct winsize size;
    double part = p->steps > 0 ? (double)p->step / (double)p->steps : 0;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(part * BAR) ? '#' : '.';
    bar[BAR] = '\0';
    describe(p, text);
    (void)snprintf(line, sizeof line, "%s %3.0f %%  %lld/%lld%s", bar, 100 * part,
                   (long long)p->step, (long long)p->steps, text);
    /* A line that wraps could not be drawn over. */
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20;
    size_t width = known ? size.ws_col - 1u : 79;
    if (strlen(line) > width)
        line[width] = '\0';
    (void)fprintf(stderr, "\r%s\033[K", line);
    (void)fflush(stderr);
    progress->drawn = true;
}

static void print_line(const struct ghn_meta_progress *p) {
    char text[LINE];
    describe(p, text);
    (void)fprintf(stderr, "step %lld of %lld%s\n", (long long)p->step, (long long)p->steps, text);
}

static void print_point(struct cli_train_progress *progress, const struct ghn_meta_progress *p) {
    char time[CLI_DURATION];
    cli_train_progress_end(progress);
    (void)fprintf(stderr, "step %lld, after %s: loss %.4f, accuracy %.2f %%", (long long)p->step,
                  cli_duration(p->seconds, time), p->loss, 100 * p->accuracy);
    if (!isnan(p->validation))
        (void)fprintf(stderr, ", unseen architectures %s%.2f %%%s", cli_bold(stderr),
                      100 * p->validation, cli_plain(stderr));
    (void)fputc('\n', stderr);
}

void cli_train_progress_show(struct cli_train_progress *progress,
                             const struct ghn_meta_progress *news, bool point) {
    double time = cli_seconds();
    progress->last = *news;
    if (point) {
        print_point(progress, news);
    } else if (progress->terminal) {
        draw_bar(progress, news);
    } else if (news->step > 0 && (progress->shown == 0 || time - progress->shown >= line_seconds)) {
        print_line(news);
        progress->shown = time;
    }
}

void cli_train_progress_end(struct cli_train_progress *progress) {
    if (progress->drawn)
        (void)fputs("\r\033[K", stderr);
    progress->drawn = false;
}
