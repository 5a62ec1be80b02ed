/* ghn health: for people, container health checks and scripts. */
#include <stdio.h>

#include "cli.h"
#include "http.h"

const char cli_health_help[] =
    "usage: ghn health [--server URL] [--live] [--quiet]\n"
    "\n"
    "Asks a server whether it is ready to predict (GET /readyz); the exit code is 0 if it is, 1 "
    "if\n"
    "it is not or there is no answer.\n"
    "\n"
    "  --server URL   http://127.0.0.1:8080, or what GHN_SERVER says\n"
    "  --live         only whether it is alive (GET /healthz), ready or not\n"
    "  --quiet        say nothing\n";

int cli_health(int argc, char **argv) {
    const char *server = NULL;
    bool live = false, quiet = false;
    const struct cli_option options[] = {{.name = "server", .text = &server},
                                         {.name = "live", .flag = &live},
                                         {.name = "quiet", .letter = 'q', .flag = &quiet}};
    int first, code;
    if (!cli_options(argc, argv, options, 3, cli_health_help, 0, 0, &first, &code))
        return code;
    const struct cli_http http = {
        .server = cli_server(server), .path = live ? "/healthz" : "/readyz", .silence = 10};
    struct ghn_err err = GHN_ERR_INIT;
    struct cli_output output;
    long http_code;
    enum ghn_status status = cli_output_open(&output, NULL, false, &err);
    if (status == GHN_OK)
        status = cli_http_request(&http, &output, &http_code, &err);
    if (status == GHN_OK && !quiet)
        printf("%s is %s\n", http.server, live ? "alive" : "ready");
    if (status == GHN_OK)
        return CLI_OK;
    return quiet ? CLI_FAILED : cli_fail(&err, NULL);
}
