/* Errors and options of the subcommands. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"

static bool coloured(FILE *out) {
    return isatty(fileno(out)) && !getenv("NO_COLOR");
}

const char *cli_bold(FILE *out) {
    return coloured(out) ? "\033[1m" : "";
}

const char *cli_plain(FILE *out) {
    return coloured(out) ? "\033[0m" : "";
}

/* A result printed before belongs above the complaint, wherever the two streams go. */
static void begin_error(const char *where) {
    (void)fflush(stdout);
    (void)fprintf(stderr, "%sghn:%s ", cli_bold(stderr), cli_plain(stderr));
    if (where && *where)
        (void)fprintf(stderr, "%s: ", where);
}

static void end_error(const char *next) {
    (void)fputs("\n", stderr);
    if (next)
        (void)fprintf(stderr, "     %s\n", next);
}

int cli_fail(const struct ghn_err *err, const char *next) {
    begin_error(err->where);
    (void)fputs(err->message[0] ? err->message : ghn_status_meaning(err->status), stderr);
    end_error(next);
    return CLI_FAILED;
}

int cli_failf(const char *where, const char *next, const char *format, ...) {
    struct ghn_err err = GHN_ERR_INIT;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err.message, sizeof(err.message), format, args);
    va_end(args);
    /* Through ghn_fail, which makes the text fit for a terminal. */
    struct ghn_err clean = GHN_ERR_INIT;
    (void)ghn_fail(&clean, GHN_IO, where, "%s", err.message);
    return cli_fail(&clean, next);
}

bool cli_same_file(const char *a, const char *b) {
    struct stat x, y;
    return a && b && stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISREG(x.st_mode) &&
           x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int cli_usage(const char *command, const char *format, ...) {
    char message[GHN_ERR_MESSAGE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    struct ghn_err clean = GHN_ERR_INIT;
    (void)ghn_fail(&clean, GHN_OUT_OF_RANGE, command, "%s", message);
    char next[64];
    (void)snprintf(next, sizeof(next), "see: ghn %s%s", command ? "help " : "--help",
                   command ? command : "");
    (void)cli_fail(&clean, next);
    return CLI_USAGE;
}

enum { MAX_OPTIONS = 64, HELP_CODE = 1000, FIRST_CODE = 1001 };

/* Our options in getopt's terms: option i has the code FIRST_CODE + i, or its letter. */
static void describe(const struct cli_option *options, size_t n, struct option *ret_long,
                     char *ret_short) {
    *ret_short++ = ':';
    *ret_short++ = 'h';
    for (size_t i = 0; i < n; i++) {
        ret_long[i] =
            (struct option){options[i].name, options[i].flag ? no_argument : required_argument,
                            NULL, FIRST_CODE + (int)i};
        if (!options[i].letter)
            continue;
        *ret_short++ = options[i].letter;
        if (!options[i].flag)
            *ret_short++ = ':';
    }
    ret_long[n] = (struct option){"help", no_argument, NULL, HELP_CODE};
    ret_long[n + 1] = (struct option){0};
    *ret_short = '\0';
}

/* Stores an option's value; false if it is no number, or none in range, or the list is full. */
static bool store(const struct cli_option *option, const char *value) {
    if (option->list) {
        if (option->list->n == CLI_LIST)
            return false;
        option->list->items[option->list->n++] = value;
    } else if (option->flag) {
        *option->flag = true;
    } else if (option->text) {
        *option->text = value;
    } else {
        char *end;
        errno = 0;
        long long number = strtoll(value, &end, 10);
        if (errno != 0 || *end || end == value || number < option->min || number > option->max)
            return false;
        *option->number = number;
    }
    return true;
}

static const struct cli_option *option_of(const struct cli_option *options, size_t n, int code) {
    for (size_t i = 0; i < n; i++)
        if (code == FIRST_CODE + (int)i || (options[i].letter && code == options[i].letter))
            return &options[i];
    return NULL;
}

/* The option that getopt complains of: a letter, which may be one of several in a word, or a word.
 */
static const char *given(char **argv, char letter[3]) {
    if (optopt == 0 || optopt >= HELP_CODE)
        return argv[optind - 1];
    letter[0] = '-';
    letter[1] = (char)optopt;
    letter[2] = '\0';
    return letter;
}

bool cli_options(int argc, char **argv, const struct cli_option *options, size_t n_options,
                 const char *help, int min_args, int max_args, int *ret_first, int *ret_exit) {
    struct option long_options[MAX_OPTIONS + 2];
    char short_options[3 + 2 * MAX_OPTIONS];
    describe(options, n_options, long_options, short_options);
    int code;
    optind = 1; /* a command may read its options twice */
    while ((code = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        const struct cli_option *option = option_of(options, n_options, code);
        char letter[3];
        *ret_exit = CLI_OK;
        if (code == 'h' || code == HELP_CODE)
            (void)fputs(help, stdout);
        else if (code == ':')
            *ret_exit = cli_usage(argv[0], "%s needs a value", given(argv, letter));
        else if (!option)
            *ret_exit = cli_usage(argv[0], "there is no option %s", given(argv, letter));
        else if (store(option, optarg))
            continue;
        else if (option->list)
            *ret_exit = cli_usage(argv[0], "--%s: it may be given %d times at most", option->name,
                                  CLI_LIST);
        else
            *ret_exit =
                cli_usage(argv[0], "--%s: '%s' is not a number in [%lld, %lld]", option->name,
                          optarg, (long long)option->min, (long long)option->max);
        return false;
    }
    int n_args = argc - optind;
    *ret_first = optind;
    if (n_args >= min_args && n_args <= max_args)
        return true;
    *ret_exit = n_args < min_args ? cli_usage(argv[0], "an argument is missing")
                                  : cli_usage(argv[0], "there is one argument too many: '%s'",
                                              argv[optind + max_args]);
    return false;
}

char *cli_clean(const char *text) {
    char *copy = strdup(text);
    if (copy)
        ghn_utf8_sanitise(copy);
    return copy;
}

json_t *cli_text_json(const char *text) {
    char *copy = text ? cli_clean(text) : NULL;
    json_t *json = copy ? json_string(copy) : NULL;
    free(copy);
    return json;
}

int cli_print_json(json_t *json, size_t flags) {
    if (!json)
        return cli_failf(NULL, NULL, "not enough memory");
    int failed = json_dumpf(json, stdout, flags) != 0 || puts("") < 0;
    json_decref(json);
    return failed ? cli_failf("standard output", NULL, "it cannot be written") : CLI_OK;
}

char *cli_count(int64_t n, char buf[CLI_NUMBER]) {
    char digits[CLI_NUMBER];
    int length = snprintf(digits, sizeof(digits), "%lld", (long long)n), out = 0;
    for (int i = 0; i < length; i++) {
        buf[out++] = digits[i];
        if (i + 1 < length && (length - i - 1) % 3 == 0 && digits[i] != '-')
            buf[out++] = ',';
    }
    buf[out] = '\0';
    return buf;
}

char *cli_bytes(uint64_t n, char buf[CLI_NUMBER]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)n;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    (void)snprintf(buf, CLI_NUMBER, "%.*f %s", unit ? 1 : 0, value, units[unit]);
    return buf;
}
