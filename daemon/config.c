#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/ghnd/ghnd.conf"

enum kind { TEXT, LIST, NUMBER };
enum unit { PLAIN, SIZE, TIME };

struct option_row {
    enum kind kind;
    const char *name;
    size_t offset; /* into struct ghnd_config */
    const char *argument;
    const char *text; /* the default of a TEXT */
    enum unit unit;
    int64_t number, minimum, maximum;
    bool reload;
    const char *help;
};

static const struct option_row rows[] = {
#define GHND_TEXT(field, name, argument, initial, reload, help)                                    \
    {TEXT,   name, offsetof(struct ghnd_config, field), argument, initial, PLAIN, 0, 0, 0,         \
     reload, help},
#define GHND_LIST(field, name, argument, reload, help)                                             \
    {LIST, name, offsetof(struct ghnd_config, field), argument, NULL, PLAIN, 0, 0, 0, reload, help},
#define GHND_NUMBER(field, name, unit, initial, minimum, maximum, reload, help)                    \
    {                                                                                              \
        NUMBER,  name,    offsetof(struct ghnd_config, field),                                     \
        NULL,    NULL,    unit,                                                                    \
        initial, minimum, maximum,                                                                 \
        reload,  help},
#include "options.def"
#undef GHND_TEXT
#undef GHND_LIST
#undef GHND_NUMBER
};

enum { N_ROWS = sizeof(rows) / sizeof(rows[0]), MAX_LINE = 4096 };

static char **text_at(struct ghnd_config *config, const struct option_row *row) {
    return (char **)((char *)config + row->offset);
}

static int64_t *number_at(struct ghnd_config *config, const struct option_row *row) {
    return (int64_t *)((char *)config + row->offset);
}

static struct ghnd_list *list_at(struct ghnd_config *config, const struct option_row *row) {
    return (struct ghnd_list *)((char *)config + row->offset);
}

static void clear_list(struct ghnd_list *list) {
    for (int i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct ghnd_list){0, NULL};
}

void ghnd_config_done(struct ghnd_config *config) {
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].kind == TEXT)
            free(*text_at(config, &rows[i]));
        else if (rows[i].kind == LIST)
            clear_list(list_at(config, &rows[i]));
    }
    memset(config, 0, sizeof(*config));
}

static enum ghn_status set_text(char **at, const char *value, struct ghn_err *err) {
    char *copy = strdup(value);
    if (!copy)
        return ghn_fail_memory(err);
    free(*at);
    *at = copy;
    return GHN_OK;
}

static enum ghn_status append(struct ghnd_list *list, const char *value, struct ghn_err *err) {
    char **items = realloc(list->items, ((size_t)list->n + 1) * sizeof(*items));
    if (!items)
        return ghn_fail_memory(err);
    list->items = items;
    items[list->n] = NULL;
    enum ghn_status status = set_text(&items[list->n], value, err);
    if (status == GHN_OK)
        list->n++;
    return status;
}

/* The factor of a unit's suffix, 0 if there is no such suffix. */
static double factor_of(enum unit unit, const char *suffix) {
    if (unit == TIME)
        return *suffix == '\0' || strcmp(suffix, "s") == 0 ? 1000
               : strcmp(suffix, "ms") == 0                 ? 1
                                                           : 0;
    if (*suffix == '\0')
        return 1;
    if (unit == SIZE && suffix[1] == '\0') {
        static const char letters[] = "KMG";
        const char *at = strchr(letters, toupper((unsigned char)*suffix));
        return at ? (double)(INT64_C(1024) << (10 * (at - letters))) : 0;
    }
    return 0;
}

/* A number of a row's unit as text, for messages and --help. */
static const char *number_text(const struct option_row *row, int64_t value, char *buf, size_t n) {
    static const char *const suffixes[] = {"", "K", "M", "G"};
    int k = 0;
    while (row->unit == SIZE && k < 3 && value != 0 && value % 1024 == 0) {
        value /= 1024;
        k++;
    }
    if (row->unit == TIME)
        (void)snprintf(buf, n, "%g", (double)value / 1000);
    else
        (void)snprintf(buf, n, "%lld%s", (long long)value, suffixes[k]);
    return buf;
}

