/* Structured log lines on standard error, logfmt or JSON. */
#ifndef GHND_LOG_H
#define GHND_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ghnd_level { GHND_ERROR_LEVEL, GHND_WARNING, GHND_INFO, GHND_DEBUG };

/* How to log; set once before threads start. */
struct ghnd_log {
    enum ghnd_level level;
    bool json;
};

/* A line being written. What does not fit is left out, and nothing that a value holds can end the
 * line or begin another field. */
struct ghnd_line {
    bool skip; /* below the level that is logged */
    bool json;
    bool first; /* no field is written yet */
    size_t n;
    char text[2048];
};

/* Parses the names of --log-format and --log-level; false if one is none. */
bool ghnd_log_init(struct ghnd_log *log, const char *format, const char *level);

/* Starts a line with time, level and message. */
void ghnd_line_begin(struct ghnd_line *line, const struct ghnd_log *log, enum ghnd_level level,
                     const char *message);

/* Adds a field; text may be NULL or empty, and then there is none. */
void ghnd_line_text(struct ghnd_line *line, const char *key, const char *text);
void ghnd_line_number(struct ghnd_line *line, const char *key, int64_t number);
void ghnd_line_ms(struct ghnd_line *line, const char *key, double milliseconds);

/* Writes the line in one go. */
void ghnd_line_end(struct ghnd_line *line);

/* A line of a message and a formatted detail. */
void ghnd_log(const struct ghnd_log *log, enum ghnd_level level, const char *message,
              const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
