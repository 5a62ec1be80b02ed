/* POST /finetune: a job is taken. Runs on a worker.
 *
 * Everything that can be wrong with a job is looked at before it is taken, and the parameters that
 * training starts from are made at once. A job that is acknowledged is on the disk: first its
 * folder, then, in one transaction, its entry in the ledger. */
#include <nettle/base64.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/utf8.h"
#include "call.h"
#include "dataset_name.h"
#include "ghn/answer.h"
#include "ghn/blocks.h"
#include "graph/form.h"
#include "job_files.h"
#include "jobs.h"
#include "request.h"
#include "train/finetune.h"

/* The fields that belong to neither network nor recipe nor POST /predict, of whose fields dtype and
 * include_tensors mean nothing here. */
static const char *const own_fields[] = {"dataset", "parameters", NULL};

struct work {
    struct ghnd_ledger *ledger;
    char digest[2 * SHA256_DIGEST_SIZE + 1]; /* of the body */
    json_t *root, *network;                  /* the body, and the part that is the network */
    struct ghn_recipe recipe;
    const struct ghnd_model *model;
    bool predict_class_layers;
    struct ghnd_stream *stream; /* of the prediction */
    struct ghn_arch *arch;
    int n_classes;   /* of the data set */
    uint8_t *upload; /* the uploaded file, from malloc */
    size_t n_upload;
    struct ghnd_job_row row;
};

static void set_digest(const struct ghnd_request *request, struct work *work) {
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&sha);
    sha256_update(&sha, request->body_size, (const uint8_t *)request->body);
    sha256_digest(&sha, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(work->digest + 2 * i, 3, "%02x", digest[i]);
}

/* --- The answer --- */

static void reply_job(struct ghnd_request *request, const struct ghnd_job_row *row) {
    json_t *point = ghnd_jobs_point(request->app->jobs, row->id);
    ghnd_reply_json(request, ghnd_job_json(row, point));
    json_decref(point);
    struct ghnd_reply *reply = &request->reply;
    if (!reply->body)
        return;
    reply->status = 202;
    (void)snprintf(reply->location, sizeof(reply->location), "/jobs/%s", row->id);
}

static void reply_again(struct ghnd_request *request, const struct ghnd_job_row *row, bool same) {
    if (!same) {
        ghnd_problem_set(&request->problem, GHND_E_IDEMPOTENCY_CONFLICT, "Idempotency-Key",
                         "the key stands for the job %s, which was asked for with another body",
                         row->id);
        return;
    }
    reply_job(request, row);
    request->reply.replayed = true;
}

/* Whether the request is new; false after answering it. */
static bool is_new(struct ghnd_request *request, struct work *work) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghnd_job_row row;
    bool found = false, same = false;
    if (!request->key)
        return true;
    if (!ghnd_ledger_succeeded(
            request,
            ghnd_ledger_by_key(work->ledger, request->key, work->digest, &found, &same, &row, &err),
            &err))
        return false;
    if (found)
        reply_again(request, &row, same);
    return !found;
}

static void refuse_queue(struct ghnd_request *request) {
    ghnd_problem_set(&request->problem, GHND_E_TOO_MANY_JOBS, "",
                     "as many jobs are waiting as may: %lld",
                     (long long)request->snapshot->config.max_queued_jobs);
}

/* Whether there is room for another job, as far as can be told before the work; the ledger's answer
 * counts. The disk is asked about this job alone: others that wait or run may take the space first,
 * and it fails with "io" then. */
