#include "nn/weight_gradient.h"

#include <string.h>

#include "base/mem.h"
#include "nn/parallel.h"

enum {
    ROWS = GHN__PAIR_ROWS,
    COLUMNS = GHN__PAIR_COLUMNS,
    TILE = ROWS * COLUMNS,
    LINE = 16, /* words of a cache line: one lies between panels, so that they don't all begin in
                  the same set of a cache */
    PACKED_WORDS = 96 * 1024, /* of inputs: within the level 2 cache; and at most, of one image */
    MOST_WORDS = 1024 * 1024,
};

struct ghn__weight_gradient {
    const struct ghn__pair_kernels *kernels;
    struct ghn__conv_spec spec;
    int64_t taps;
    int64_t pairs;         /* of a row of outputs */
    int64_t panels;        /* of GHN__PAIR_ROWS output channels */
    int64_t stripes;       /* of GHN__PAIR_COLUMNS input channels ... */
    int64_t shares;        /* ... each worked on in so many shares of the output channels */
    int64_t chunk;         /* images whose inputs are packed at a time */
    int64_t workers;       /* and what each needs: */
    int64_t words, floats; /* packed inputs, sums */
    int64_t panel_words;   /* a panel of packed outputs' gradients, which all workers share */
};

static int64_t divided_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Words of the packed inputs of one image and stripe. */
static int64_t image_words(const struct ghn__conv_spec *spec) {
    return spec->kernel[1] * spec->in[0] * divided_up(spec->out[1], 2) * COLUMNS;
}

/* Measured on a Zen 5, one thread and two. What packing costs is little beside the products of a
 * kernel of several taps: those come to 1 to 3.5 times oneDNN's speed, but for channels that leave
 * a quarter of a stripe empty, and images of 224 x 224. Those of a 1x1 kernel do on small maps,
 * where oneDNN is slowest. There has to be work for every thread. */
static bool is_faster(const struct ghn__conv_spec *spec) {
    int64_t stripes = divided_up(spec->in_channels, COLUMNS), panels = spec->out_channels / ROWS;
    if (4 * spec->in_channels <= 3 * stripes * COLUMNS || panels < 2 ||
        stripes * panels < ghn__parallel_threads() || image_words(spec) > MOST_WORDS)
        return false;
    return spec->kernel[0] * spec->kernel[1] > 1 ||
           (spec->out[0] * spec->out[1] <= 64 && spec->in_channels >= 2 * COLUMNS);
}

bool ghn__weight_gradient_suits(const struct ghn__conv_spec *spec) {
    return spec->dtype == GHN_BF16 && spec->groups == 1 && !spec->bias && spec->training &&
           ghn__dnnl_has_bf16() && !ghn__dnnl_has_amx() && is_faster(spec);
}

/* --- Making --- */

/* Shares of the output channels, so that all workers have as many stripes' shares to do, if the
 * panels suffice for that; every share packs the inputs for itself. */
static int64_t shares_for(int64_t stripes, int64_t panels, int64_t workers) {
    int64_t shares = 1;
    while (shares < panels && stripes * shares % workers != 0 && stripes * shares < 8 * workers)
        shares++;
    return shares;
}

enum ghn_status ghn__weight_gradient_new(const struct ghn__conv_spec *spec,
                                         const struct ghn__pair_kernels *kernels,
                                         struct ghn__weight_gradient **ret, struct ghn_err *err) {
    struct ghn__weight_gradient *g = ghn_calloc(1, sizeof *g);
    if (!g)
        return ghn_fail_memory(err);
    *g = (struct ghn__weight_gradient){.kernels = kernels,
                                       .spec = *spec,
                                       .taps = spec->kernel[0] * spec->kernel[1],
                                       .pairs = divided_up(spec->out[1], 2),
                                       .panels = divided_up(spec->out_channels, ROWS),
                                       .stripes = divided_up(spec->in_channels, COLUMNS),
                                       .workers = ghn__parallel_threads()};
    int64_t image = image_words(spec), most = PACKED_WORDS / image;
    int64_t chunks = divided_up(spec->batch, most > 0 ? most : 1);
    g->chunk = divided_up(spec->batch, chunks);
    g->shares = shares_for(g->stripes, g->panels, g->workers);
    g->words = g->chunk * image;
    g->floats = divided_up(g->panels, g->shares) * g->taps * TILE;
    g->panel_words = divided_up(spec->batch * spec->out[0] * g->pairs * ROWS, LINE) * LINE + LINE;
    *ret = g;
    return GHN_OK;
}

