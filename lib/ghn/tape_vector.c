/* One-dimensional parameters (ghn2-spec C5, C6, C8) and their gradients.
 *
 * Lock rule: a task has ROWS rows of the 1-D decoder and the vectors made of them; one for each of
 * the layers' gradients afterwards. */
#include <string.h>

#include "ghn/rows.h"
#include "ghn/tape_impl.h"

enum { ROWS = 64 }; /* of a task */

struct work {
    const struct ghn_hypernet *h;
    struct ghn_tape *tape;
    size_t hid, width; /* width: of one of the two rows that an embedding gives */
};

static struct work work_init(const struct ghn_hypernet *h, struct ghn_tape *tape) {
    const int *max = h->config.max_shape;
    return (struct work){h, tape, (size_t)h->config.hid,
                         (size_t)(max[0] > max[1] ? max[0] : max[1])};
}

static struct ghn__rows weight_of(const struct work *work, float *const *tensors,
                                  enum ghn__tensor_id id) {
    return (struct ghn__rows){tensors[id], (size_t)work->h->specs[id].shape.dim[1]};
}

/* Rows [first, end) of a task. */
static void task_rows(const struct work *work, int task, size_t *first, size_t *end) {
    size_t n_rows = (size_t)work->tape->n_rows;
    *first = (size_t)task * ROWS;
    *end = *first + ROWS < n_rows ? *first + ROWS : n_rows;
}

static int n_tasks(const struct work *work) {
    return (work->tape->n_rows + ROWS - 1) / ROWS;
}

