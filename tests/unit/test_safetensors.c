/* lib/tensor: safetensors, and what is said of files that are none. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tensor/tensors.h"
#include "torture.h"

/* A file of that header, n_header bytes long, and n_data bytes 0, 1, 2 ...; its size into *ret_n.
 */
static unsigned char *make(const char *header, size_t n_header, size_t n_data, size_t *ret_n) {
    uint64_t length = n_header;
    unsigned char *bytes = malloc(8 + n_header + n_data);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n_header + i] = (unsigned char)i;
    *ret_n = 8 + n_header + n_data;
    return bytes;
}

/* Parsing must end like that, with `word` in its message. */
static void check(const void *bytes, size_t n, enum ghn_status expected, const char *word) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = ghn_tensors_parse(bytes, n, "a.safetensors", &set, &err);
    if (status != expected || !strstr(err.message, word))
        fail_msg("expected %s with \"%s\", got %s: %s", ghn_status_code(expected), word,
                 ghn_status_code(status), err.message);
    assert_int_equal(err.status, status);
    assert_true((status == GHN_OK) == (set != NULL));
    if (status != GHN_OK && status != GHN_NO_MEMORY)
        assert_string_equal(err.where, "a.safetensors");
    ghn_tensors_free(set);
}

static void check_header(const char *header, size_t n_data, enum ghn_status expected,
                         const char *word) {
    size_t n;
    unsigned char *bytes = make(header, strlen(header), n_data, &n);
    check(bytes, n, expected, word);
    free(bytes);
}

