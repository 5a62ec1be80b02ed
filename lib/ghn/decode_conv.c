/* The convolutional decoder. Every position (y, x) of every weight is a column through the same
 * three layers,
 *
 *   a = ReLU(fc[position] e)    (4 hid)     e: the node's embedding
 *   b = ReLU(conv0 a)           (8 hid)
 *   W[.][.][position] = conv2 b (O * I),
 *
 * so columns of all the weights of a network stand side by side in tiles of up to 48 lanes, and the
 * large weights of conv2 are read once a batch of tiles for all of them. A weight's scale goes into
 * b (conv2 is linear), its bias into one more row of b. Results leave the tiles straight for their
 * places in the blocks.
 *
 * Lock rule: a task writes what no other task touches. In the first step that is a tile's columns
 * of b, in the second the rows o .. o + 7, i .. i + 15 of every block. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ghn/decode.h"

enum {
    TILES_MAX = 64,  /* of a batch; bounds the scratch memory at about 5 MB for hid = 32 */
    I_OF_A_TASK = 16 /* panels that a task keeps in the cache while it goes over the tiles */
};

/* A column: a position of a job. */
struct lane {
    const struct ghn__weight_job *job;
    int position;
};

struct tile {
    int n_lanes, width; /* width: n_lanes rounded up to whole vectors */
    int O, I;           /* the most rows that any of its segments needs */
    int n_segments;
    struct lane lanes[GHN__LANES];
    struct ghn__segment segments[GHN__LANES];
    float *a; /* (4 hid + 1, width); the last row is ones */
    float *b; /* (8 hid + 1, width); the last row is the scales */
};

struct batch {
    const struct ghn_model *model;
    int n_tiles;
    struct tile *tiles;
    float *scratch; /* the tiles' a and b */
};

/* --- Cutting jobs into tiles --- */

static int n_positions(const struct ghn__weight_job *job) {
    return job->height * job->width;
}

/* Larger blocks first, so that tiles hold blocks of one size: what a tile's rows are computed for
 * is its largest block. */
static int by_size(const void *x, const void *y) {
    const struct ghn__weight_job *a = *(const struct ghn__weight_job *const *)x;
    const struct ghn__weight_job *b = *(const struct ghn__weight_job *const *)y;
    if (a->O != b->O)
        return a->O > b->O ? -1 : 1;
    if (a->I != b->I)
        return a->I > b->I ? -1 : 1;
    return (a > b) - (a < b);
}

/* How many lanes of a job a tile may still take: any number if the job's rows are the tile's, else
 * what is free in the last vector, which costs nothing. */
static int room(const struct tile *tile, const struct ghn__weight_job *job) {
    if (tile->n_lanes == 0 || (job->O == tile->O && job->I == tile->I))
        return GHN__LANES - tile->n_lanes;
    return job->O <= tile->O && job->I <= tile->I ? tile->width - tile->n_lanes : 0;
}

static void add_lanes(struct tile *tile, const struct ghn__weight_job *job, int position, int n) {
    if (tile->n_lanes == 0) {
        tile->O = job->O;
        tile->I = job->I;
    }
    tile->segments[tile->n_segments++] = (struct ghn__segment){.dst = job->dst + position,
                                                               .lane = tile->n_lanes,
                                                               .n = n,
                                                               .O = job->O,
                                                               .I = job->I,
                                                               .P = n_positions(job)};
    for (int i = 0; i < n; i++)
        tile->lanes[tile->n_lanes++] = (struct lane){job, position + i};
    tile->width = ghn__padded(tile->n_lanes);
}

/* Where the cutting stands: the next position of sorted job `job`. */
struct cursor {
    const struct ghn__weight_job **jobs;
    int n_jobs, job, position;
};

