#include "accept.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

static const struct ghnd_media offers[] = {
    {"application/octet-stream", GHND_FORM_SAFETENSORS},
    {"application/safetensors", GHND_FORM_SAFETENSORS},
    {"application/x-safetensors", GHND_FORM_SAFETENSORS},
    {"application/vnd.safetensors", GHND_FORM_SAFETENSORS},
    {"application/vnd.ghn.blocks", GHND_FORM_BLOCKS},
    {"application/json", GHND_FORM_REPORT},
};

enum { N_OFFERS = sizeof(offers) / sizeof(offers[0]) };

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

/* How closely a range of n characters describes a type: 3 itself, 2 "application/ *", 1 anything, 0
 * not. */
static int specificity(const char *range, size_t n, const char *type) {
    if (n == 3 && memcmp(range, "*/*", 3) == 0)
        return 1;
    size_t slash = strcspn(type, "/");
    if (n == slash + 2 && range[n - 1] == '*' && strncasecmp(range, type, slash + 1) == 0)
        return 2;
    return n == strlen(type) && strncasecmp(range, type, n) == 0 ? 3 : 0;
}

/* The quality in thousandths that the parameters in [s, end) give; 1000 without a q. */
static int quality(const char *s, const char *end) {
    for (; s < end; s++) {
        if (*s != ';')
            continue;
        const char *p = s + 1;
        while (p < end && is_space(*p))
            p++;
        if (end - p < 2 || (*p != 'q' && *p != 'Q') || p[1] != '=')
            continue;
        p += 2;
        int thousandths = p < end && *p == '1' ? 1000 : 0;
        p++;
        if (p < end && *p == '.')
            for (int weight = 100; ++p < end && *p >= '0' && *p <= '9' && weight; weight /= 10)
                thousandths += (*p - '0') * weight;
        return thousandths < 1000 ? thousandths : 1000;
    }
    return 1000;
}

/* What a value of Accept says about one type: the quality and specificity of the range that
 * describes it most closely; specificity 0 if none does. */
static void rate(const char *value, const char *type, int *ret_quality, int *ret_specificity) {
    *ret_quality = *ret_specificity = 0;
    while (*value) {
        size_t n = strcspn(value, ",");
        const char *end = value + n, *start = value;
        while (start < end && is_space(*start))
            start++;
        const char *range_end = start;
        while (range_end < end && *range_end != ';' && !is_space(*range_end))
            range_end++;
        int found = specificity(start, (size_t)(range_end - start), type);
        if (found > *ret_specificity) {
            *ret_specificity = found;
            *ret_quality = quality(range_end, end);
        }
        value = *end ? end + 1 : end;
    }
}

const struct ghnd_media *ghnd_accept(const char *value) {
    if (!value || !*value)
        return &offers[0];
    const struct ghnd_media *best = NULL;
    int best_quality = 0, best_specificity = 0;
    for (int i = 0; i < N_OFFERS; i++) {
        int q, specific;
        rate(value, offers[i].type, &q, &specific);
        if (q > best_quality || (q > 0 && q == best_quality && specific > best_specificity)) {
            best = &offers[i];
            best_quality = q;
            best_specificity = specific;
        }
    }
    return best;
}

const char *ghnd_accept_offers(void) {
    return "application/octet-stream (safetensors), application/vnd.ghn.blocks and "
           "application/json";
}
