#include "base/rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t ghn_rng_bits(uint64_t seed, uint64_t stream, uint64_t i) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    uint64_t key = mix(mix(seed + golden) ^ (stream * golden + 1));
    return mix(mix(key + i * golden) ^ key);
}

double ghn_rng_uniform(uint64_t seed, uint64_t stream, uint64_t i) {
    return (double)(ghn_rng_bits(seed, stream, i) >> 11) * 0x1p-53;
}

double ghn_rng_normal(uint64_t seed, uint64_t stream, uint64_t i) {
    const double two_pi = 6.283185307179586;
    /* 1 - u lies in (0, 1], so that the logarithm is finite. */
    double radius = sqrt(-2.0 * log(1.0 - ghn_rng_uniform(seed, stream, 2 * i)));
    return radius * cos(two_pi * ghn_rng_uniform(seed, stream, 2 * i + 1));
}

uint64_t ghn_rng_stream(const char *name) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001B3u;
    return hash;
}

uint64_t ghn_rng_draw(struct ghn_rng *rng) {
    return ghn_rng_bits(rng->seed, rng->stream, rng->next++);
}

int ghn_rng_int(struct ghn_rng *rng, int min, int max) {
    uint64_t n = (uint64_t)((int64_t)max - min) + 1;
    return (int)(min + (int64_t)(ghn_rng_draw(rng) % n));
}

bool ghn_rng_chance(struct ghn_rng *rng, double p) {
    return (double)(ghn_rng_draw(rng) >> 11) * 0x1p-53 < p;
}