void ghn__weight_gradient_free(struct ghn__weight_gradient *gradient) {
    ghn_free(gradient);
}

size_t ghn__weight_gradient_scratch_bytes(const struct ghn__weight_gradient *g) {
    return (size_t)(g->panels * g->panel_words + g->workers * (g->words + g->floats)) *
           sizeof(uint32_t);
}

/* --- Running --- */

struct call {
    const struct ghn__weight_gradient *g;
    const uint16_t *src, *ddst;
    float *dweights;
    uint32_t *outputs, *inputs; /* packed, in scratch; inputs: of worker 0 */
    float *sums;                /* of worker 0 */
};

/* Packs `rows` rows of pixels; as one, where no pair has pixels of two rows and none is outside. */
static void pack_rows(const struct call *call, struct ghn__pixel_row row, int64_t rows, int panel,
                      int64_t step, uint32_t *ret) {
    int64_t pairs = row.pairs, next = row.width * row.pitch;
    if (row.start == 0 && row.step == 1 && 2 * pairs == row.width) {
        row.pairs *= rows;
        row.width *= rows;
        rows = 1;
    }
    for (int64_t y = 0; y < rows; y++, row.x += next)
        call->g->kernels->interleave(ret + y * pairs * panel, panel, step, &row);
}

/* Images [begin, end) of ddst into panels. */
static void pack_outputs(void *context, int64_t begin, int64_t end) {
    const struct call *call = context;
    const struct ghn__weight_gradient *g = call->g;
    const struct ghn__conv_spec *s = &g->spec;
    const struct ghn__pixel_row row = {.x = call->ddst,
                                       .pitch = s->out_channels,
                                       .channels = s->out_channels,
                                       .width = s->out[1],
                                       .step = 1,
                                       .pairs = g->pairs};
    for (int64_t i = begin; i < end; i++) {
        struct ghn__pixel_row of = row;
        of.x += i * s->out[0] * s->out[1] * s->out_channels;
        pack_rows(call, of, s->out[0], ROWS, g->panel_words,
                  call->outputs + i * s->out[0] * g->pairs * ROWS);
    }
}

/* Inputs of one stripe of channels and `images` images from the first on, (kw, images, H, pairs,
 * GHN__PAIR_COLUMNS): what the outputs of a row meet under each column of the kernel. */
static void pack_inputs(const struct call *call, int64_t stripe, int64_t first, int64_t images,
                        uint32_t *ret) {
    const struct ghn__weight_gradient *g = call->g;
    const struct ghn__conv_spec *s = &g->spec;
    int64_t c = stripe * COLUMNS, left = s->in_channels - c;
    const uint16_t *x = call->src + first * s->in[0] * s->in[1] * s->in_channels + c;
    int64_t rows = images * s->in[0];
    for (int64_t k = 0; k < s->kernel[1]; k++, ret += rows * g->pairs * COLUMNS) {
        const struct ghn__pixel_row row = {.x = x,
                                           .pitch = s->in_channels,
                                           .channels = left < COLUMNS ? left : COLUMNS,
                                           .width = s->in[1],
                                           .start = k * s->dilation[1] - s->padding[1],
                                           .step = s->stride[1],
                                           .pairs = g->pairs};
        pack_rows(call, row, rows, COLUMNS, 0, ret);
    }
}

/* Which rows of outputs see the map through row `i` of the kernel: [*ret_first, the result). */
static int64_t rows_of(const struct ghn__conv_spec *s, int64_t i, int64_t *ret_first) {
    int64_t offset = i * s->dilation[0] - s->padding[0], stride = s->stride[0];
    int64_t first = offset < 0 ? divided_up(-offset, stride) : 0;
    int64_t end = offset < s->in[0] ? (s->in[0] - 1 - offset) / stride + 1 : 0;
    *ret_first = first;
    return end < s->out[0] ? end : s->out[0];
}