static void a_good_file_is_read(void **state) {
    (void)state;
    static const char header[] =
        "{\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[3,11]},"
        "\"__metadata__\":{\"k\":\"v\\u00e9\"},"
        "\"a\\n\":{\"data_offsets\":[0,3],\"shape\":[3],\"dtype\":\"U8\"},"
        "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[11,19]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[4,0],\"data_offsets\":[11,11]}}    ";
    size_t n;
    unsigned char *bytes = make(header, strlen(header), 19, &n);
    struct ghn_tensors *set = NULL;
    assert_int_equal(ghn_tensors_parse(bytes, n, "x", &set, NULL), GHN_OK);
    free(bytes);
    static const char *const names[] = {"a\n", "b", "none", "scalar"};
    static const int places[] = {0, 3, 11, 11}, sizes[] = {3, 8, 0, 8};
    assert_int_equal(set->format, GHN_SAFETENSORS);
    assert_int_equal(set->n, 4);
    assert_string_equal(set->sha256, "");
    for (int i = 0; i < 4; i++) {
        const struct ghn_tensor *tensor = ghn_tensors_find(set, names[i]);
        assert_ptr_equal(tensor, &set->items[i]);
        assert_int_equal(tensor->n_bytes, sizes[i]);
        assert_int_equal((uintptr_t)tensor->data % GHN_ALIGN, 0);
        for (int j = 0; j < sizes[i]; j++)
            assert_int_equal(((const unsigned char *)tensor->data)[j], places[i] + j);
    }
    assert_int_equal(set->items[1].shape.ndim, 2);
    assert_int_equal(set->items[1].dtype, GHN_F32);
    assert_null(ghn_tensors_find(set, "c"));
    assert_null(ghn_tensors_find(set, ""));
    assert_string_equal(json_string_value(json_object_get(set->metadata, "k")), "v\xC3\xA9");
    ghn_tensors_free(set);
    ghn_tensors_free(NULL);
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end   \
    "]}"

static void headers_are_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        enum ghn_status status;
        const char *word;
    } cases[] = {
        {"{}", 0, GHN_OK, ""},
        {"{}   ", 0, GHN_OK, ""},
        {"{" T("a", "F32", "[2]", "0", "8") "}", 8, GHN_OK, ""},
        {"{" T("a", "U8", "[1,1,1,1,1,1,1,1]", "0", "1") "}", 1, GHN_OK, ""},
        {"{" T("e", "U8", "[0]", "0", "0") "," T("a", "U8", "[1]", "0", "1") "}", 1, GHN_OK, ""},
        /* The text. */
        {"{\n", 0, GHN_INVALID_FILE, "padded with spaces"},
        {"{}\n", 0, GHN_INVALID_FILE, "padded with spaces"},
        {"{} {}", 0, GHN_INVALID_FILE, "header cannot be read"},
        {"{\"a\":}", 0, GHN_INVALID_FILE, "header cannot be read"},
        {"{\"\xFF\":1}", 0, GHN_INVALID_FILE, "header cannot be read"},
        {"{\"a\\u0000\":{}}", 0, GHN_INVALID_FILE, "header cannot be read"},
        {"{" T("a", "U8", "[1]", "0", "1") "," T("a", "U8", "[1]", "1", "2") "}", 2,
         GHN_INVALID_FILE, "duplicate"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         GHN_INVALID_FILE, "duplicate"},
        {"{\"a\":{\"b\":[[1]]}}", 0, GHN_TOO_LARGE, "levels deep"},
        /* A tensor's description. */
        {"{\"a\":1}", 0, GHN_INVALID_FILE, "dtype, shape and data_offsets"},
        {"{\"a\":{}}", 0, GHN_INVALID_FILE, "dtype, shape and data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
         GHN_INVALID_FILE, "alone"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, GHN_INVALID_FILE,
         "dtype"},
        {"{" T("a", "U16", "[1]", "0", "2") "}", 2, GHN_UNSUPPORTED_FILE, "U16"},
        {"{" T("a", "f32", "[1]", "0", "4") "}", 4, GHN_UNSUPPORTED_FILE, "f32"},
        {"{" T("a", "U8", "1", "0", "1") "}", 1, GHN_INVALID_FILE, "not a list"},
        {"{" T("a", "U8", "[1.0]", "0", "1") "}", 1, GHN_INVALID_FILE, "dimension 0"},
        {"{" T("a", "U8", "[1,-1]", "0", "1") "}", 1, GHN_INVALID_FILE, "dimension 1"},
        {"{" T("a", "U8", "[99999999999999999999]", "0", "1") "}", 1, GHN_INVALID_FILE, "too big"},
        {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "0", "1") "}", 1, GHN_TOO_LARGE, "9 dimensions"},
        {"{" T("a", "U8", "[4294967296,4294967296]", "0", "1") "}", 1, GHN_INVALID_FILE,
         "overflows"},
        {"{" T("a", "U8", "[4294967296,4294967296,0]", "0", "0") "}", 0, GHN_INVALID_FILE,
         "overflows"},
        {"{" T("a", "F64", "[1152921504606846976]", "0", "0") "}", 0, GHN_INVALID_FILE,
         "overflows"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, GHN_INVALID_FILE,
         "two integers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, GHN_INVALID_FILE,
         "two integers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}}", 1, GHN_INVALID_FILE,
         "two integers"},
        {"{" T("a", "U8", "[1]", "0", "\\\"1\\\"") "}", 1, GHN_INVALID_FILE, "cannot be read"},
        {"{" T("a", "U8", "[1]", "0", "1.0") "}", 1, GHN_INVALID_FILE, "two integers"},
        {"{" T("a", "U8", "[1]", "-1", "0") "}", 1, GHN_INVALID_FILE, "do not lie"},
        {"{" T("a", "U8", "[1]", "1", "0") "}", 1, GHN_INVALID_FILE, "do not lie"},
        {"{" T("a", "U8", "[2]", "0", "2") "}", 1, GHN_INVALID_FILE, "do not lie"},
        {"{" T("a", "U8", "[2]", "0", "1") "}", 1, GHN_INVALID_FILE, "by its shape"},
        {"{" T("a", "F32", "[2]", "0", "7") "}", 7, GHN_INVALID_FILE, "by its shape"},
        /* Their places. */
        {"{" T("a", "U8", "[1]", "1", "2") "}", 2, GHN_INVALID_FILE, "a hole"},
        {"{" T("a", "U8", "[1]", "0", "1") "," T("b", "U8", "[1]", "2", "3") "}", 3,
         GHN_INVALID_FILE, "a hole"},
        {"{" T("a", "U8", "[2]", "0", "2") "," T("b", "U8", "[2]", "1", "3") "}", 3,
         GHN_INVALID_FILE, "an overlap"},
        {"{" T("a", "U8", "[2]", "0", "2") "," T("b", "U8", "[2]", "0", "2") "}", 2,
         GHN_INVALID_FILE, "an overlap"},
        {"{" T("a", "U8", "[1]", "0", "1") "}", 2, GHN_INVALID_FILE, "2 bytes of data"},
        {"{}", 1, GHN_INVALID_FILE, "1 bytes of data"},
        {"{" T("e", "U8", "[0]", "0", "0") "," T("f", "U8", "[0]", "0", "0") "}", 0,
         GHN_INVALID_FILE, "shares its place"},
        /* The metadata. */
        {"{\"__metadata__\":1}", 0, GHN_INVALID_FILE, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, GHN_INVALID_FILE, "__metadata__"},
        {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"b\"}}", 0, GHN_INVALID_FILE, "duplicate"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_header(cases[i].header, cases[i].n_data, cases[i].status, cases[i].word);
}