static bool has_room(struct ghnd_request *request, const struct work *work) {
    const struct ghnd_config *config = &request->snapshot->config;
    struct ghn_err err = GHN_ERR_INIT;
    int64_t counts[GHND_N_JOB_STATES];
    if (!ghnd_ledger_succeeded(request, ghnd_ledger_count(work->ledger, counts, &err), &err))
        return false;
    if (counts[GHND_JOB_QUEUED] >= config->max_queued_jobs) {
        refuse_queue(request);
        return false;
    }
    int64_t space = ghnd_disk_free(ghnd_jobs_dir(request->app->jobs)),
            needed = ghn_finetune_bytes(work->arch, &work->recipe) + (int64_t)work->n_upload;
    if (space < 0 || space - needed >= config->disk_reserve)
        return true;
    ghnd_problem_set(&request->problem, GHND_E_INSUFFICIENT_STORAGE, "",
                     "%lld bytes are free; the job would need %lld and %lld are kept in reserve",
                     (long long)space, (long long)needed, (long long)config->disk_reserve);
    return false;
}

/* --- What is asked for --- */

/* The text of a field; NULL, with *status unchanged, if it is absent and may be. */
static const char *get_text(const json_t *root, const char *key, bool required,
                            enum ghn_status *status, struct ghn_err *err) {
    const json_t *value = json_object_get(root, key);
    if (*status != GHN_OK || (!value && !required))
        return NULL;
    *status = ghn_json_expect(value, key, JSON_STRING, err);
    return *status == GHN_OK ? json_string_value(value) : NULL;
}

/* The fields that are neither ours, nor the recipe's, nor beside the network in POST /predict: an
 * object that shares its values with root. */
static json_t *network_of(json_t *root) {
    json_t *network = json_object(), *value;
    const char *key;
    json_object_foreach(root, key, value) {
        if (network && !ghn_recipe_has(key) && !ghnd_call_has(key) &&
            !ghn_json_one_of(key, own_fields) && json_object_set(network, key, value) != 0) {
            json_decref(network);
            network = NULL;
        }
    }
    return network;
}

static enum ghn_status decode_upload(struct work *work, const char *text, struct ghn_err *err) {
    struct base64_decode_ctx base64;
    size_t n = strlen(text);
    work->upload = malloc(BASE64_DECODE_LENGTH(n) + 1);
    if (!work->upload)
        return ghn_fail_memory(err);
    work->n_upload = BASE64_DECODE_LENGTH(n);
    base64_decode_init(&base64);
    if (!base64_decode_update(&base64, &work->n_upload, work->upload, n, text) ||
        !base64_decode_final(&base64))
        return ghn_fail(err, GHN_OUT_OF_RANGE, "parameters", "expected a file in base64");
    return GHN_OK;
}

static enum ghn_status check_upload_field(struct work *work, const char *text,
                                          struct ghn_err *err) {
    bool uploads = work->recipe.start == GHN_START_UPLOAD;
    if (uploads && !text)
        return ghn_fail(err, GHN_MISSING_FIELD, "parameters",
                        "\"init\": \"upload\" asks for a safetensors file in base64");
    if (!uploads && text)
        return ghn_fail(err, GHN_UNKNOWN_FIELD, "parameters",
                        "only \"init\": \"upload\" goes with parameters");
    return uploads ? decode_upload(work, text, err) : GHN_OK;
}

static bool parse(struct ghnd_request *request, struct work *work) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = ghn_json_load(request->body ? request->body : "", request->body_size,
                                           &request->snapshot->json_limits, &work->root, &err);
    if (status == GHN_OK)
        status = ghn_json_expect(work->root, "", JSON_OBJECT, &err);
    if (status == GHN_OK)
        status = ghn_recipe_from_json(work->root, "", &work->recipe, &err);
    if (status == GHN_OK)
        status = ghn_precision_check(work->recipe.precision, "precision", &err);
    struct ghnd_call call = {.root = work->root};
    if (status == GHN_OK)
        status = ghnd_call_fields(&call, &err);
    const char *dataset = get_text(work->root, "dataset", true, &status, &err);
    const char *parameters = get_text(work->root, "parameters", false, &status, &err);
    if (status == GHN_OK)
        status = check_upload_field(work, parameters, &err);
    if (status == GHN_OK && !(work->network = network_of(work->root)))
        status = ghn_fail_memory(&err);
    if (!ghnd_library_succeeded(request, status, &err))
        return false;
    work->predict_class_layers = call.predict_class_layers;
    work->model = ghnd_find_model(request, call.model, "model");
    if (!work->model)
        return false;
    (void)snprintf(work->row.dataset, sizeof(work->row.dataset), "%.*s", GHND_JOB_NAME, dataset);
    (void)snprintf(work->row.init, sizeof(work->row.init), "%s",
                   ghn_start_name(work->recipe.start));
    if (work->recipe.start == GHN_START_GHN) {
        (void)snprintf(work->row.model, sizeof(work->row.model), "%s", work->model->id);
        (void)snprintf(request->model, sizeof(request->model), "%s", work->model->id);
    }
    return true;
}