/* Adds to the sums of one panel, (taps, TILE), what `images` images from the first on give. */
static void add_panel(const struct call *call, int64_t panel, int64_t first, int64_t images,
                      const uint32_t *inputs, float *sums) {
    const struct ghn__weight_gradient *g = call->g;
    const struct ghn__conv_spec *s = &g->spec;
    const uint32_t *outputs =
        call->outputs + panel * g->panel_words + first * s->out[0] * g->pairs * ROWS;
    for (int64_t i = 0; i < s->kernel[0]; i++) {
        int64_t y, end = rows_of(s, i, &y), rows = end - y;
        if (rows <= 0)
            continue;
        int64_t in_y = y * s->stride[0] + i * s->dilation[0] - s->padding[0];
        bool together = s->stride[0] == 1; /* rows lie one after another on both sides */
        const struct ghn__pair_walk walk = {.images = images,
                                            .rows = together ? 1 : rows,
                                            .pairs = together ? rows * g->pairs : g->pairs,
                                            .a_image = s->out[0] * g->pairs,
                                            .a_row = g->pairs,
                                            .b_image = s->in[0] * g->pairs,
                                            .b_row = s->stride[0] * g->pairs};
        for (int64_t j = 0; j < s->kernel[1]; j++)
            g->kernels->products(
                sums + (i * s->kernel[1] + j) * TILE, outputs + y * g->pairs * ROWS,
                inputs + (j * images * s->in[0] + in_y) * g->pairs * COLUMNS, &walk);
    }
}

/* The sums of one panel to where they belong. */
static void store_panel(const struct call *call, int64_t panel, int64_t stripe, const float *sums) {
    const struct ghn__weight_gradient *g = call->g;
    const struct ghn__conv_spec *s = &g->spec;
    int64_t c = stripe * COLUMNS, left = s->in_channels - c;
    for (int64_t r = 0; r < ROWS && panel * ROWS + r < s->out_channels; r++)
        g->kernels->unpack(call->dweights + ((panel * ROWS + r) * s->in_channels + c) * g->taps,
                           sums + r * COLUMNS, g->taps, left < COLUMNS ? left : COLUMNS);
}

/* The weights of one stripe of input channels and one share of the output channels. */
static void work_on(const struct call *call, int64_t stripe, int64_t share, uint32_t *inputs,
                    float *sums) {
    const struct ghn__weight_gradient *g = call->g;
    int64_t begin = g->panels * share / g->shares, end = g->panels * (share + 1) / g->shares;
    int64_t batch = g->spec.batch;
    memset(sums, 0, (size_t)((end - begin) * g->taps * TILE) * sizeof *sums);
    for (int64_t first = 0; first < batch; first += g->chunk) {
        int64_t images = batch - first < g->chunk ? batch - first : g->chunk;
        pack_inputs(call, stripe, first, images, inputs);
        for (int64_t panel = begin; panel < end; panel++)
            add_panel(call, panel, first, images, inputs, sums + (panel - begin) * g->taps * TILE);
    }
    for (int64_t panel = begin; panel < end; panel++)
        store_panel(call, panel, stripe, sums + (panel - begin) * g->taps * TILE);
}

/* Workers [begin, end), however many threads there are now. */
static void work(void *context, int64_t begin, int64_t end) {
    const struct call *call = context;
    const struct ghn__weight_gradient *g = call->g;
    int64_t pieces = g->stripes * g->shares;
    for (int64_t w = begin; w < end; w++)
        for (int64_t i = pieces * w / g->workers; i < pieces * (w + 1) / g->workers; i++)
            work_on(call, i / g->shares, i % g->shares, call->inputs + w * g->words,
                    call->sums + w * g->floats);
}

void ghn__weight_gradient_run(const struct ghn__weight_gradient *g, const void *src,
                              const void *ddst, float *dweights, void *scratch) {
    uint32_t *outputs = scratch, *inputs = outputs + g->panels * g->panel_words;
    struct call call = {.g = g,
                        .src = src,
                        .ddst = ddst,
                        .dweights = dweights,
                        .outputs = outputs,
                        .inputs = inputs,
                        .sums = (float *)(inputs + g->workers * g->words)};
    ghn__parallel(g->spec.batch, 1, pack_outputs, &call);
    ghn__parallel(g->workers, 1, work, &call);
}
