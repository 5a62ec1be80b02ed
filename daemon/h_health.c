/* GET /healthz: the process answers. GET /readyz: it wants requests. */
#include "request.h"

void ghnd_h_healthz(struct ghnd_request *request) {
    ghnd_reply_json(request, json_pack("{s:s}", "status", "ok"));
}

void ghnd_h_readyz(struct ghnd_request *request) {
    if (ghnd_app_life(request->app) != GHND_SERVING) {
        ghnd_problem_set(&request->problem, GHND_E_NOT_READY, "",
                         "the server is starting or about to stop");
        return;
    }
    const struct ghnd_snapshot *snapshot = request->snapshot;
    ghnd_reply_json(request,
                    json_pack("{s:s, s:i}", "status", "ready", "models", snapshot->n_models));
}
