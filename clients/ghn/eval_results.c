/* The results of ghn eval that are kept in a file, network by network. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eval_nets.h"

/* What every line begins with. */
static const char beginning[] = "{\"split\":\"";

/* --- Scores as JSON --- */

static json_t *score_to_json(const struct ghn_score *score) {
    const struct ghn_evaluation *evaluation = &score->evaluation;
    return json_pack("{s:I, s:f, s:f, s:f, s:b, s:f}", "images", (json_int_t)evaluation->images,
                     "top1", evaluation->top1, "top5", evaluation->top5, "loss", evaluation->loss,
                     "finite", (int)score->finite, "seconds", score->seconds);
}

static bool score_from_json(json_t *json, struct ghn_score *ret) {
    json_int_t images = 0;
    int finite = 0;
    struct ghn_score score = {0};
    struct ghn_evaluation *evaluation = &score.evaluation;
    if (json_unpack(json, "{s:I, s:F, s:F, s:F, s:b, s:F}", "images", &images, "top1",
                    &evaluation->top1, "top5", &evaluation->top5, "loss", &evaluation->loss,
                    "finite", &finite, "seconds", &score.seconds) != 0 ||
        images < 1)
        return false;
    evaluation->images = images;
    score.finite = finite != 0;
    *ret = score;
    return true;
}

json_t *cli_net_scores_to_json(enum ghn_deepnets_split split, const struct ghn_net_scores *scores) {
    json_t *trained =
        scores->trained.evaluation.images > 0 ? score_to_json(&scores->trained) : NULL;
    return json_pack("{s:s, s:I, s:I, s:o, s:o*}", "split", ghn_deepnets_split_name(split), "index",
                     (json_int_t)scores->index, "parameters", (json_int_t)scores->n_parameters,
                     "predicted", score_to_json(&scores->predicted), "sgd", trained);
}

/* The same back; false if it is nothing of the kind. */
static bool scores_from_json(json_t *json, const char **ret_split, struct ghn_net_scores *ret) {
    json_int_t index = 0, parameters = 0;
    json_t *predicted = NULL, *trained = NULL;
    struct ghn_net_scores scores = {0};
    if (json_unpack(json, "{s:s, s:I, s:I, s:o, s?o}", "split", ret_split, "index", &index,
                    "parameters", &parameters, "predicted", &predicted, "sgd", &trained) != 0 ||
        !score_from_json(predicted, &scores.predicted) ||
        (trained && !score_from_json(trained, &scores.trained)))
        return false;
    scores.index = index;
    scores.n_parameters = parameters;
    *ret = scores;
    return true;
}

/* --- Reading --- */

/* Takes in line `number`; false if it is no result. */
static bool take_line(struct cli_results *results, const char *line, size_t n) {
    const char *split;
    struct ghn_net_scores scores;
    json_t *json = json_loadb(line, n, 0, NULL);
    bool is_result = json && json_is_object(json_object_get(json, "run")) &&
                     scores_from_json(json, &split, &scores);
    if (is_result && json_equal(json_object_get(json, "run"), results->options))
        (void)json_array_append(results->known, json);
    json_decref(json);
    return is_result;
}

/* Whether text may be a line that was cut off. */
static bool is_part_of_line(const char *text, size_t n) {
    size_t common = n < sizeof beginning - 1 ? n : sizeof beginning - 1;
    return memcmp(text, beginning, common) == 0;
}

static enum ghn_status read_lines(struct cli_results *results, FILE *in, struct ghn_err *err) {
    char *line = NULL;
    size_t room = 0;
    off_t end = 0; /* of the lines that are whole */
    enum ghn_status status = GHN_OK;
    ssize_t n;
    for (int number = 1; (n = getline(&line, &room, in)) > 0; number++) {
        bool whole = line[n - 1] == '\n';
        if (whole && take_line(results, line, (size_t)n)) {
            end += n;
            continue;
        }
        if (whole || !is_part_of_line(line, (size_t)n))
            status = ghn_fail(err, GHN_INVALID_FILE, results->path,
                              "line %d is no result of ghn eval", number);
        else if (ftruncate(results->fd, end) != 0)
            status =
                ghn_fail(err, GHN_IO, results->path,
                         "its last line is cut off, and cannot be removed: %s", strerror(errno));
        break;
    }
    if (status == GHN_OK && ferror(in))
        status = ghn_fail(err, GHN_IO, results->path, "it cannot be read: %s", strerror(errno));
    free(line);
    return status;
}

enum ghn_status cli_results_open(struct cli_results *results, const char *path,
                                 const json_t *options, struct ghn_err *err) {
    *results =
        (struct cli_results){.path = path, .fd = -1, .known = json_array(), .options = options};
    if (!results->known)
        return ghn_fail_memory(err);
    if (!path)
        return GHN_OK;
    results->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (results->fd < 0)
        return ghn_fail(err, GHN_IO, path, "it cannot be opened: %s", strerror(errno));
    (void)flock(results->fd, LOCK_EX); /* against a line that is just being written */
    int copy = dup(results->fd);
    FILE *in = copy < 0 ? NULL : fdopen(copy, "r");
    enum ghn_status status = in ? read_lines(results, in, err) : ghn_fail_memory(err);
    if (in)
        (void)fclose(in);
    else if (copy >= 0)
        (void)close(copy);
    (void)flock(results->fd, LOCK_UN);
    return status;
}

void cli_results_done(struct cli_results *results) {
    json_decref(results->known);
    if (results->path && results->fd >= 0)
        (void)close(results->fd);
    *results = (struct cli_results){.fd = -1};
}

int64_t cli_results_find(const struct cli_results *results, const struct cli_eval_split *split) {
    const char *name = ghn_deepnets_split_name(split->split), *in;
    struct ghn_net_scores scores;
    int64_t found = 0;
    size_t i;
    json_t *line;
    json_array_foreach(results->known, i, line) {
        if (!scores_from_json(line, &in, &scores) || strcmp(in, name) != 0)
            continue;
        int64_t place = scores.index - split->first;
        if (scores.index < split->first || place >= split->count)
            continue;
        found += split->scores[place].predicted.evaluation.images == 0;
        split->scores[place] = scores;
    }
    return found;
}

/* --- Writing --- */

enum ghn_status cli_results_add(const struct cli_results *results, enum ghn_deepnets_split split,
                                const struct ghn_net_scores *scores, struct ghn_err *err) {
    if (!results->path)
        return GHN_OK;
    json_t *json = cli_net_scores_to_json(split, scores);
    char *text = json && json_object_set(json, "run", (json_t *)results->options) == 0
                     ? json_dumps(json, JSON_COMPACT)
                     : NULL;
    json_decref(json);
    size_t n = text ? strlen(text) : 0;
    if (!text)
        return ghn_fail_memory(err);
    text[n] = '\n'; /* in the place of the NUL: one write is one line */
    (void)flock(results->fd, LOCK_EX);
    struct stat before;
    bool sized = fstat(results->fd, &before) == 0;
    ssize_t written = write(results->fd, text, n + 1);
    bool kept = written == (ssize_t)n + 1 && fdatasync(results->fd) == 0;
    int why = written >= 0 && written <= (ssize_t)n ? ENOSPC : errno;
    if (!kept && sized) /* half a line would spoil the next one */
        (void)!ftruncate(results->fd, before.st_size);
    (void)flock(results->fd, LOCK_UN);
    free(text);
    if (!kept)
        return ghn_fail(err, GHN_IO, results->path, "a result cannot be written: %s",
                        strerror(why));
    return GHN_OK;
}