static enum ghn_status set_number(struct ghnd_config *config, const struct option_row *row,
                                  const char *where, const char *value, struct ghn_err *err) {
    char *end;
    errno = 0;
    double parsed = strtod(value, &end);
    double factor = end == value ? 0 : factor_of(row->unit, end);
    double scaled = parsed * factor;
    bool whole = row->unit == TIME || scaled == (double)(int64_t)(scaled < 9e18 ? scaled : 0);
    if (factor == 0 || errno != 0 || !isdigit((unsigned char)*value) || !whole)
        return ghn_fail(err, GHN_WRONG_TYPE, where, "\"%s\" is not a %s", value,
                        row->unit == TIME   ? "time in seconds"
                        : row->unit == SIZE ? "number of bytes (such as 512K or 4M)"
                                            : "whole number");
    if (!(scaled >= (double)row->minimum && scaled <= (double)row->maximum)) {
        char low[32], high[32];
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "%s is outside %s to %s", value,
                        number_text(row, row->minimum, low, sizeof(low)),
                        number_text(row, row->maximum, high, sizeof(high)));
    }
    *number_at(config, row) = (int64_t)scaled;
    return GHN_OK;
}

static enum ghn_status set(struct ghnd_config *config, const struct option_row *row,
                           const char *where, const char *value, struct ghn_err *err) {
    if (row->kind == NUMBER)
        return set_number(config, row, where, value, err);
    if (*value == '\0')
        return ghn_fail(err, GHN_OUT_OF_RANGE, where, "the value is empty");
    if (row->kind == LIST)
        return append(list_at(config, row), value, err);
    return set_text(text_at(config, row), value, err);
}

static enum ghn_status set_defaults(struct ghnd_config *config, struct ghn_err *err) {
    enum ghn_status status = GHN_OK;
    for (int i = 0; i < N_ROWS && status == GHN_OK; i++) {
        if (rows[i].kind == NUMBER)
            *number_at(config, &rows[i]) = rows[i].number;
        else if (rows[i].kind == TEXT && rows[i].text)
            status = set_text(text_at(config, &rows[i]), rows[i].text, err);
    }
    return status;
}

static char *trim(char *s) {
    while (isspace((unsigned char)*s))
        s++;
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return s;
}

/* One line of the file, `name = value`, blank, or a comment from # on. */
static enum ghn_status read_line(struct ghnd_config *config, char *line, const char *where,
                                 struct ghn_err *err) {
    char *name = trim(line);
    if (*name == '\0' || *name == '#')
        return GHN_OK;
    char *equals = strchr(name, '=');
    if (!equals)
        return ghn_fail(err, GHN_MISSING_FIELD, where, "expected `name = value`, found \"%s\"",
                        name);
    *equals = '\0';
    char *value = trim(equals + 1);
    name = trim(name);
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0 && strcmp(name, "config") != 0)
            return set(config, &rows[i], where, value, err);
    return ghn_fail(err, GHN_UNKNOWN_FIELD, where,
                    "there is no option \"%s\"; `ghnd --help` lists them", name);
}

static enum ghn_status read_file(struct ghnd_config *config, const char *path, bool required,
                                 struct ghn_err *err) {
    FILE *file = fopen(path, "re");
    if (!file && !required && errno == ENOENT)
        return GHN_OK;
    if (!file)
        return ghn_fail(err, GHN_IO, path, "the configuration file cannot be read: %s",
                        strerror(errno));
    char line[MAX_LINE], where[MAX_LINE];
    enum ghn_status status = GHN_OK;
    for (int number = 1; status == GHN_OK && fgets(line, sizeof(line), file); number++) {
        (void)snprintf(where, sizeof(where), "%.200s:%d", path, number);
        if (strlen(line) == sizeof(line) - 1)
            status = ghn_fail(err, GHN_TOO_LARGE, where, "a line is limited to %d bytes", MAX_LINE);
        else
            status = read_line(config, line, where, err);
    }
    if (status == GHN_OK && ferror(file))
        status = ghn_fail(err, GHN_IO, path, "the configuration file cannot be read: %s",
                          strerror(errno));
    (void)fclose(file);
    return status;
}

/* --- The command line --- */

enum { OPTION_BASE = 256, OPTION_HELP = 'h', OPTION_VERSION = 'V' };

