/* roll: each rolled dimension falls into two stretches, so that the whole is at most 2^k boxes
 * copied. */
#include "nn/box.h"

/* The whole shift of dimension dim that attributes `first` and after name; 0 if one before names it
 * too, as it has been rolled already. */
static int64_t shift_of(const struct ghn_roll_attrs *attrs, const struct ghn__tensor *x, int first,
                        int dim) {
    int64_t shift = 0;
    for (int i = 0; i < attrs->dims.n; i++) {
        bool same = ghn__dim(x, attrs->dims.at[i]) == dim;
        if (same && i < first)
            return 0;
        shift += same ? attrs->shifts.at[i] : 0;
    }
    return shift;
}

/* Copies `from` to `to`, rolled by `direction` times the shifts from attribute i on. */
static void roll(const struct ghn_roll_attrs *attrs, int i, const struct ghn__tensor *to,
                 const struct ghn__tensor *from, int direction, bool add) {
    if (i == attrs->dims.n) {
        ghn__copy(to, from, add);
        return;
    }
    int dim = ghn__dim(to, attrs->dims.at[i]);
    int64_t n = to->dims[dim], shift = direction * shift_of(attrs, to, i, dim) % n;
    if (shift < 0)
        shift += n;
    struct ghn__tensor to_box = ghn__box(to, dim, shift, n - shift, 1),
                       from_box = ghn__box(from, dim, 0, n - shift, 1);
    roll(attrs, i + 1, &to_box, &from_box, direction, add);
    if (shift == 0)
        return;
    to_box = ghn__box(to, dim, 0, shift, 1);
    from_box = ghn__box(from, dim, n - shift, shift, 1);
    roll(attrs, i + 1, &to_box, &from_box, direction, add);
}

static enum ghn_status forward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    roll(&site->node->attrs.roll, 0, &site->out, &site->in[0], 1, false);
    return GHN_OK;
}

static enum ghn_status backward(struct ghn__site *site, struct ghn_err *err) {
    (void)err;
    if (site->din[0].data)
        roll(&site->node->attrs.roll, 0, &site->din[0], &site->dout, -1, site->add[0]);
    return GHN_OK;
}

const struct ghn__layer ghn__layer_roll = {
    .order = GHN__SAME, .forward = forward, .backward = backward};
