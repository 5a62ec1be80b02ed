/* Decoding JPEG (libjpeg-turbo) and PNG (libpng). Both libraries report errors by their own ways;
 * neither gets to print or exit. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>
#include <png.h>

#include "data/dataset_impl.h"

/* A progressive JPEG costs time for every scan, however short; real ones have about ten. */
enum { MAX_FILE = 1 << 28, MAX_PIXELS = 1 << 26, MAX_SCANS = 100 };

struct jpeg_failure {
    struct jpeg_error_mgr manager;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

static void on_jpeg_error(j_common_ptr common) {
    struct jpeg_failure *failure = (struct jpeg_failure *)common->err;
    failure->manager.format_message(common, failure->message);
    longjmp(failure->back, 1);
}

static void on_jpeg_message(j_common_ptr common) {
    (void)common;
}

/* A file that ends too early is an error, though the library would fill the rest with grey. Other
 * warnings are let pass as most readers do: widespread photographs have stray bytes. */
static void on_jpeg_warning(j_common_ptr common, int level) {
    if (level < 0 && common->err->msg_code == JWRN_JPEG_EOF)
        on_jpeg_error(common);
}

static void on_jpeg_progress(j_common_ptr common) {
    const struct jpeg_decompress_struct *jpeg = (const struct jpeg_decompress_struct *)common;
    if (jpeg->input_scan_number > MAX_SCANS)
        ERREXIT(common, JERR_BAD_PROGRESSION);
}

/* The largest reduction that leaves the shorter side at least `enough`. */
static unsigned reduction(const struct jpeg_decompress_struct *jpeg, int enough) {
    unsigned shorter =
                 jpeg->image_width < jpeg->image_height ? jpeg->image_width : jpeg->image_height,
             by = 8;
    while (by > 1 && (int64_t)shorter < (int64_t)by * enough)
        by /= 2;
    return by;
}

/* What a decoder works on, outside the function that longjmp comes back to. */
struct job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_failure failure;
    struct jpeg_progress_mgr progress;
    struct ghn__picture picture;
    enum ghn_status status;
};

static void decode_jpeg_rows(struct job *job, const uint8_t *data, size_t n, int channels,
                             int enough) {
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg_mem_src(jpeg, data, (unsigned long)n);
    jpeg_read_header(jpeg, TRUE);
    if ((int64_t)jpeg->image_width * jpeg->image_height > MAX_PIXELS) {
        job->status = GHN_TOO_LARGE;
        return;
    }
    if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK) {
        job->status = GHN_UNSUPPORTED_FILE;
        return;
    }
    jpeg->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = reduction(jpeg, enough);
    jpeg_start_decompress(jpeg);
    job->picture = (struct ghn__picture){
        .height = (int)jpeg->output_height, .width = (int)jpeg->output_width, .channels = channels};
    size_t row = (size_t)jpeg->output_width * (size_t)channels;
    job->picture.pixels = ghn_malloc(row * jpeg->output_height);
    if (!job->picture.pixels) {
        job->status = GHN_NO_MEMORY;
        return;
    }
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW line = job->picture.pixels + row * jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, &line, 1);
    }
    jpeg_finish_decompress(jpeg);
}

static enum ghn_status decode_jpeg(const uint8_t *data, size_t n, const char *path, int channels,
                                   int enough, struct ghn__picture *ret, struct ghn_err *err) {
    struct job *job = ghn_calloc(1, sizeof *job);
    if (!job)
        return ghn_fail_memory(err);
    job->jpeg.err = jpeg_std_error(&job->failure.manager);
    job->failure.manager.error_exit = on_jpeg_error;
    job->failure.manager.output_message = on_jpeg_message;
    job->failure.manager.emit_message = on_jpeg_warning;
    job->progress.progress_monitor = on_jpeg_progress;
    if (setjmp(job->failure.back) == 0) {
        jpeg_create_decompress(&job->jpeg);
        job->jpeg.progress = &job->progress;
        decode_jpeg_rows(job, data, n, channels, enough);
    } else {
        job->status = GHN_INVALID_FILE;
    }
    jpeg_destroy_decompress(&job->jpeg);
    enum ghn_status status = job->status;
    if (status)
        ghn_free(job->picture.pixels);
    else
        *ret = job->picture;
    if (status == GHN_INVALID_FILE)
        ghn_record(err, status, path, "cannot be decoded: %s", job->failure.message);
    else if (status == GHN_TOO_LARGE)
        ghn_record(err, status, path, "has more than %d pixels", MAX_PIXELS);
    else if (status == GHN_UNSUPPORTED_FILE)
        ghn_record(err, status, path, "has CMYK colours; expected grey or RGB");
    else if (status)
        ghn_record(err, status, NULL, "not enough memory");
    ghn_free(job);
    return status;
}

static enum ghn_status decode_png(const uint8_t *data, size_t n, const char *path, int channels,
                                  struct ghn__picture *ret, struct ghn_err *err) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, data, n))
        return ghn_fail(err, GHN_INVALID_FILE, path, "cannot be decoded: %s", image.message);
    enum ghn_status status = GHN_OK;
    uint8_t *pixels = NULL;
    /* Transparency falls on black; 16 bits are the same colours as 8 unless the file says
     * otherwise, where the library would take them as linear light. */
    image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
    png_color black = {0, 0, 0};
    if ((int64_t)image.width * image.height > MAX_PIXELS)
        status = ghn_fail(err, GHN_TOO_LARGE, path, "has more than %d pixels", MAX_PIXELS);
    else if (!(pixels = ghn_malloc((size_t)image.width * image.height * (size_t)channels)))
        status = ghn_fail_memory(err);
    else if (!png_image_finish_read(&image, &black, pixels, 0, NULL))
        status = ghn_fail(err, GHN_INVALID_FILE, path, "cannot be decoded: %s", image.message);
    png_image_free(&image);
    if (status) {
        ghn_free(pixels);
        return status;
    }
    *ret = (struct ghn__picture){(int)image.height, (int)image.width, channels, pixels};
    return GHN_OK;
}

enum ghn_status ghn__picture_decode(const uint8_t *data, size_t n, const char *path, int channels,
                                    int enough, struct ghn__picture *ret, struct ghn_err *err) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (n >= 8 && memcmp(data, png, 8) == 0)
        return decode_png(data, n, path, channels, ret, err);
    if (n >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff)
        return decode_jpeg(data, n, path, channels, enough, ret, err);
    return ghn_fail(err, GHN_INVALID_FILE, path, "is neither JPEG nor PNG");
}

enum ghn_status ghn__picture_read(const char *path, int channels, int enough,
                                  struct ghn__picture *ret, struct ghn_err *err) {
    uint8_t *data;
    int64_t n;
    enum ghn_status status = ghn__read_whole(path, false, MAX_FILE, &data, &n, err);
    if (status)
        return status;
    status = ghn__picture_decode(data, (size_t)n, path, channels, enough, ret, err);
    ghn_free(data);
    return status;
}