static void long_options(struct option *ret) {
    for (int i = 0; i < N_ROWS; i++)
        ret[i] = (struct option){rows[i].name, required_argument, NULL, OPTION_BASE + i};
    ret[N_ROWS] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    ret[N_ROWS + 1] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    ret[N_ROWS + 2] = (struct option){NULL, 0, NULL, 0};
}

/* Applies the options of the command line that `only` selects (NULL: all) to config. */
static enum ghn_status read_arguments(int argc, char **argv, const char *only,
                                      enum ghnd_command *command, struct ghnd_config *config,
                                      struct ghn_err *err) {
    struct option options[N_ROWS + 3];
    long_options(options);
    bool list_cleared[N_ROWS] = {false};
    opterr = 0;
    optind = 0;
    int c;
    while ((c = getopt_long(argc, argv, ":hV", options, NULL)) != -1) {
        if (c == OPTION_HELP || c == OPTION_VERSION) {
            *command = c == OPTION_HELP ? GHND_HELP : GHND_VERSION;
            return GHN_OK;
        }
        if (c < OPTION_BASE)
            return ghn_fail(err, GHN_UNKNOWN_FIELD, argv[optind - 1], "%s",
                            c == ':' ? "the option needs a value"
                                     : "there is no such option; `ghnd --help` lists them");
        const struct option_row *row = &rows[c - OPTION_BASE];
        if (only && strcmp(row->name, only) != 0)
            continue;
        if (row->kind == LIST && !list_cleared[c - OPTION_BASE])
            clear_list(list_at(config, row));
        list_cleared[c - OPTION_BASE] = true;
        char where[64];
        (void)snprintf(where, sizeof(where), "--%s", row->name);
        enum ghn_status status = set(config, row, where, optarg, err);
        if (status != GHN_OK)
            return status;
    }
    if (optind < argc)
        return ghn_fail(
            err, GHN_UNKNOWN_FIELD, argv[optind],
            "an argument without an option; a checkpoint is given as --checkpoint FILE");
    return GHN_OK;
}

/* --- Directories that depend on others --- */

static enum ghn_status default_state_dir(struct ghnd_config *config, struct ghn_err *err) {
    if (config->state_dir)
        return GHN_OK;
    const char *systemd = getenv("STATE_DIRECTORY");
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char path[MAX_LINE];
    int n = -1;
    if (systemd && *systemd)
        n = snprintf(path, sizeof(path), "%s", systemd);
    else if (geteuid() == 0)
        n = snprintf(path, sizeof(path), "/var/lib/ghnd");
    else if (xdg && *xdg == '/')
        n = snprintf(path, sizeof(path), "%s/ghnd", xdg);
    else if (home && *home == '/')
        n = snprintf(path, sizeof(path), "%s/.local/state/ghnd", home);
    if (n < 0 || n >= (int)sizeof(path))
        return ghn_fail(err, GHN_MISSING_FIELD, "--state-dir",
                        "no default can be made without $HOME; give --state-dir DIR");
    return set_text(&config->state_dir, path, err);
}

static enum ghn_status default_data_dir(struct ghnd_config *config, struct ghn_err *err) {
    if (config->data_dir)
        return GHN_OK;
    char path[MAX_LINE];
    (void)snprintf(path, sizeof(path), "%s/data", config->state_dir);
    return set_text(&config->data_dir, path, err);
}

/* Makes a path absolute, so that it means the same to workers, and that clients are not told parts
 * of it (worker/main.c hides those it knows by their beginning). */
static enum ghn_status make_absolute(char **path, const char *option, struct ghn_err *err) {
    char here[MAX_LINE], whole[2 * MAX_LINE];
    if (**path == '/')
        return GHN_OK;
    if (!getcwd(here, sizeof(here)))
        return ghn_fail(err, GHN_IO, option, "the working directory is not known: %s",
                        strerror(errno));
    if (snprintf(whole, sizeof(whole), "%s/%s", here, *path) >= (int)sizeof(whole))
        return ghn_fail(err, GHN_TOO_LARGE, option, "the path is longer than any may be");
    return set_text(path, whole, err);
}

static enum ghn_status set_folders(struct ghnd_config *config, struct ghn_err *err) {
    enum ghn_status status = default_state_dir(config, err);
    if (status == GHN_OK)
        status = default_data_dir(config, err);
    if (status == GHN_OK)
        status = make_absolute(&config->state_dir, "--state-dir", err);
    if (status == GHN_OK)
        status = make_absolute(&config->data_dir, "--data-dir", err);
    return status;
}