/* The fields that may stand beside the network, for who misspells one: ours, and those of the
 * recipe, whose names belong to `recipe`. */
static void name_fields(json_t *recipe, const char *ret[], size_t n) {
    static const char *const others[] = {"dataset", "model", "predict_class_layers", "parameters"};
    size_t used = 0;
    const char *key;
    json_t *value;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ret[used++] = others[i];
    json_object_foreach(recipe, key, value) {
        if (used < n - 1)
            ret[used++] = key;
    }
    ret[used] = NULL;
}

static enum ghn_status decode_network(const struct ghnd_request *request, struct work *work,
                                      struct ghn_err *err) {
    const char *also[64];
    json_t *recipe = ghn_recipe_to_json(&work->recipe);
    if (!recipe || json_object_set_new(recipe, "steps", json_null()) != 0 ||
        json_object_set_new(recipe, "epochs", json_null()) != 0) {
        json_decref(recipe);
        return ghn_fail_memory(err);
    }
    name_fields(recipe, also, sizeof(also) / sizeof(also[0]));
    const struct ghn_request_options options = {.limits = &request->snapshot->limits, .also = also};
    enum ghn_status status =
        ghn_graph_from_request(work->network, &options, &work->stream->graph, &work->arch, err);
    json_decref(recipe);
    return status;
}

static bool make_network(struct ghnd_request *request, struct work *work) {
    struct ghn_err err = GHN_ERR_INIT;
    enum ghn_status status = decode_network(request, work, &err);
    if (!ghnd_library_succeeded(request, status, &err))
        return false;
    if (!work->arch) {
        ghnd_problem_set(&request->problem, GHND_E_NOT_TRAINABLE, "graph",
                         "a graph says which parameters there are, but not how to compute with "
                         "them; send the network as arch or genotype");
        return false;
    }
    (void)snprintf(work->row.name, sizeof(work->row.name), "%s", work->arch->name);
    ghn_utf8_sanitise(work->row.name);
    return true;
}

/* Sets the number of steps; false if there are too many. */
static bool count_steps(struct ghnd_request *request, struct work *work,
                        const struct ghn_dataset *dataset) {
    int64_t images = dataset->n[GHN_SPLIT_TRAIN], limit = request->snapshot->config.max_train_steps;
    int64_t shots = (int64_t)work->recipe.n_shots * dataset->n_classes;
    int batch = 0;
    if (images == 0) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_OUT_OF_RANGE, "dataset",
                         "the data set has no images to train on");
        return false;
    }
    work->row.steps =
        ghn_finetune_steps(&work->recipe, shots > 0 && shots < images ? shots : images, &batch);
    if (work->row.steps <= limit)
        return true;
    ghnd_problem_set(&request->problem, GHND_E_LIBRARY_OUT_OF_RANGE,
                     work->recipe.steps ? "steps" : "epochs",
                     "the job would have %lld steps; the limit is %lld", (long long)work->row.steps,
                     (long long)limit);
    return false;
}