static void lengths_are_checked(void **state) {
    (void)state;
    unsigned char bytes[32] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    check(bytes, 10, GHN_OK, "");
    for (size_t n = 0; n < 9; n++)
        check(bytes, n, GHN_INVALID_FILE, "too few");
    check(bytes, 9, GHN_INVALID_FILE, "cut off");
    bytes[7] = 0x80;
    check(bytes, 10, GHN_INVALID_FILE, "cut off");
    memset(bytes, 0xFF, 8);
    check(bytes, 10, GHN_INVALID_FILE, "cut off");
    memset(bytes, 0, 8);
    check(bytes, 10, GHN_INVALID_FILE, "padded");

    size_t large = (16 << 20) + 1;
    char *header = malloc(large);
    assert_non_null(header);
    memset(header, ' ', large);
    memcpy(header, "{}", 2);
    size_t n;
    unsigned char *file = make(header, large, 0, &n);
    check(file, n, GHN_TOO_LARGE, "16777217 bytes");
    free(file);
    file = make(header, large - 1, 0, &n);
    check(file, n, GHN_OK, "");
    free(file);
    free(header);
}

static void names_and_numbers_of_tensors_are_bounded(void **state) {
    (void)state;
    static char many[100001 * 80];
    char header[1024], name[514];
    memset(name, 'n', 513);
    for (int n = 512; n <= 513; n++) {
        name[n] = '\0';
        (void)snprintf(header, sizeof(header), "{" T("%s", "U8", "[1]", "0", "1") "}", name);
        check_header(header, 1, n == 512 ? GHN_OK : GHN_TOO_LARGE, n == 512 ? "" : "512 bytes");
        name[n] = 'n';
    }
    for (int n = 100000; n <= 100001; n++) {
        size_t used = 0;
        for (int i = 0; i < n; i++)
            used += (size_t)snprintf(
                many + used, sizeof(many) - used,
                "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "{",
                i, i, i + 1);
        (void)snprintf(many + used, sizeof(many) - used, "}");
        check_header(many, (size_t)n, n == 100000 ? GHN_OK : GHN_TOO_LARGE,
                     n == 100000 ? "" : "100000 tensors");
    }
}

static void other_formats_are_named(void **state) {
    (void)state;
    static const struct {
        const char *magic;
        size_t n, offset;
        const char *word;
    } cases[] = {
        {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15, 0,
         "torch.save(torch.load(f, map_location=\"cpu\"), f2)"},
        {"\x80\x02}q", 4, 0, "pickle"},
        {"ustar", 5, 257, "tar"},
        {"\x89HDF\r\n\x1a\n", 8, 0, "HDF5"},
        {"\x93NUMPY", 6, 0, "NumPy"},
        {"GGUF", 4, 0, "GGUF"},
        {"\x1f\x8b", 2, 0, "gzip"},
        {"\xfd"
         "7zXZ\0",
         6, 0, "xz"},
        {"\x28\xb5\x2f\xfd", 4, 0, "zstd"},
        {"BZh9", 4, 0, "bzip2"},
        {"7z\xbc\xaf\x27\x1c", 6, 0, "7z"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, 0, "git lfs pull"},
        {"<!DOCTYPE html>", 15, 0, "web page"},
        {"something else", 14, 0, "neither"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char bytes[512] = {0};
        memcpy(bytes + cases[i].offset, cases[i].magic, cases[i].n);
        check(bytes, sizeof(bytes), GHN_UNSUPPORTED_FILE, cases[i].word);
    }
    unsigned char nothing = 0;
    check(&nothing, 0, GHN_INVALID_FILE, "0 bytes are too few");
}

/* --- Files --- */

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/ghn-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name) {
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void check_read(const char *path, enum ghn_status expected, const char *word) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = ghn_tensors_read(path, &set, &err);
    if (status != expected || !strstr(err.message, word))
        fail_msg("expected %s with \"%s\", got %s: %s", ghn_status_code(expected), word,
                 ghn_status_code(status), err.message);
    assert_string_equal(err.where, path);
    assert_null(set);
}

static void only_regular_files_are_read(void **state) {
    (void)state;
    check_read(path_of("absent"), GHN_IO, "No such file");
    check_read(folder, GHN_IO, "regular file");
    const char *path = path_of("fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    check_read(path, GHN_IO, "regular file");
    (void)unlink(path);
    path = path_of("empty");
    assert_true(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    check_read(path, GHN_INVALID_FILE, "too few");
    assert_int_equal(truncate(path, ((off_t)1 << 42) + 1), 0); /* a hole: it takes no room */
    check_read(path, GHN_TOO_LARGE, "4398046511105 bytes");
    (void)unlink(path);
}

static const float weights[6] = {1, -2, 3.5f, 0, 1e-30f, 6};
static const int64_t counter = -3;
static const struct ghn_tensor items[] = {
    {"fc.weight", GHN_F32, {2, {2, 3}}, weights, sizeof(weights)},
    {"bn \"n\"\xC3\xA9", GHN_I64, {0, {0}}, &counter, sizeof(counter)},
    {"empty", GHN_BF16, {2, {0, 7}}, weights, 0},
    {"fc.bias", GHN_F16, {1, {12}}, weights, 24},
};
enum { N_ITEMS = sizeof(items) / sizeof(items[0]) };

static void check_same(const struct ghn_tensors *set) {
    assert_int_equal(set->n, N_ITEMS);
    for (int i = 0; i < N_ITEMS; i++) {
        const struct ghn_tensor *got = &set->items[i];
        assert_string_equal(got->name, items[i].name);
        assert_int_equal(got->dtype, items[i].dtype);
        assert_true(ghn_shape_equal(&got->shape, &items[i].shape));
        assert_int_equal(got->n_bytes, items[i].n_bytes);
        assert_memory_equal(got->data, items[i].data, got->n_bytes);
        assert_int_equal((uintptr_t)got->data % GHN_ALIGN, 0);
    }
}

static void what_is_written_is_read(void **state) {
    (void)state;
    json_t *metadata = json_pack("{s:s, s:s}", "z", "first", "a", "\xE2\x82\xAC");
    const char *path = path_of("a.safetensors");
    assert_int_equal(ghn_safetensors_write(path, items, N_ITEMS, metadata, NULL), GHN_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    mode_t mask = umask(0);
    (void)umask(mask);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    struct ghn_tensors *set = NULL;
    assert_int_equal(ghn_tensors_read(path, &set, NULL), GHN_OK);
    check_same(set);
    assert_true(json_equal(set->metadata, metadata));
    assert_int_equal(strlen(set->sha256), 64);
    ghn_tensors_free(set);
    json_decref(metadata);
    /* A second time, over the first; nothing else may be left. */
    assert_int_equal(ghn_safetensors_write(path, items, 0, NULL, NULL), GHN_OK);
    assert_int_equal(ghn_tensors_read(path, &set, NULL), GHN_OK);
    assert_int_equal(set->n, 0);
    assert_int_equal(json_object_size(set->metadata), 0);
    ghn_tensors_free(set);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void sha256_is_that_of_the_file(void **state) {
    (void)state;
    const char *path = path_of("b.safetensors");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite("\2\0\0\0\0\0\0\0{}", 1, 10, file), 10);
    assert_int_equal(fclose(file), 0);
    struct ghn_tensors *set = NULL;
    assert_int_equal(ghn_tensors_read(path, &set, NULL), GHN_OK);
    /* printf '\2\0\0\0\0\0\0\0{}' | sha256sum */
    assert_string_equal(set->sha256,
                        "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd");
    ghn_tensors_free(set);
    (void)unlink(path);
}

static void a_failed_write_leaves_what_was_there(void **state) {
    (void)state;
    struct ghn_err err = GHN_ERR_INIT;
    const char *path = path_of("absent/a.safetensors");
    assert_int_equal(ghn_safetensors_write(path, items, N_ITEMS, NULL, &err), GHN_IO);
    assert_string_equal(err.where, path);
    path = path_of("c.safetensors");
    assert_int_equal(ghn_safetensors_write(path, items, N_ITEMS, NULL, NULL), GHN_OK);
    /* The disk is full after 100 bytes. */
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){100, old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum ghn_status status = ghn_safetensors_write(path, items, 1, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, GHN_IO);
    struct ghn_tensors *set = NULL;
    assert_int_equal(ghn_tensors_read(path, &set, NULL), GHN_OK);
    check_same(set);
    ghn_tensors_free(set);
    assert_int_equal(unlink(path), 0);
    /* A folder at its place: the rename fails. */
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(ghn_safetensors_write(path, items, N_ITEMS, NULL, NULL), GHN_IO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0); /* it is empty */
    assert_int_equal(mkdir(folder, 0700), 0);
}

/* Names that JSON must escape, and numbers of every length. */
static void any_name_comes_back(void **state) {
    (void)state;
    char longest[513] = {0};
    memset(longest, '\x01', 512);
    const char *const names[] = {"", "a\"b\\c/d", "\x01\x1f\x7f\t\n", longest,
                                 "\xC3\xA9\xF0\x9F\x98\x80"};
    enum { N = sizeof(names) / sizeof(names[0]) };
    struct ghn_tensor mine[N];
    size_t n_bytes = 1, n_data = 0, n_header = 0;
    for (int i = 0; i < N; i++, n_bytes *= 9) {
        mine[i] = (struct ghn_tensor){names[i], GHN_U8, {2, {1, (int64_t)n_bytes}}, NULL, n_bytes};
        n_data += n_bytes;
    }
    char *header = NULL;
    json_t *metadata = json_pack("{s:s}", "k\"", "v\n");
    assert_int_equal(ghn_safetensors_header(mine, N, metadata, &header, &n_header, NULL), GHN_OK);
    char *file = calloc(n_header + n_data, 1);
    memcpy(file, header, n_header);
    struct ghn_tensors *set = NULL;
    assert_int_equal(ghn_tensors_parse(file, n_header + n_data, "file", &set, NULL), GHN_OK);
    assert_true(json_equal(set->metadata, metadata));
    assert_int_equal(set->n, N);
    for (int i = 0; i < N; i++) {
        assert_string_equal(set->items[i].name, names[i]);
        assert_true(ghn_shape_equal(&set->items[i].shape, &mine[i].shape));
    }
    ghn_tensors_free(set);
    json_decref(metadata);
    ghn_free(header);
    free(file);
}

static void headers_start_data_at_64(void **state) {
    (void)state;
    for (size_t n = 0; n < 70; n++) {
        char name[71] = {0}, *header = NULL;
        memset(name, 'n', n);
        struct ghn_tensor item = {name, GHN_U8, {1, {3}}, NULL, 3};
        size_t size = 0;
        assert_int_equal(ghn_safetensors_header(&item, 1, NULL, &header, &size, NULL), GHN_OK);
        uint64_t length;
        memcpy(&length, header, 8);
        assert_int_equal(size % 64, 0);
        assert_int_equal(length, size - 8);
        assert_int_equal(header[8], '{');
        ghn_free(header);
    }
}

static void what_could_not_be_read_is_not_written(void **state) {
    (void)state;
    char longest[514];
    memset(longest, 'n', 513);
    longest[513] = '\0';
    static const struct ghn_tensor byte = {"a", GHN_U8, {1, {1}}, weights, 1};
    static const struct ghn_tensor none = {"b", GHN_U8, {1, {0}}, weights, 0};
    struct {
        struct ghn_tensor items[2];
        enum ghn_status status;
    } cases[] = {
        {{byte, none}, GHN_OK},
        {{byte, byte}, GHN_DUPLICATE_NAME},
        {{byte, {"\xFF", GHN_U8, {1, {1}}, weights, 1}}, GHN_OUT_OF_RANGE},
        {{byte, {"__metadata__", GHN_U8, {1, {1}}, weights, 1}}, GHN_OUT_OF_RANGE},
        {{byte, {longest, GHN_U8, {1, {1}}, weights, 1}}, GHN_OUT_OF_RANGE},
        {{byte, {"c", GHN_U8, {1, {2}}, weights, 1}}, GHN_SHAPE_MISMATCH},
        {{byte, {"c", GHN_F32, {1, {-1}}, weights, 4}}, GHN_SHAPE_MISMATCH},
        {{none, {"c", GHN_F32, {1, {0}}, weights, 0}}, GHN_OUT_OF_RANGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ghn_err err = GHN_ERR_INIT;
        char *header = NULL;
        size_t size = 0;
        enum ghn_status status =
            ghn_safetensors_header(cases[i].items, 2, NULL, &header, &size, &err);
        assert_int_equal(status, cases[i].status);
        assert_true((status == GHN_OK) == (header != NULL));
        ghn_free(header);
    }
    json_t *metadata = json_pack("{s:i}", "key", 1);
    struct ghn_err err = GHN_ERR_INIT;
    char *header = NULL;
    size_t size = 0;
    assert_int_equal(ghn_safetensors_header(&byte, 1, metadata, &header, &size, &err),
                     GHN_WRONG_TYPE);
    assert_string_equal(err.where, "key");
    json_decref(metadata);
}

/* --- Out of memory --- */

static enum ghn_status write_file(void *context, struct ghn_err *err) {
    json_t *metadata = context;
    return ghn_safetensors_write(path_of("t.safetensors"), items, N_ITEMS, metadata, err);
}

static enum ghn_status read_file(void *context, struct ghn_err *err) {
    (void)context;
    struct ghn_tensors *set = NULL;
    enum ghn_status status = ghn_tensors_read(path_of("t.safetensors"), &set, err);
    if (status == GHN_OK)
        check_same(set);
    else
        assert_null(set);
    ghn_tensors_free(set);
    return status;
}

static void memory_may_run_out(void **state) {
    (void)state;
    json_t *metadata = json_pack("{s:s}", "key", "value");
    assert_true(torture(write_file, metadata, GHN_NO_MEMORY) >= 4);
    assert_true(torture(read_file, NULL, GHN_INVALID_FILE) >= 8);
    json_decref(metadata);
    assert_int_equal(unlink(path_of("t.safetensors")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_read),
        cmocka_unit_test(headers_are_read_strictly),
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(names_and_numbers_of_tensors_are_bounded),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test_setup_teardown(only_regular_files_are_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_written_is_read, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(sha256_is_that_of_the_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_what_was_there, make_folder,
                                        remove_folder),
        cmocka_unit_test(any_name_comes_back),
        cmocka_unit_test(headers_start_data_at_64),
        cmocka_unit_test(what_could_not_be_read_is_not_written),
        cmocka_unit_test_setup_teardown(memory_may_run_out, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
