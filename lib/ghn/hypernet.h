/* A hypernetwork that is being trained: its forward pass over a meta-batch of graphs, and its
 * backward pass from the gradients of their networks' parameters into every one of its tensors
 * (ghn2-spec C and D; paper section 3).
 *
 * A step of training:
 *
 *   ghn_hypernet_forward(h, graphs, m, pool, tape, err)
 *   for every network i: ghn_tape_write (train/tape.h); run the network forward and backward;
 *                        ghn_tape_add_gradient (train/tape.h)
 *   ghn_hypernet_backward(h, tape, pool, err)
 *   an optimiser's step on ghn_hypernet_values with ghn_hypernet_gradient; the gradient to zero
 *
 * No bytes of the results depend on the number of threads of the pool. */
#ifndef GHN_GHN_HYPERNET_H
#define GHN_GHN_HYPERNET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"
#include "ghn/model.h"
#include "graph/graph.h"

struct ghn_hypernet;

/* A new hypernetwork with PyTorch's initial values: the same that ghn_model_new gives for that
 * seed. GHN_OUT_OF_RANGE names a bad entry of config. The caller frees with ghn_hypernet_free. */
enum ghn_status ghn_hypernet_new(const struct ghn_config *config, uint64_t seed,
                                 struct ghn_hypernet **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* A hypernetwork with the values of a model, which is copied. GHN_NO_MEMORY. */
enum ghn_status ghn_hypernet_from_model(const struct ghn_model *model, struct ghn_hypernet **ret,
                                        struct ghn_err *err) GHN_MUST_CHECK;

/* The same for another number of classes: what depends on it has the initial values that seed
 * gives. GHN_OUT_OF_RANGE for a number that there is no hypernetwork for. */
enum ghn_status ghn_hypernet_for_classes(const struct ghn_model *model, int num_classes,
                                         uint64_t seed, struct ghn_hypernet **ret,
                                         struct ghn_err *err) GHN_MUST_CHECK;

/* A model of h's configuration with those values (ghn_hypernet_n), its own present ones for NULL,
 * for evaluating and saving; its metadata is empty. The caller gives it back with ghn_model_unref.
 * GHN_NO_MEMORY. */
enum ghn_status ghn_hypernet_to_model(const struct ghn_hypernet *h, const float *values,
                                      struct ghn_model **ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Frees a hypernetwork; NULL is allowed. */
void ghn_hypernet_free(struct ghn_hypernet *h);

/* Its configuration, which lives as long as h. */
const struct ghn_config *ghn_hypernet_config(const struct ghn_hypernet *h);

/* The number of parameters; their values and their gradient as vectors of that length, the tensors
 * of the configuration one after another in the order of ghn/tensors.def, each row-major. Both
 * belong to h, whose caller may change them between the passes; a new hypernetwork's gradient is
 * zero. */
int64_t ghn_hypernet_n(const struct ghn_hypernet *h);
float *ghn_hypernet_values(struct ghn_hypernet *h);
float *ghn_hypernet_gradient(struct ghn_hypernet *h);

/* A tensor that multiplies embeddings or features: (rows, cols), rows the outputs, from element
 * `first` of the values on. */
struct ghn_matrix {
    int64_t first;
    int rows, cols;
};

/* Fills ret with those of h, in the order of the values; returns how many. */
enum { GHN_HYPERNET_MATRICES = 16 };
int ghn_hypernet_matrices(const struct ghn_hypernet *h,
                          struct ghn_matrix ret[GHN_HYPERNET_MATRICES]);

/* --- The passes --- */

/* What the backward pass needs of a forward pass over a meta-batch, and the predicted parameters
 * with their gradients. Its memory is kept from step to step and grows to the largest meta-batch.
 */
struct ghn_tape;

/* An empty tape, for any hypernetwork. The caller frees with ghn_tape_free (NULL is allowed). */
enum ghn_status ghn_tape_new(struct ghn_tape **ret, struct ghn_err *err) GHN_MUST_CHECK;
void ghn_tape_free(struct ghn_tape *tape);

/* Predicts the parameters of m >= 1 graphs onto the tape, in place of what was there; their
 * gradients are zero. The graphs (borrowed) must live until the tape is used or freed for the last
 * time. With pool NULL this thread does all. GHN_NO_MEMORY, GHN_TOO_LARGE; the tape is empty
 * then. */
enum ghn_status ghn_hypernet_forward(const struct ghn_hypernet *h,
                                     const struct ghn_graph *const *graphs, int m,
                                     struct ghn_pool *pool, struct ghn_tape *tape,
                                     struct ghn_err *err) GHN_MUST_CHECK;

/* Adds to the gradient of h that of the tape's predictions, of which the gradients were given by
 * ghn_tape_fold. The values of h must be those of the forward pass. Destroys the gradients on the
 * tape: the next thing it serves for is another forward pass. GHN_NO_MEMORY: the gradient of h is
 * untouched. */
enum ghn_status ghn_hypernet_backward(struct ghn_hypernet *h, struct ghn_tape *tape,
                                      struct ghn_pool *pool, struct ghn_err *err) GHN_MUST_CHECK;

/* --- Parameters on the tape ---
 *
 * What belongs to different networks may be read and written by different threads at once. Most
 * callers want train/tape.h, which knows a network's parameters by their names. */

/* How many networks are on the tape, and their graphs. */
int ghn_tape_m(const struct ghn_tape *tape);
const struct ghn_graph *ghn_tape_graph(const struct ghn_tape *tape, int i);

/* Whether tensor `slot` (of graph->slots) of network i is predicted; others are on no tape. */
bool ghn_tape_predicts(const struct ghn_tape *tape, int i, int slot);

/* Fills ret (slots[slot].numel) with the tensor in full: the tiling of its block, scaled or
 * squashed (ghn2-spec C5 to C8). The slot must be predicted. */
void ghn_tape_read(const struct ghn_tape *tape, int i, int slot, float *ret);

/* Adds d loss / d tensor (slots[slot].numel), summed over the repeats of the tiling, to the
 * gradient of the tensor's block. The slot must be predicted. */
void ghn_tape_fold(struct ghn_tape *tape, int i, int slot, const float *gradient);

#endif