static bool check_dataset(struct ghnd_request *request, struct work *work) {
    const char *name = work->row.dataset;
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_dataset dataset;
    if (!ghnd_dataset_name_is_sound(name)) {
        ghnd_problem_set(&request->problem, GHND_E_UNKNOWN_DATASET, "dataset",
                         "\"%.64s\" is no name of a data set, which has " GHND_DATASET_RULE, name);
        return false;
    }
    enum ghn_status status = ghnd_datasets_describe(
        &request->app->datasets, request->snapshot->config.data_dir, name, &dataset, &err);
    if (status == GHN_IO || status == GHN_UNSUPPORTED_FILE) {
        ghnd_problem_set(&request->problem, GHND_E_UNKNOWN_DATASET, "dataset",
                         "there is no data set \"%.64s\"; GET /datasets lists them", name);
        return false;
    }
    if (status == GHN_OK)
        status = ghn_finetune_fits(work->arch, &dataset, &err);
    if (!ghnd_library_succeeded(request, status, &err))
        return false;
    work->n_classes = dataset.n_classes;
    return count_steps(request, work, &dataset);
}

/* --- Where it starts --- */

static bool predict(struct ghnd_request *request, struct work *work) {
    const struct ghn_predict_options options = {
        .keep_class_layers = !work->predict_class_layers ||
                             work->n_classes != ghn_model_config(work->model->model)->num_classes,
        .seed = work->recipe.seed};
    struct ghn_err err = GHN_ERR_INIT;
    if (!ghnd_stream_admit(work->stream, work->model, 0, &request->problem))
        return false;
    enum ghn_status status = ghn_predict(work->model->model, work->stream->graph, &options,
                                         request->app->pool, &work->stream->prediction, &err);
    json_t *metadata = NULL;
    if (status == GHN_OK) {
        metadata =
            ghn_answer_metadata(work->model->model, work->arch->name, work->stream->prediction);
        status = metadata ? ghn_encoder_new(work->stream->prediction, GHN_FORM_BLOCKS, GHN_F32,
                                            metadata, &work->stream->encoder, &err)
                          : ghn_fail_memory(&err);
    }
    json_decref(metadata);
    return ghnd_library_succeeded(request, status, &err);
}

/* Whether the uploaded file holds the network's parameters. */
static bool check_upload(struct ghnd_request *request, const struct work *work) {
    struct ghn_err err = GHN_ERR_INIT;
    struct ghn_tensors *tensors = NULL;
    struct ghn_params *params = NULL;
    enum ghn_status status = GHN_OK;
    if ((size_t)work->arch->n_parameters > work->n_upload) /* before so many are allocated */
        status = ghn_fail(&err, GHN_INVALID_FILE, "parameters",
                          "the network has %lld parameters and the file only %zu bytes",
                          (long long)work->arch->n_parameters, work->n_upload);
    if (status == GHN_OK)
        status = ghn_tensors_parse(work->upload, work->n_upload, "parameters", &tensors, &err);
    if (status == GHN_OK && ghn_blocks_is(tensors))
        status = ghn_fail(&err, GHN_INVALID_FILE, "parameters",
                          "these are the blocks of a prediction; expected every tensor in full, as "
                          "ghn convert writes them");
    if (status == GHN_OK)
        status = ghn_params_new(work->arch, &params, &err);
    if (status == GHN_OK)
        status = ghn_params_load(params, tensors, &err);
    ghn_params_free(params);
    ghn_tensors_free(tensors);
    if (status == GHN_NO_MEMORY)
        return ghnd_library_succeeded(request, status, &err);
    if (status != GHN_OK)
        ghnd_problem_set(&request->problem, GHND_E_INVALID_PARAMETERS, err.where, "%s",
                         err.message);
    return status == GHN_OK;
}

static bool make_initial(struct ghnd_request *request, struct work *work) {
    switch (work->recipe.start) {
    case GHN_START_GHN:
        return predict(request, work);
    case GHN_START_UPLOAD:
        return check_upload(request, work);
    case GHN_START_RANDOM:
        break;
    }
    return true;
}

