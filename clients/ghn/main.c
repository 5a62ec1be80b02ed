/* ghn: the command line of the prediction service. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

struct command {
    const char *name;
    const char *summary;
    const char *help;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
#define COMMAND(symbol, summary) {#symbol, summary, cli_##symbol##_help, cli_##symbol},
#include "commands.def"
#undef COMMAND
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const struct command *find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_help(void) {
    puts("usage: ghn COMMAND [ARGUMENTS]\n"
         "\n"
         "Predicts the parameters of neural networks with a graph hypernetwork (GHN-2), and works\n"
         "with the files around it.\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].summary);
    puts("\n"
         "  ghn help COMMAND   how to use one of them\n"
         "  ghn --version      the version\n"
         "\n"
         "exit codes: 0 done; 1 it failed, and a line on standard error says why; 2 the command\n"
         "line is wrong.");
}

enum { MAX_NAME = 24 };

/* Levenshtein's distance of two names; beyond MAX_NAME they count as unlike. */
static size_t distance(const char *a, const char *b) {
    size_t row[MAX_NAME + 1], n = strlen(b);
    if (strlen(a) > MAX_NAME || n > MAX_NAME)
        return MAX_NAME;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            best = best < diagonal + 1 ? best : diagonal + 1;
            row[j + 1] = best < row[j] + 1 ? best : row[j] + 1;
        }
    }
    return row[n];
}

static int unknown_command(const char *name) {
    const struct command *nearest = &commands[0];
    for (size_t i = 1; i < N_COMMANDS; i++)
        if (distance(name, commands[i].name) < distance(name, nearest->name))
            nearest = &commands[i];
    if (distance(name, nearest->name) <= 2)
        return cli_usage(NULL, "there is no command '%s'; did you mean '%s'?", name, nearest->name);
    return cli_usage(NULL, "there is no command '%s'", name);
}

static int help(const char *name) {
    const struct command *command = name ? find(name) : NULL;
    if (name && !command)
        return unknown_command(name);
    if (command)
        fputs(command->help, stdout);
    else
        print_help();
    return CLI_OK;
}

/* What was printed may still be lost: to a full disk, or a reader that has gone. */
static int finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    int failed = cli_failf("standard output", NULL, "it could not be written");
    return code == CLI_OK ? failed : code;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return cli_usage(NULL, "a command is missing");
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return finish(help(argv[2]));
    if (strcmp(argv[1], "--version") == 0) {
        puts("ghn " GHN_VERSION);
        return finish(CLI_OK);
    }
    const struct command *command = find(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return cli_failf("libcurl", NULL, "it could not be started");
    int code = finish(command->run(argc - 1, argv + 1));
    curl_global_cleanup();
    return code;
}
