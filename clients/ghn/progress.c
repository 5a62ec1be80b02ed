#include "progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

enum { BAR = 24, LINE = 256 };

char *cli_duration(double seconds, char buf[CLI_DURATION]) {
    if (!(seconds >= 0 && seconds < 1e9)) {
        (void)snprintf(buf, CLI_DURATION, "?");
        return buf;
    }
    long total = lround(seconds), hours = total / 3600, minutes = total / 60 % 60;
    if (hours > 0)
        (void)snprintf(buf, CLI_DURATION, "%ld:%02ld:%02ld", hours, minutes, total % 60);
    else
        (void)snprintf(buf, CLI_DURATION, "%ld:%02ld", minutes, total % 60);
    return buf;
}

void cli_progress_init(struct cli_progress *progress) {
    *progress = (struct cli_progress){.terminal = isatty(STDERR_FILENO),
                                      .line_seconds = 5,
                                      .tested = -1,
                                      .loss = NAN,
                                      .top1 = NAN,
                                      .top5 = NAN,
                                      .last = {.step = -1}};
}

static size_t terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
        return 80;
    return size.ws_col;
}

/* Appends to a line; what does not fit is cut. */
static void __attribute__((format(printf, 2, 3))) add(char line[LINE], const char *format, ...) {
    size_t n = strlen(line);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line + n, LINE - n, format, args);
    va_end(args);
}

/* What both forms say of a point: rate, time left, loss, accuracies; nothing that is not known. */
static void describe(const struct cli_progress *progress, const struct ghn_progress *point,
                     char line[LINE]) {
    char left[CLI_DURATION];
    if (point->images_per_second > 0)
        add(line, "  %.*f images/s", point->images_per_second < 10 ? 1 : 0,
            point->images_per_second);
    if (!isnan(point->seconds_left) && point->step < point->steps)
        add(line, "  %s left", cli_duration(point->seconds_left, left));
    if (!isnan(point->loss))
        add(line, "  loss %.4f  train %.1f %%", point->loss, 100 * point->train_accuracy);
    if (!isnan(progress->top1))
        add(line, "  test %.1f %%", 100 * progress->top1);
}

/* A bar for step of steps, with a text behind it. */
static void draw_bar(struct cli_progress *progress, int64_t step, int64_t steps, const char *text) {
    char line[LINE] = "";
    double part = steps > 0 ? (double)step / (double)steps : 0;
    int full = (int)(part * BAR);
    for (int i = 0; i < BAR; i++)
        add(line, "%c", i < full ? '#' : '.');
    add(line, " %3.0f %%  %lld/%lld%s", 100 * part, (long long)step, (long long)steps, text);
    /* A line that wraps could not be drawn over. */
    size_t width = terminal_width() - 1;
    if (width < strlen(line))
        line[width] = '\0';
    (void)fprintf(stderr, "\r%s\033[K", line);
    (void)fflush(stderr);
    progress->drawn = true;
}

/* Whether a plain line is due, which is then to be printed. */
static bool line_is_due(struct cli_progress *progress) {
    double time = ghn_seconds();
    if (progress->shown > 0 && time - progress->shown < progress->line_seconds)
        return false;
    progress->shown = time;
    return true;
}

static void print_evaluation(struct cli_progress *progress, const struct ghn_progress *point) {
    cli_progress_end(progress);
    (void)fprintf(stderr, "step %lld of %lld: test loss %.4f, top-1 %s%.2f %%%s, top-5 %.2f %%\n",
                  (long long)point->step, (long long)point->steps, point->test_loss,
                  cli_bold(stderr), 100 * point->test_top1, cli_plain(stderr),
                  100 * point->test_top5);
    progress->tested = point->step;
    progress->loss = point->test_loss;
    progress->top1 = point->test_top1;
    progress->top5 = point->test_top5;
}

void cli_progress_step(struct cli_progress *progress, int64_t step, int64_t steps,
                       const char *text) {
    if (progress->terminal)
        draw_bar(progress, step, steps, text);
    else if (step > 0 && line_is_due(progress))
        (void)fprintf(stderr, "step %lld of %lld%s\n", (long long)step, (long long)steps, text);
}

void cli_progress_show(void *context, const struct ghn_progress *point) {
    struct cli_progress *progress = context;
    char text[LINE] = "";
    bool news = !isnan(point->test_top1) && point->step != progress->tested;
    progress->last = *point;
    if (news)
        print_evaluation(progress, point);
    describe(progress, point, text);
    if (progress->terminal || !news)
        cli_progress_step(progress, point->step, point->steps, text);
}

void cli_progress_count(struct cli_progress *progress, int64_t done, int64_t total,
                        const char *what, const char *text) {
    char line[LINE] = "";
    add(line, " %s%s%s", what, *text ? "  " : "", text);
    if (progress->terminal)
        draw_bar(progress, done, total, line);
    else if (done > 0 && line_is_due(progress))
        (void)fprintf(stderr, "%lld of %lld%s\n", (long long)done, (long long)total, line);
}

void cli_progress_end(struct cli_progress *progress) {
    if (progress->drawn)
        (void)fputs("\r\033[K", stderr);
    progress->drawn = false;
}
