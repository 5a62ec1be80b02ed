#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

static const char *const levels[] = {"error", "warning", "info", "debug"};

/* Room kept for the end of a line: closing quote, brace and newline. */
enum { TAIL = 4, MAX_VALUE = 600 };

bool ghnd_log_init(struct ghnd_log *log, const char *format, const char *level) {
    log->json = strcmp(format, "json") == 0;
    if (!log->json && strcmp(format, "logfmt") != 0)
        return false;
    for (int i = 0; i < 4; i++) {
        if (strcmp(level, levels[i]) == 0) {
            log->level = (enum ghnd_level)i;
            return true;
        }
    }
    return false;
}

static void put(struct ghnd_line *line, const char *s, size_t n) {
    if (line->n + n + TAIL > sizeof(line->text))
        n = sizeof(line->text) - TAIL - line->n;
    memcpy(line->text + line->n, s, n);
    line->n += n;
}

static void put_key(struct ghnd_line *line, const char *key) {
    char buf[80];
    const char *separator = line->first ? "" : line->json ? "," : " ";
    line->first = false;
    int n = snprintf(buf, sizeof(buf), line->json ? "%s\"%s\":" : "%s%s=", separator, key);
    put(line, buf, (size_t)n);
}

/* Whether a field of up to n bytes still fits as a whole. */
static bool fits(const struct ghnd_line *line, const char *key, size_t n) {
    return !line->skip && line->n + strlen(key) + n + 8 + TAIL <= sizeof(line->text);
}

void ghnd_line_text(struct ghnd_line *line, const char *key, const char *text) {
    char value[MAX_VALUE];
    if (!text || !*text)
        return;
    (void)snprintf(value, sizeof(value), "%s", text);
    ghn_utf8_sanitise(value); /* no control character is left, so quoting is all there is to do */
    size_t length = strlen(value);
    if (!fits(line, key, 2 * length))
        return;
    put_key(line, key);
    bool quote = line->json || strpbrk(value, " \"=\\");
    if (quote)
        put(line, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        if (quote && (value[i] == '"' || value[i] == '\\'))
            put(line, "\\", 1);
        put(line, &value[i], 1);
    }
    if (quote)
        put(line, "\"", 1);
}

void ghnd_line_number(struct ghnd_line *line, const char *key, int64_t number) {
    char buf[32];
    int n = snprintf(buf, sizeof(buf), "%lld", (long long)number);
    if (!fits(line, key, (size_t)n))
        return;
    put_key(line, key);
    put(line, buf, (size_t)n);
}

void ghnd_line_ms(struct ghnd_line *line, const char *key, double milliseconds) {
    char buf[48];
    int n = snprintf(buf, sizeof(buf), "%.3f", milliseconds);
    if (!fits(line, key, (size_t)n))
        return;
    put_key(line, key);
    put(line, buf, (size_t)n);
}

void ghnd_line_begin(struct ghnd_line *line, const struct ghnd_log *log, enum ghnd_level level,
                     const char *message) {
    line->skip = level > log->level;
    line->n = 0;
    if (line->skip)
        return;
    struct timespec now;
    struct tm tm;
    char time[40], stamp[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    (void)strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(stamp, sizeof(stamp), "%s.%03ldZ", time, now.tv_nsec / 1000000);
    line->json = log->json;
    if (log->json)
        put(line, "{", 1);
    line->first = true;
    ghnd_line_text(line, "time", stamp);
    ghnd_line_text(line, "level", levels[level]);
    ghnd_line_text(line, "msg", message);
}

void ghnd_line_end(struct ghnd_line *line) {
    if (line->skip)
        return;
    if (line->json)
        line->text[line->n++] = '}';
    line->text[line->n++] = '\n';
    size_t done = 0;
    while (done < line->n) {
        ssize_t n = write(STDERR_FILENO, line->text + done, line->n - done);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

void ghnd_log(const struct ghnd_log *log, enum ghnd_level level, const char *message,
              const char *format, ...) {
    char detail[MAX_VALUE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    struct ghnd_line line;
    ghnd_line_begin(&line, log, level, message);
    ghnd_line_text(&line, "detail", detail);
    ghnd_line_end(&line);
}
