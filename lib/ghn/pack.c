/* Weights rearranged once for the kernels: what a kernel reads together lies together, rows are
 * padded with zeros to whole vectors. */
#include <string.h>

#include "ghn/pack.h"

struct ghn__dense ghn__pack_dense(struct ghn__space *space, const float *w, const float *bias,
                                  int in, int groups, int rows) {
    int padded = ghn__padded(rows), n = groups * padded;
    float *to = ghn__take_floats(space, (size_t)in * (size_t)n),
          *to_bias = ghn__take_floats(space, (size_t)n);
    struct ghn__dense dense = {to, to_bias, in, n};
    if (!to)
        return dense;
    memset(to, 0, (size_t)in * (size_t)n * sizeof(float));
    memset(to_bias, 0, (size_t)n * sizeof(float));
    for (int g = 0; g < groups; g++) {
        for (int r = 0; r < rows; r++) {
            size_t from = (size_t)g * (size_t)rows + (size_t)r, column = (size_t)(g * padded + r);
            to_bias[column] = bias[from];
            for (int k = 0; k < in; k++)
                to[(size_t)k * (size_t)n + column] = w[from * (size_t)in + (size_t)k];
        }
    }
    return dense;
}

struct ghn__dense ghn__pack_transposed(struct ghn__space *space, const float *w, int in, int groups,
                                       int rows) {
    int padded = ghn__padded(rows), n = ghn__padded(in);
    size_t size = (size_t)(groups * padded) * (size_t)n;
    float *to = ghn__take_floats(space, size);
    struct ghn__dense dense = {to, NULL, groups * padded, n};
    if (!to)
        return dense;
    memset(to, 0, size * sizeof(float));
    for (int g = 0; g < groups; g++)
        for (int r = 0; r < rows; r++)
            memcpy(to + (size_t)(g * padded + r) * (size_t)n,
                   w + (size_t)(g * rows + r) * (size_t)in, (size_t)in * sizeof(float));
    return dense;
}

/* Panel rows first, first + step, ... of w (rows_end, in) with their bias; rows beyond are zero. */
static void pack_panel(float *to, const float *w, const float *bias, int in, size_t first,
                       size_t step, size_t rows_end) {
    for (size_t r = 0; r < GHN__PANEL; r++) {
        size_t row = first + r * step;
        bool zero = row >= rows_end;
        for (size_t k = 0; k < (size_t)in; k++)
            to[k * GHN__PANEL + r] = zero ? 0.0f : w[row * (size_t)in + k];
        to[(size_t)in * GHN__PANEL + r] = zero ? 0.0f : bias[row];
    }
}

/* w (positions-minor rows (n, S * S), in) to (S * S, in, n padded). */
static void pack_fc(struct ghn__space *space, const struct ghn_model *model,
                    struct ghn__packed *packed) {
    size_t positions = (size_t)model->config.max_shape[2] * (size_t)model->config.max_shape[3];
    size_t in = (size_t)model->config.hid, rows = 4 * in;
    size_t n = (size_t)ghn__padded((int)rows);
    float *w = ghn__take_floats(space, positions * in * n),
          *bias = ghn__take_floats(space, positions * n);
    packed->fc_w = w;
    packed->fc_bias = bias;
    packed->fc_n = (int)n;
    if (!w)
        return;
    memset(w, 0, positions * in * n * sizeof(float));
    memset(bias, 0, positions * n * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        for (size_t p = 0; p < positions; p++) {
            size_t from = r * positions + p;
            bias[p * n + r] = model->tensors[GHN__FC_B][from];
            for (size_t k = 0; k < in; k++)
                w[(p * in + k) * n + r] = model->tensors[GHN__FC_W][from * in + k];
        }
    }
}

static void pack_conv(struct ghn__space *space, const struct ghn_model *model,
                      struct ghn__packed *packed) {
    const float *const *t = (const float *const *)model->tensors;
    size_t O = (size_t)model->config.max_shape[0], I = (size_t)model->config.max_shape[1];
    int wide = 4 * model->config.hid, wider = 8 * model->config.hid;
    size_t size0 = (size_t)(wide + 1) * GHN__PANEL, size2 = (size_t)(wider + 1) * GHN__PANEL;
    pack_fc(space, model, packed);
    packed->conv0_panels = wider / GHN__PANEL;
    packed->conv2_o_panels = (int)((O + GHN__PANEL - 1) / GHN__PANEL);
    float *conv0 = ghn__take_floats(space, (size_t)packed->conv0_panels * size0);
    float *conv2 = ghn__take_floats(space, (size_t)packed->conv2_o_panels * I * size2);
    packed->conv0 = (struct ghn__panels){conv0, wide + 1};
    packed->conv2 = (struct ghn__panels){conv2, wider + 1};
    if (!conv0)
        return;
    for (size_t p = 0; p < (size_t)packed->conv0_panels; p++)
        pack_panel(conv0 + p * size0, t[GHN__CONV0_W], t[GHN__CONV0_B], wide, p * GHN__PANEL, 1,
                   (size_t)wider);
    for (size_t p = 0; p < (size_t)packed->conv2_o_panels; p++)
        for (size_t i = 0; i < I; i++)
            pack_panel(conv2 + (p * I + i) * size2, t[GHN__CONV2_W], t[GHN__CONV2_B], wider,
                       p * GHN__PANEL * I + i, I, O * I);
}