enum ghn_status ghnd_config_read(int argc, char **argv, enum ghnd_command *ret_command,
                                 struct ghnd_config *ret, struct ghn_err *err) {
    struct ghnd_config config = {0};
    enum ghnd_command command = GHND_SERVE;
    enum ghn_status status = set_defaults(&config, err);
    if (status == GHN_OK)
        status = read_arguments(argc, argv, "config", &command, &config, err);
    if (status == GHN_OK && command == GHND_SERVE)
        status =
            read_file(&config, config.config ? config.config : DEFAULT_FILE, config.config, err);
    if (status == GHN_OK && command == GHND_SERVE)
        status = read_arguments(argc, argv, NULL, &command, &config, err);
    if (status == GHN_OK && command == GHND_SERVE)
        status = set_folders(&config, err);
    if (status != GHN_OK) {
        ghnd_config_done(&config);
        return status;
    }
    *ret_command = command;
    *ret = config;
    return GHN_OK;
}

/* --- Help --- */

/* Prints text from column `indent` on, broken at 100 columns; the cursor stands at column `at`. */
static void print_wrapped(const char *text, int indent, int at) {
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at + 1 + n > 100)
            at = 0;
        if (at < indent)
            printf("%s%*s", at ? "" : "\n", indent - at, ""), at = indent;
        else
            printf(" "), at++;
        printf("%.*s", n, text);
        at += n;
        text += n + strspn(text + n, " ");
    }
    printf("\n");
}

void ghnd_config_help(void) {
    printf("Usage: ghnd [OPTION]...\nPredicts the parameters of neural networks with a trained "
           "graph hypernetwork, over HTTP.\n\n");
    static const char *const arguments[] = {"N", "BYTES", "SECONDS"};
    char buf[256], number[64];
    for (int i = 0; i < N_ROWS; i++) {
        const struct option_row *row = &rows[i];
        int at =
            printf("  --%s %s", row->name, row->argument ? row->argument : arguments[row->unit]);
        if (at >= 34)
            printf("\n"), at = printf(" ");
        const char *initial =
            row->kind == NUMBER ? number_text(row, row->number, number, sizeof(number)) : row->text;
        (void)snprintf(buf, sizeof(buf), "%s%s%s%s", row->help, initial ? " [" : "",
                       initial ? initial : "", initial ? "]" : "");
        print_wrapped(buf, 34, at);
    }
    printf("  --help, --version\n\nSIGHUP reads checkpoints and configuration anew; SIGTERM "
           "finishes what is under way and exits.\n");
}

/* Gives an option the value that it has in `before`; *ret_changed tells whether it had another. */
static enum ghn_status keep_option(struct ghnd_config *before, struct ghnd_config *config,
                                   const struct option_row *row, bool *ret_changed,
                                   struct ghn_err *err) {
    if (row->kind == NUMBER) {
        *ret_changed = *number_at(config, row) != *number_at(before, row);
        *number_at(config, row) = *number_at(before, row);
        return GHN_OK;
    }
    char **at = text_at(config, row);
    const char *kept = *text_at(before, row);
    *ret_changed = (*at || kept) && (!*at || !kept || strcmp(*at, kept) != 0);
    if (*ret_changed && kept)
        return set_text(at, kept, err);
    if (*ret_changed) {
        free(*at);
        *at = NULL;
    }
    return GHN_OK;
}

enum ghn_status ghnd_config_keep_fixed(const struct ghnd_config *before, struct ghnd_config *config,
                                       char *ret_names, size_t n, struct ghn_err *err) {
    struct ghnd_config kept = *before;
    enum ghn_status status = GHN_OK;
    size_t used = 0;
    ret_names[0] = '\0';
    for (int i = 0; i < N_ROWS && status == GHN_OK; i++) {
        bool changed = false;
        if (rows[i].reload)
            continue;
        assert(rows[i].kind != LIST); /* there is no such option */
        status = keep_option(&kept, config, &rows[i], &changed, err);
        if (changed && used < n)
            used += (size_t)snprintf(ret_names + used, n - used, "%s%s", used ? ", " : "",
                                     rows[i].name);
    }
    return status;
}