/* The first vector of row `row` or later ones; vectors are in the order of their rows. */
static int first_vector(const struct ghn_tape *tape, size_t row) {
    int low = 0, high = tape->n_vectors;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((size_t)tape->vectors[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where a vector's values lie among the decoder's, or their gradients among those. */
static float *source_of(const struct work *work, const struct ghn__tape_vector *vector,
                        float *rows) {
    return rows +
           ((size_t)vector->row * 2 + (vector->maker != GHN__MAKE_NORM_WEIGHT)) * work->width;
}

/* --- Forward --- */

static void make_class_bias(const struct work *work, struct ghn__tape_vector *vector,
                            const float *source) {
    const float *weight = work->h->tensors[GHN__CLASS_BIAS_W];
    for (size_t k = 0; k < (size_t)vector->n; k++) {
        float sum = work->h->tensors[GHN__CLASS_BIAS_B][k];
        for (size_t j = 0; j < work->width; j++)
            sum += source[j] <= 0.0f ? 0.0f : weight[k * work->width + j] * source[j];
        vector->values[k] = sum;
    }
}

static void make_vector(const struct work *work, struct ghn__tape_vector *vector) {
    const struct ghn__kernels *kernels = work->h->kernels;
    size_t n = (size_t)vector->n, padded = (size_t)ghn__padded(vector->n);
    const float *source = source_of(work, vector, work->tape->rows);
    memset(vector->values + n, 0, (padded - n) * sizeof(float));
    memset(vector->gradient, 0, padded * sizeof(float));
    if (vector->maker == GHN__MAKE_CLASS_BIAS)
        make_class_bias(work, vector, source);
    else
        memcpy(vector->values, source, n * sizeof(float));
    if (!work->h->config.weight_norm)
        return;
    if (vector->maker == GHN__MAKE_NORM_WEIGHT)
        kernels->squash_norm(vector->values, (int)padded);
    else
        kernels->squash_bias(vector->values, (int)padded);
}

static void forward_task(void *context, int task) {
    const struct work *work = context;
    struct ghn_tape *tape = work->tape;
    float *const *t = work->h->tensors;
    size_t hid = work->hid, width = work->width, first, end;
    task_rows(work, task, &first, &end);
    for (size_t r = first; r < end; r++)
        memcpy(tape->rows_e + r * hid, tape->embeddings + tape->row_node[r] * hid,
               hid * sizeof(float));
    struct ghn__rows e = ghn__rows_from(tape->rows_e, hid, first);
    struct ghn__rows hidden = ghn__rows_from(tape->rows_hidden, 2 * hid, first);
    struct ghn__rows rows = ghn__rows_from(tape->rows, 2 * width, first);
    size_t n = end - first;
    ghn__rows_linear(hidden, e, weight_of(work, t, GHN__D1_0_W), n, 2 * hid, hid);
    ghn__rows_add_bias(hidden, t[GHN__D1_0_B], 1, n, 2 * hid, true);
    ghn__rows_linear(rows, hidden, weight_of(work, t, GHN__D1_2_W), n, 2 * width, 2 * hid);
    ghn__rows_add_bias(rows, t[GHN__D1_2_B], 1, n, 2 * width, false);
    for (int v = first_vector(tape, first), last = first_vector(tape, end); v < last; v++)
        make_vector(work, &tape->vectors[v]);
}

void ghn__tape_vectors(const struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool) {
    struct work work = work_init(h, tape);
    ghn_pool_run(pool, n_tasks(&work), forward_task, &work);
}

/* --- Backward --- */

/* Turns the gradient of a vector's squashed values into that of what was squashed. */
static void unsquash(const struct work *work, struct ghn__tape_vector *vector) {
    if (!work->h->config.weight_norm)
        return;
    for (int j = 0; j < vector->n; j++) {
        float y = vector->values[j];
        vector->gradient[j] *=
            vector->maker == GHN__MAKE_NORM_WEIGHT ? 0.25f * y * (2.0f - y) : 0.2f * (1.0f - y * y);
    }
}

static void vector_back(const struct work *work, struct ghn__tape_vector *vector) {
    const float *source = source_of(work, vector, work->tape->rows);
    float *d = source_of(work, vector, work->tape->d_rows);
    unsquash(work, vector);
    if (vector->maker != GHN__MAKE_CLASS_BIAS) {
        for (int j = 0; j < vector->n; j++)
            d[j] += vector->gradient[j];
        return;
    }
    const float *weight = work->h->tensors[GHN__CLASS_BIAS_W];
    for (size_t k = 0; k < (size_t)vector->n; k++)
        for (size_t j = 0; j < work->width; j++)
            d[j] += source[j] > 0.0f ? weight[k * work->width + j] * vector->gradient[k] : 0.0f;
}

static void backward_task(void *context, int task) {
    const struct work *work = context;
    struct ghn_tape *tape = work->tape;
    float *const *t = work->h->tensors;
    size_t hid = work->hid, width = work->width, first, end;
    task_rows(work, task, &first, &end);
    size_t n = end - first;
    struct ghn__rows d = ghn__rows_from(tape->d_rows, 2 * width, first);
    struct ghn__rows d_hidden = ghn__rows_from(tape->d_rows_hidden, 2 * hid, first);
    memset(d.data, 0, n * 2 * width * sizeof(float));
    for (int v = first_vector(tape, first), last = first_vector(tape, end); v < last; v++)
        vector_back(work, &tape->vectors[v]);
    ghn__rows_linear_back(d_hidden, d, weight_of(work, t, GHN__D1_2_W), n, 2 * width, 2 * hid,
                          false);
    ghn__rows_relu_back(d_hidden, ghn__rows_from(tape->rows_hidden, 2 * hid, first), n, 2 * hid);
    ghn__rows_linear_back(ghn__rows_from(tape->d_rows_e, hid, first), d_hidden,
                          weight_of(work, t, GHN__D1_0_W), n, 2 * hid, hid, false);
}

/* The gradient of the classifier's bias head. */
static void class_bias_gradient(const struct work *work) {
    float *weight = work->h->gradients[GHN__CLASS_BIAS_W];
    for (int v = 0; v < work->tape->n_vectors; v++) {
        const struct ghn__tape_vector *vector = &work->tape->vectors[v];
        if (vector->maker != GHN__MAKE_CLASS_BIAS)
            continue;
        const float *source = source_of(work, vector, work->tape->rows);
        for (size_t k = 0; k < (size_t)vector->n; k++) {
            float d = vector->gradient[k];
            work->h->gradients[GHN__CLASS_BIAS_B][k] += d;
            for (size_t j = 0; j < work->width; j++)
                weight[k * work->width + j] += source[j] > 0.0f ? d * source[j] : 0.0f;
        }
    }
}

/* The gradients of the decoder's layers, of which number 2 is the classifier's head. */
static void gradient_task(void *context, int layer) {
    const struct work *work = context;
    struct ghn_tape *tape = work->tape;
    float *const *g = work->h->gradients;
    size_t hid = work->hid, width = work->width, n = (size_t)tape->n_rows;
    struct ghn__rows hidden = ghn__rows_from(tape->rows_hidden, 2 * hid, 0);
    struct ghn__rows d_hidden = ghn__rows_from(tape->d_rows_hidden, 2 * hid, 0);
    struct ghn__rows d = ghn__rows_from(tape->d_rows, 2 * width, 0);
    if (layer == 0) {
        ghn__rows_linear_gradient(weight_of(work, g, GHN__D1_2_W), d, hidden, n, 2 * width,
                                  2 * hid);
        ghn__rows_bias_gradient(g[GHN__D1_2_B], 1, d, n, 2 * width);
    } else if (layer == 1) {
        ghn__rows_linear_gradient(weight_of(work, g, GHN__D1_0_W), d_hidden,
                                  ghn__rows_from(tape->rows_e, hid, 0), n, 2 * hid, hid);
        ghn__rows_bias_gradient(g[GHN__D1_0_B], 1, d_hidden, n, 2 * hid);
    } else {
        class_bias_gradient(work);
    }
}

void ghn__tape_vectors_back(struct ghn_hypernet *h, struct ghn_tape *tape, struct ghn_pool *pool) {
    struct work work = work_init(h, tape);
    if (tape->n_rows == 0)
        return;
    ghn_pool_run(pool, n_tasks(&work), backward_task, &work);
    ghn_pool_run(pool, 3, gradient_task, &work);
    for (size_t r = 0; r < (size_t)tape->n_rows; r++)
        for (size_t j = 0; j < work.hid; j++)
            tape->d_embeddings[tape->row_node[r] * work.hid + j] +=
                tape->d_rows_e[r * work.hid + j];
}
