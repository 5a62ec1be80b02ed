/* GET /openapi.json: proto/openapi.json as it was when the daemon was built. */
#include "openapi_text.h"
#include "request.h"

void ghnd_h_openapi(struct ghnd_request *request) {
    request->reply = (struct ghnd_reply){.status = 200,
                                         .type = "application/json",
                                         .fixed = ghnd_openapi_text,
                                         .size = ghnd_openapi_size};
}