/* The mlp decoder's last layer, (O * I, S * S) rows to (S * S, O * I). */
static void pack_mlp(struct ghn__space *space, const struct ghn_model *model,
                     struct ghn__packed *packed) {
    const float *const *t = (const float *const *)model->tensors;
    int hid = model->config.hid;
    size_t positions = (size_t)model->config.max_shape[2] * (size_t)model->config.max_shape[3];
    size_t rows = (size_t)model->config.max_shape[0] * (size_t)model->config.max_shape[1];
    size_t in = 2 * (size_t)hid;
    packed->mlp0 = ghn__pack_dense(space, t[GHN__MLP0_W], t[GHN__MLP0_B], hid, 1, 2 * hid);
    float *w = ghn__take_floats(space, positions * rows * in),
          *bias = ghn__take_floats(space, positions * rows);
    packed->mlp2_w = w;
    packed->mlp2_bias = bias;
    if (!w)
        return;
    for (size_t r = 0; r < rows; r++) {
        for (size_t p = 0; p < positions; p++) {
            bias[p * rows + r] = t[GHN__MLP2_B][r * positions + p];
            memcpy(w + (p * rows + r) * in, t[GHN__MLP2_W] + (r * positions + p) * in,
                   in * sizeof(float));
        }
    }
}

static void pack_gnn(struct ghn__space *space, const struct ghn_model *model,
                     struct ghn__packed *packed) {
    const float *const *t = (const float *const *)model->tensors;
    int h = model->config.hid, m = model->config.ve ? h / 2 : h;
    if (model->config.hypernet == GHN_MLP) {
        packed->node0 = ghn__pack_dense(space, t[GHN__NODE0_W], t[GHN__NODE0_B], h, 1, h);
        packed->node2 = ghn__pack_dense(space, t[GHN__NODE2_W], t[GHN__NODE2_B], h, 1, h);
        return;
    }
    packed->message0 = ghn__pack_dense(space, t[GHN__MSG0_W], t[GHN__MSG0_B], h, 1, m);
    packed->message2 = ghn__pack_dense(space, t[GHN__MSG2_W], t[GHN__MSG2_B], m, 1, h);
    packed->gru_in = ghn__pack_dense(space, t[GHN__GRU_IH_W], t[GHN__GRU_IH_B], h, 3, h);
    packed->gru_state = ghn__pack_dense(space, t[GHN__GRU_HH_W], t[GHN__GRU_HH_B], h, 3, h);
    if (!model->config.ve)
        return;
    packed->virtual0 = ghn__pack_dense(space, t[GHN__VE0_W], t[GHN__VE0_B], h, 1, m);
    packed->virtual2 = ghn__pack_dense(space, t[GHN__VE2_W], t[GHN__VE2_B], m, 1, h);
}

static void pack_all(struct ghn__space *space, const struct ghn_model *model,
                     struct ghn__packed *packed) {
    const float *const *t = (const float *const *)model->tensors;
    const int *max = model->config.max_shape;
    int h = model->config.hid, vector = max[0] > max[1] ? max[0] : max[1];
    packed->hid_padded = ghn__padded(h);
    pack_gnn(space, model, packed);
    packed->vector0 = ghn__pack_dense(space, t[GHN__D1_0_W], t[GHN__D1_0_B], h, 1, 2 * h);
    packed->vector2 = ghn__pack_dense(space, t[GHN__D1_2_W], t[GHN__D1_2_B], 2 * h, 2, vector);
    if (model->config.decoder == GHN_DECODER_CONV)
        pack_conv(space, model, packed);
    else
        pack_mlp(space, model, packed);
}

enum ghn_status ghn__pack(struct ghn_model *model, struct ghn_err *err) {
    struct ghn__space space = {NULL, 0};
    pack_all(&space, model, &model->packed);
    space = (struct ghn__space){ghn_malloc(space.used), 0};
    if (!space.base)
        return ghn_fail_memory(err);
    pack_all(&space, model, &model->packed);
    model->packed.storage = (float *)space.base;
    return GHN_OK;
}
