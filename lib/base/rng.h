/* Random numbers, reproducible by seed and free of global state.
 *
 * Counter-based: number i of a stream is a function of (seed, stream, i) alone, so that any part of
 * a sequence can be made anywhere, in any order, by any thread. The mixing function is SplitMix64's
 * finaliser (Steele, Lea and Flood 2014) applied twice; it is no cipher and must not serve as one.
 */
#ifndef GHN_BASE_RNG_H
#define GHN_BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

/* Number i of a stream: 64 uniform bits. */
uint64_t ghn_rng_bits(uint64_t seed, uint64_t stream, uint64_t i);

/* Number i of a stream as a double in [0, 1), with 53 random bits. */
double ghn_rng_uniform(uint64_t seed, uint64_t stream, uint64_t i);

/* Number i of a stream as a standard normal deviate (Box-Muller; takes bits 2i and 2i+1 of the
 * stream). */
double ghn_rng_normal(uint64_t seed, uint64_t stream, uint64_t i);

/* The stream number of a name, so that what is called "fc.weight" gets the same numbers wherever it
 * stands (FNV-1a). */
uint64_t ghn_rng_stream(const char *name);

/* --- One number after the other --- */

/* A place in a stream, for draws of which the later depend on the earlier. Whoever draws moves it
 * on; the three numbers are all its state, so that it can be saved and restored. */
struct ghn_rng {
    uint64_t seed, stream;
    uint64_t next; /* the number that is drawn next, from 0 */
};

/* The next 64 bits. */
uint64_t ghn_rng_draw(struct ghn_rng *rng);

/* One of min, min + 1, ..., max, all equally likely (to within 2^-32); min <= max. */
int ghn_rng_int(struct ghn_rng *rng, int min, int max);

/* True with probability p. */
bool ghn_rng_chance(struct ghn_rng *rng, double p);

#endif
