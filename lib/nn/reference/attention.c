/* attention, and the head of scaled dot-product attention that window_attention uses too. */
#include <math.h>

#include "nn/reference/op.h"

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Adds c x to y. */
static void add_scaled(double *y, double c, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        y[i] += c * x[i];
}

static void softmax_row(double *p, int64_t n) {
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, p[i]);
    for (int64_t i = 0; i < n; i++)
        sum += p[i] = exp(p[i] - largest);
    for (int64_t i = 0; i < n; i++)
        p[i] /= sum;
}

void ghn__reference_attend(const struct ghn__reference_head *head, double *o, int64_t o_stride) {
    int64_t tokens = head->tokens, d = head->d;
    for (int64_t i = 0; i < tokens; i++) {
        double *p = head->p + i * tokens;
        for (int64_t j = 0; j < tokens; j++)
            p[j] = head->scale * dot(head->q + i * head->stride, head->k + j * head->stride, d) +
                   (head->bias ? head->bias[i * tokens + j] : 0);
        softmax_row(p, tokens);
        for (int64_t c = 0; c < d; c++)
            o[i * o_stride + c] = 0;
        for (int64_t j = 0; j < tokens; j++)
            add_scaled(o + i * o_stride, p[j], head->v + j * head->stride, d);
    }
}

double ghn__reference_attend_backward(const struct ghn__reference_head *head, const double *d_o,
                                      int64_t o_stride, double *dq, double *dk, double *dv,
                                      double *ds) {
    int64_t tokens = head->tokens, d = head->d, stride = head->stride;
    double dscale = 0;
    for (int64_t i = 0; i < tokens; i++) {
        const double *p = head->p + i * tokens, *row = d_o + i * o_stride;
        double *s = ds + i * tokens, sum = 0;
        for (int64_t j = 0; j < tokens; j++) {
            add_scaled(dv + j * stride, p[j], row, d);
            s[j] = dot(row, head->v + j * stride, d);
            sum += p[j] * s[j];
        }
        for (int64_t j = 0; j < tokens; j++) {
            const double *q = head->q + i * stride, *k = head->k + j * stride;
            s[j] = p[j] * (s[j] - sum);
            dscale += s[j] * dot(q, k, d);
            add_scaled(dq + i * stride, head->scale * s[j], k, d);
            add_scaled(dk + j * stride, head->scale * s[j], q, d);
        }
    }
    return dscale;
}

int64_t ghn__reference_relative(int64_t i, int64_t j, int64_t h, int64_t w) {
    return (i / w - j / w + h - 1) * (2 * w - 1) + i % w - j % w + w - 1;
}

/* --- attention: (..., T, 3D) -> (..., T, D); the packed features are q | k | v, each head-major
 * ---
 */

struct sizes {
    int64_t tokens, width, d; /* T, D, and D / num_heads */
    int64_t sequences;        /* the batch times the leading dimensions */
};

static struct sizes sizes_of(const struct ghn__reference_site *site) {
    const struct ghn__reference_tensor *y = site->out;
    int64_t width = y->dims[y->ndim - 1], tokens = y->dims[y->ndim - 2];
    return (struct sizes){tokens, width, width / site->node->attrs.attention.num_heads,
                          y->count / (tokens * width)};
}

/* Scratch: p, ds and the bias of one head, (T, T) each. */
static int64_t attention_scratch(const struct ghn__reference_site *site) {
    int64_t tokens = sizes_of(site).tokens;
    return 3 * tokens * tokens;
}

static struct ghn__reference_head head_of(const struct ghn__reference_site *site,
                                          const struct sizes *s, int64_t sequence, int64_t h) {
    const struct ghn_attention_attrs *a = &site->node->attrs.attention;
    const double *q = site->in[0]->data + sequence * s->tokens * 3 * s->width + h * s->d;
    struct ghn__reference_head head = {.tokens = s->tokens,
                                       .d = s->d,
                                       .q = q,
                                       .k = q + s->width,
                                       .v = q + 2 * s->width,
                                       .stride = 3 * s->width,
                                       .scale = a->scale != 0 ? a->scale : pow((double)s->d, -0.5),
                                       .p = site->scratch};
    if (site->node->n_params == 0)
        return head;
    double *bias = site->scratch + 2 * s->tokens * s->tokens;
    for (int64_t i = 0; i < s->tokens; i++)
        for (int64_t j = 0; j < s->tokens; j++)
            bias[i * s->tokens + j] =
                site->params[0][ghn__reference_relative(i, j, a->relative_position[0],
                                                        a->relative_position[1]) *
                                    a->num_heads +
                                h];
    head.bias = bias;
    return head;
}

static void attention_forward(const struct ghn__reference_site *site) {
    struct sizes s = sizes_of(site);
    for (int64_t n = 0; n < s.sequences; n++)
        for (int64_t h = 0; h < site->node->attrs.attention.num_heads; h++) {
            struct ghn__reference_head head = head_of(site, &s, n, h);
            ghn__reference_attend(&head, site->out->data + n * s.tokens * s.width + h * s.d,
                                  s.width);
        }
}

static void head_backward(const struct ghn__reference_site *site, const struct sizes *s, int64_t n,
                          int64_t h) {
    const struct ghn_attention_attrs *a = &site->node->attrs.attention;
    struct ghn__reference_head head = head_of(site, s, n, h);
    int64_t tokens = s->tokens, at = n * tokens * s->width + h * s->d;
    double *ds = site->scratch + tokens * tokens;
    double *dq = site->in[0]->gradient + (head.q - site->in[0]->data);
    /* p again; what it gives is the output that is there already. */
    ghn__reference_attend(&head, site->out->data + at, s->width);
    (void)ghn__reference_attend_backward(&head, site->out->gradient + at, s->width, dq,
                                         dq + s->width, dq + 2 * s->width, ds);
    for (int64_t i = 0; i < tokens && head.bias; i++)
        for (int64_t j = 0; j < tokens; j++)
            site->dparams[0][ghn__reference_relative(i, j, a->relative_position[0],
                                                     a->relative_position[1]) *
                                 a->num_heads +
                             h] += ds[i * tokens + j];
}

static void attention_backward(const struct ghn__reference_site *site) {
    struct sizes s = sizes_of(site);
    for (int64_t n = 0; n < s.sequences; n++)
        for (int64_t h = 0; h < site->node->attrs.attention.num_heads; h++)
            head_backward(site, &s, n, h);
}

const struct ghn__reference_op ghn__reference_op_attention = {
    .forward = attention_forward, .backward = attention_backward, .scratch = attention_scratch};
