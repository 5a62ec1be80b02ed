/* What the subcommands of ghn share: exit codes, errors, options, files, text. */
#ifndef GHN_CLIENT_CLI_H
#define GHN_CLIENT_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/status.h"

/* The exit codes of every subcommand; `ghn --help` documents them. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* The subcommands: argv[0] is the subcommand's name. Each returns an exit code. */
#define COMMAND(symbol, summary)                                                                   \
    int cli_##symbol(int argc, char **argv);                                                       \
    extern const char cli_##symbol##_help[];
#include "commands.def"
#undef COMMAND

/* --- Errors --- */

/* Prints "ghn: WHERE: MESSAGE", and on a second line what to do next (NULL: nothing); returns
 * CLI_FAILED. */
int cli_fail(const struct ghn_err *err, const char *next);

/* The same for an error of the command's own. */
int cli_failf(const char *where, const char *next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints what is wrong with the command line and where help is; returns CLI_USAGE. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- Options --- */

/* The values of an option that may be given several times. */
enum { CLI_LIST = 16 };
struct cli_list {
    const char *items[CLI_LIST];
    int n;
};

/* An option: exactly one of text, list, flag and number says where its value goes. */
struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* of the short form; 0 for none */
    const char **text;
    struct cli_list *list; /* one more item */
    bool *flag;            /* becomes true */
    int64_t *number;
    int64_t min, max; /* of number */
};

/* Reads the options of a subcommand; other arguments are moved to the end, the first of them at
 * argv[*ret_first]. Their number must lie in [min_args, max_args]. Returns true to go on; false
 * with *ret_exit if help was asked for and printed, or something is wrong and was reported. */
bool cli_options(int argc, char **argv, const struct cli_option *options, size_t n_options,
                 const char *help, int min_args, int max_args, int *ret_first, int *ret_exit);

/* --- Files and text --- */

/* The whole of a file, or of standard input for "-", at most 64 MiB. The caller frees *ret with
 * free. */
enum ghn_status cli_read(const char *path, char **ret, size_t *ret_size,
                         struct ghn_err *err) GHN_MUST_CHECK;

/* Whether two paths, either of which may be NULL, lead to one file. What a command reads is not to
 * be what it writes. */
bool cli_same_file(const char *a, const char *b);

/* The JSON of a file, or of standard input for "-". The caller gives it back with json_decref. */
enum ghn_status cli_read_json(const char *path, json_t **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* What the header of a safetensors file says, for summaries. */
struct cli_header {
    json_t *root; /* its JSON */
    int tensors;
    int64_t elements; /* of all tensors, tiled ones (ghn-blocks/1) counted in full */
    uint64_t bytes;   /* of the file */
};

/* Reads it, and checks that the file is as long as its header says. The caller frees with
 * cli_header_done. */
enum ghn_status cli_header_read(const char *path, struct cli_header *ret,
                                struct ghn_err *err) GHN_MUST_CHECK;
void cli_header_done(struct cli_header *header);

/* The string `key` of its __metadata__, or NULL. */
const char *cli_header_text(const struct cli_header *header, const char *key);

/* The object that a string of the metadata holds as JSON ("tiles", "not_predicted"), a new
 * reference; NULL if there is none. */
json_t *cli_json_in(const char *text);

/* The hypernetwork of a file of tensors, to be given back with ghn_model_unref; NULL for one that
 * holds others, such as a network's parameters. */
struct ghn_model;
enum ghn_status cli_model_of(const char *path, struct ghn_model **ret,
                             struct ghn_err *err) GHN_MUST_CHECK;

/* "25,557,032" and "97.5 MiB" into buf; both return buf. */
enum { CLI_NUMBER = 40 };
char *cli_count(int64_t n, char buf[CLI_NUMBER]);
char *cli_bytes(uint64_t n, char buf[CLI_NUMBER]);

/* A copy that is fit for a terminal and for JSON, whatever a file or its name held. The caller
 * frees it with free; NULL if there is no memory. */
char *cli_clean(const char *text);

/* The same as a JSON string, a new reference; NULL if there is no memory, or for NULL. */
json_t *cli_text_json(const char *text);

/* Prints JSON as json_dumps with `flags` writes it, and gives the reference back; NULL stands for a
 * value that there was no memory to make. Returns an exit code. */
int cli_print_json(json_t *json, size_t flags);

/* Escape sequences for bold and plain text, or "" where out is no terminal or NO_COLOR is set. */
const char *cli_bold(FILE *out);
const char *cli_plain(FILE *out);

#endif
