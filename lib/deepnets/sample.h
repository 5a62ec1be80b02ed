/* The architectures of DeepNets-1M, drawn at random (Knyazev et al. 2021, section 3.2 and appendix
 * A.1; ghn2-spec A2 to A4).
 *
 * The data set is not stored: architecture number i of a split is a function of (split, seed, i),
 * made in microseconds, and its graph is a function of it. Each split has a random stream of its
 * own, and the space itself is divided: a hash of an architecture's structure, without its width,
 * says whether it is for training (14 of 16), for validation or for the other evaluation splits (1
 * of 16 each), and a split takes only what is on its side. So no network of an evaluation split is
 * one of training, whatever the seeds and however many are drawn, and none of val is one of test.
 */
#ifndef GHN_DEEPNETS_SAMPLE_H
#define GHN_DEEPNETS_SAMPLE_H

#include <stdint.h>

#include "base/rng.h"
#include "deepnets/deepnets.h"

enum ghn_deepnets_split {
#define GHN_DEEPNETS_SPLIT(symbol, ...) GHN_DEEPNETS_##symbol,
#include "deepnets/splits.def"
#undef GHN_DEEPNETS_SPLIT
    GHN_N_DEEPNETS_SPLITS,
};

/* "train", "val", "test", "wide", "deep", "dense", "bnfree", "search", "predefined". */
const char *ghn_deepnets_split_name(enum ghn_deepnets_split split);

/* The split of that name; GHN_OUT_OF_RANGE at `where` if there is none. */
enum ghn_status ghn_deepnets_split_from_name(const char *name, const char *where,
                                             enum ghn_deepnets_split *ret,
                                             struct ghn_err *err) GHN_MUST_CHECK;

/* How many networks the published split has. More can be drawn, but of predefined. */
int64_t ghn_deepnets_split_size(enum ghn_deepnets_split split);

/* Architecture number `index` (from 0) of a split, for images of 3 x 32 x 32 and 10 classes.
 *
 * Training networks have C = 32 and fc_dim = 256; ghn_draw_width says what they are trained with.
 * Those of the evaluation splits have the smallest C of 32, 48, 64, ... with which they have 2.5
 * million parameters, and fc_dim = 256 (A4); network i of wide is network i of test with four times
 * its C. Of predefined only number 1, the ViT, is a genotype; ghn_predefined_arch makes both.
 *
 * A network of val, test and wide is drawn again while it has the structure that one of the 499
 * before it was first drawn with, one of deep, dense and bnfree while it has that of one of the 99
 * before it. So two of a published split's size in a row are the same only if one was drawn twice
 * and met another then, or if their cells have several steps, which are not compared: the tests
 * find none in the default seed's. In train and search networks may repeat, as in the published
 * data set: of 100,000 of train about 0.8 % do, of search 4 %.
 *
 * A network takes some 3 microseconds, those of splits without repeats up to some milliseconds.
 * GHN_OUT_OF_RANGE for a negative index, or one that predefined does not have as a genotype. */
enum ghn_status ghn_sample_net(enum ghn_deepnets_split split, uint64_t seed, int64_t index,
                               struct ghn_net *ret, struct ghn_err *err) GHN_MUST_CHECK;

/* Whether all networks can be built for images of side x side: their stems and two reductions halve
 * it, whole each time, so that it is 8, 16, 24, ... 64 or a larger multiple of 32. */
bool ghn_deepnets_side_is_valid(int64_t side);

/* Turns a sampled network into one for images of 3 x side x side and other classes; side is 32 or
 * 224. The same width serves both, but that a network of wide has only twice its C at 224. */
void ghn_sample_for_images(enum ghn_deepnets_split split, int64_t side, int num_classes,
                           struct ghn_net *net);

/* Network 0 (ResNet-50) or 1 (a ViT of 12 cells) of the predefined split, for images of 3 x side x
 * side, adapted to small ones as A8 says. The caller frees with ghn_arch_free. GHN_OUT_OF_RANGE for
 * another index; else as ghn_net_to_arch. */
enum ghn_status ghn_predefined_arch(int64_t index, int64_t side, int num_classes,
                                    const struct ghn_limits *limits, struct ghn_arch **ret,
                                    struct ghn_err *err) GHN_MUST_CHECK;

/* Draws the width of a training architecture and of its head, C and fc_dim, anew for each use (A4).
 * Small networks get up to 128 channels and 512 units. Takes at most three numbers of rng. */
void ghn_draw_width(struct ghn_net *net, struct ghn_rng *rng);

/* The width C of a network in the evaluation splits: the smallest of 32, 48, 64, ... with which it
 * has 2.5 million parameters for images of 32 pixels and 10 classes (A4). */
int ghn_evaluation_width(const struct ghn_net *net);

/* Parameters of the network, those off the path to the output included, as ghn_net_to_arch builds
 * it, without building it. For networks that can be built. */
int64_t ghn_net_n_params(const struct ghn_net *net);

/* A hash of the network's structure: all that makes its function but C, fc_dim, the image and the
 * classes. The order of a step's branches and of steps, branches that lead nowhere and fields
 * without effect make no difference. */
uint64_t ghn_net_structure(const struct ghn_net *net);

#endif
