#include "base/status.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

struct status_text {
    const char *code;
    const char *meaning;
};

static const struct status_text texts[] = {
#define GHN_STATUS(name, id, code, meaning) [id] = {code, meaning},
#include "base/status.def"
#undef GHN_STATUS
};

static const struct status_text *text_of(enum ghn_status status) {
    size_t i = (size_t)status;
    if (i >= sizeof(texts) / sizeof(texts[0]) || !texts[i].code)
        i = GHN_INTERNAL;
    return &texts[i];
}

void ghn_record(struct ghn_err *err, enum ghn_status status, const char *where, const char *format,
                ...) {
    if (!err || err->status != GHN_OK)
        return;
    err->status = status;
    (void)snprintf(err->where, sizeof(err->where), "%s", where ? where : "");
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    ghn_utf8_sanitise(err->where);
    ghn_utf8_sanitise(err->message);
}

const char *ghn_status_code(enum ghn_status status) {
    return text_of(status)->code;
}

const char *ghn_status_meaning(enum ghn_status status) {
    return text_of(status)->meaning;
}
