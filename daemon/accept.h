/* Content negotiation of POST /predict (RFC 9110, section 12.5.1). */
#ifndef GHND_ACCEPT_H
#define GHND_ACCEPT_H

#include <stdbool.h>

enum ghnd_form { GHND_FORM_SAFETENSORS, GHND_FORM_BLOCKS, GHND_FORM_REPORT };

/* A media type that is offered. */
struct ghnd_media {
    const char *type;
    enum ghnd_form form;
};

/* The offer that a value of Accept likes best: highest quality, then most specific, then our own
 * order, of which the first is also the answer to NULL and "". NULL if it takes none. */
const struct ghnd_media *ghnd_accept(const char *value);

/* The media types that are offered, for messages. */
const char *ghnd_accept_offers(void);

#endif