/* Fills the tiles of a batch from the cursor on. */
static void fill_batch(struct batch *batch, struct cursor *at) {
    batch->n_tiles = 0;
    struct tile *tile = NULL;
    while (at->job < at->n_jobs) {
        const struct ghn__weight_job *job = at->jobs[at->job];
        int left = n_positions(job) - at->position;
        int n = tile ? room(tile, job) : 0;
        if (n == 0) {
            if (batch->n_tiles == TILES_MAX)
                return;
            tile = &batch->tiles[batch->n_tiles++];
            tile->n_lanes = tile->n_segments = tile->width = 0;
            n = GHN__LANES;
        }
        n = n < left ? n : left;
        add_lanes(tile, job, at->position, n);
        at->position += n;
        if (at->position == n_positions(job)) {
            at->job++;
            at->position = 0;
        }
    }
}

/* --- The steps --- */

/* b of tile number t: fc and conv0 for each of its lanes. */
static void make_columns(void *context, int t) {
    const struct batch *batch = context;
    const struct ghn_model *model = batch->model;
    const struct ghn__packed *packed = &model->packed;
    const struct tile *tile = &batch->tiles[t];
    size_t width = (size_t)tile->width, hid = (size_t)model->config.hid;
    size_t fc_n = (size_t)packed->fc_n, n_a = 4 * hid, n_b = 8 * hid;
    int side = model->config.max_shape[3];
    memset(tile->a, 0, n_a * width * sizeof(float));
    float *column = tile->b; /* as long as b is not made yet */
    for (int l = 0; l < tile->n_lanes; l++) {
        const struct lane *lane = &tile->lanes[l];
        int y = lane->position / lane->job->width, x = lane->position % lane->job->width;
        size_t p = (size_t)(y * side + x);
        model->kernels->dense(column, lane->job->embedding, packed->fc_w + p * hid * fc_n,
                              packed->fc_bias + p * fc_n, (int)hid, (int)fc_n);
        for (size_t c = 0; c < n_a; c++)
            tile->a[c * width + (size_t)l] = column[c];
    }
    model->kernels->relu(tile->a, NULL, (int)n_a, tile->width);
    float *scales = tile->b + n_b * width;
    for (size_t l = 0; l < width; l++) {
        tile->a[n_a * width + l] = 1.0f;
        scales[l] = l < (size_t)tile->n_lanes ? tile->lanes[l].job->scale : 0.0f;
    }
    for (int p = 0; p < packed->conv0_panels; p++) {
        float *rows = tile->b + (size_t)(p * GHN__PANEL) * width;
        model->kernels->panel(rows,
                              packed->conv0.a + (size_t)p * (size_t)packed->conv0.k * GHN__PANEL,
                              tile->a, packed->conv0.k, tile->width);
        model->kernels->relu(rows, scales, GHN__PANEL, tile->width);
    }
}

/* Number of tasks that the I inputs of a row of panels are cut into. */
static int tasks_of_row(const struct ghn_model *model) {
    return (model->config.max_shape[1] + I_OF_A_TASK - 1) / I_OF_A_TASK;
}

/* Rows o .. o + 7, i .. i + 15 of every block of the batch. */
static void make_rows(void *context, int task) {
    const struct batch *batch = context;
    const struct ghn_model *model = batch->model;
    const struct ghn__panels *conv2 = &model->packed.conv2;
    int I = model->config.max_shape[1];
    int o_panel = task / tasks_of_row(model), o = o_panel * GHN__PANEL;
    int first = task % tasks_of_row(model) * I_OF_A_TASK;
    float c[GHN__PANEL * GHN__LANES] __attribute__((aligned(GHN_ALIGN)));
    for (int t = 0; t < batch->n_tiles; t++) {
        const struct tile *tile = &batch->tiles[t];
        int end = first + I_OF_A_TASK < tile->I ? first + I_OF_A_TASK : tile->I;
        if (o >= tile->O)
            continue;
        for (int i = first; i < end; i++) {
            size_t panel = (size_t)o_panel * (size_t)I + (size_t)i;
            model->kernels->panel(c, conv2->a + panel * (size_t)conv2->k * GHN__PANEL, tile->b,
                                  conv2->k, tile->width);
            model->kernels->store(tile->segments, tile->n_segments, c, tile->width, o, i);
        }
    }
}

/* --- */

/* The most tiles that a batch of those jobs has. */
static int count_tiles(const struct ghn__weight_job *jobs, int n_jobs) {
    int64_t n = 0;
    for (int j = 0; j < n_jobs && n < TILES_MAX; j++)
        n += n_positions(&jobs[j]) / GHN__LANES + 1;
    return n < TILES_MAX ? (int)n : TILES_MAX;
}