/* --- Keeping it --- */

static enum ghn_status write_initial(const struct work *work, const char *path,
                                     struct ghn_err *err) {
    if (work->recipe.start == GHN_START_RANDOM)
        return GHN_OK;
    if (work->recipe.start == GHN_START_GHN)
        return ghn_encoder_write_file(work->stream->encoder, path, err);
    struct ghn_atomic_file *file = NULL;
    enum ghn_status status = ghn_atomic_file_new(path, &file, err);
    if (status != GHN_OK)
        return status;
    status = ghn_atomic_file_write(file, work->upload, work->n_upload, err);
    if (status == GHN_OK)
        return ghn_atomic_file_commit(file, err);
    ghn_atomic_file_abort(file);
    return status;
}

static enum ghn_status write_files(const char *dir, const struct work *work, struct ghn_err *err) {
    char path[GHND_PATH];
    ghnd_job_path(dir, work->row.id, "initial.safetensors", path);
    json_t *recipe = ghn_recipe_to_json(&work->recipe);
    json_t *request = json_pack("{s:O, s:o}", "network", work->network, "recipe", recipe);
    enum ghn_status status = request ? write_initial(work, path, err) : ghn_fail_memory(err);
    if (status == GHN_OK)
        status = ghnd_job_write_request(dir, work->row.id, request, err);
    if (status == GHN_OK)
        status = ghnd_job_folder_sync(dir, err);
    json_decref(request);
    return status;
}

static void keep(struct ghnd_request *request, struct work *work) {
    struct ghnd_jobs *jobs = request->app->jobs;
    const char *dir = ghnd_jobs_dir(jobs);
    char id[GHND_JOB_ID + 1];
    enum ghnd_insertion insertion = GHND_CONFLICT;
    struct ghn_err err = GHN_ERR_INIT;
    if (!ghnd_library_succeeded(request, ghnd_job_folder_new(dir, work->row.id, &err), &err))
        return;
    memcpy(id, work->row.id, sizeof(id));
    enum ghn_status written = write_files(dir, work, &err);
    if (written == GHN_IO) /* the client need not know where the folder is */
        (void)snprintf(err.where, sizeof(err.where), "state-dir");
    bool kept = ghnd_library_succeeded(request, written, &err) &&
                ghnd_ledger_succeeded(
                    request,
                    ghnd_ledger_insert(work->ledger, &work->row, request->key, work->digest,
                                       request->snapshot->config.max_queued_jobs, &insertion, &err),
                    &err);
    if (kept && insertion == GHND_INSERTED) {
        reply_job(request, &work->row);
        ghnd_jobs_wake(jobs);
        return;
    }
    ghnd_job_folder_remove(dir, id);
    if (kept && insertion == GHND_FULL)
        refuse_queue(request);
    else if (kept) /* the same key came twice at once */
        reply_again(request, &work->row, insertion == GHND_REPLAYED);
}

void ghnd_h_finetune(struct ghnd_request *request) {
    struct work work = {0};
    work.ledger = ghnd_find_ledger(request);
    if (!work.ledger)
        return;
    work.stream = ghnd_stream_new(request->snapshot, &request->app->inflight_bytes);
    if (!work.stream) {
        ghnd_problem_set(&request->problem, GHND_E_LIBRARY_NO_MEMORY, "", "not enough memory");
        return;
    }
    set_digest(request, &work);
    if (is_new(request, &work) && parse(request, &work) && make_network(request, &work) &&
        check_dataset(request, &work) && has_room(request, &work) && make_initial(request, &work))
        keep(request, &work);
    ghnd_stream_free(work.stream);
    ghn_arch_free(work.arch);
    free(work.upload);
    json_decref(work.network);
    json_decref(work.root);
}