static enum ghn_status batch_init(struct batch *batch, const struct ghn_model *model, int n_tiles,
                                  struct ghn_err *err) {
    size_t rows_a = (size_t)model->packed.conv0.k, rows_b = (size_t)model->packed.conv2.k;
    size_t tile_size = (rows_a + rows_b) * GHN__LANES;
    batch->model = model;
    batch->tiles = ghn_calloc((size_t)n_tiles, sizeof(*batch->tiles));
    batch->scratch = ghn_malloc((size_t)n_tiles * tile_size * sizeof(float));
    if (!batch->tiles || !batch->scratch)
        return ghn_fail_memory(err);
    for (int t = 0; t < n_tiles; t++) {
        batch->tiles[t].a = batch->scratch + (size_t)t * tile_size;
        batch->tiles[t].b = batch->tiles[t].a + rows_a * GHN__LANES;
    }
    return GHN_OK;
}

enum ghn_status ghn__decode_conv(const struct ghn_model *model, const struct ghn__weight_job *jobs,
                                 int n_jobs, struct ghn_pool *pool, struct ghn_err *err) {
    if (n_jobs == 0)
        return GHN_OK;
    struct batch batch = {0};
    struct cursor at = {.n_jobs = n_jobs, .jobs = ghn_calloc((size_t)n_jobs, sizeof(*at.jobs))};
    enum ghn_status status = batch_init(&batch, model, count_tiles(jobs, n_jobs), err);
    if (status == GHN_OK && !at.jobs)
        status = ghn_fail_memory(err);
    if (status != GHN_OK)
        goto done;
    for (int j = 0; j < n_jobs; j++)
        at.jobs[j] = &jobs[j];
    qsort(at.jobs, (size_t)n_jobs, sizeof(*at.jobs), by_size);
    while (at.job < n_jobs) {
        fill_batch(&batch, &at);
        ghn_pool_run(pool, batch.n_tiles, make_columns, &batch);
        ghn_pool_run(pool, model->packed.conv2_o_panels * tasks_of_row(model), make_rows, &batch);
    }
done:
    ghn_free(batch.scratch);
    ghn_free(batch.tiles);
    ghn_free(at.jobs);
    return status;
}

enum ghn_status ghn__decode_conv_ref(const struct ghn_model *model,
                                     const struct ghn__weight_job *job, struct ghn_err *err) {
    const float *const *t = (const float *const *)model->tensors;
    int hid = model->config.hid, I = model->config.max_shape[1], S = model->config.max_shape[2];
    double *a = ghn_malloc((size_t)(12 * hid) * sizeof(double)), *b = a + 4 * hid;
    if (!a)
        return ghn_fail_memory(err);
    for (int p = 0; p < n_positions(job); p++) {
        int position = p / job->width * S + p % job->width;
        for (int c = 0; c < 4 * hid; c++) {
            int row = c * S * S + position;
            a[c] = (double)t[GHN__FC_B][row];
            for (int k = 0; k < hid; k++)
                a[c] += (double)t[GHN__FC_W][row * hid + k] * (double)job->embedding[k];
            a[c] = fmax(a[c], 0.0);
        }
        for (int c = 0; c < 8 * hid; c++) {
            b[c] = (double)t[GHN__CONV0_B][c];
            for (int k = 0; k < 4 * hid; k++)
                b[c] += (double)t[GHN__CONV0_W][c * 4 * hid + k] * a[k];
            b[c] = fmax(b[c], 0.0);
        }
        for (int r = 0; r < job->O * job->I; r++) {
            int row = r / job->I * I + r % job->I;
            double w = (double)t[GHN__CONV2_B][row];
            for (int k = 0; k < 8 * hid; k++)
                w += (double)t[GHN__CONV2_W][row * 8 * hid + k] * b[k];
            job->dst[r * n_positions(job) + p] = (float)(w * (double)job->scale);
        }
    }
    ghn_free(a);
    return GHN_OK;
}
