#include "nn/kernels/activation.h"

#include "nn/kernels.h"
#include "nn/kernels/isa.h"

GHN__INLINE void forward(void *y, const void *x, enum ghn_dtype dtype, int64_t begin, int64_t end,
                         enum ghn__act act, float parameter) {
    for (int64_t i = begin; i < end; i += GHN__LANES) {
        int n = ghn__part_of(i, end);
        ghn__put_part(y, dtype, i, n, ghn__act(act, parameter, ghn__get_part(x, dtype, i, n)));
    }
}

GHN__INLINE void backward(void *dx, bool add, const void *dy, const void *x, enum ghn_dtype dtype,
                          int64_t begin, int64_t end, enum ghn__act act, float parameter) {
    for (int64_t i = begin; i < end; i += GHN__LANES) {
        int n = ghn__part_of(i, end);
        ghn__vf d = ghn__get_part(dy, dtype, i, n) *
                    ghn__act_gradient(act, parameter, ghn__get_part(x, dtype, i, n));
        ghn__put_part(dx, dtype, i, n, add ? d + ghn__get_part(dx, dtype, i, n) : d);
    }
}

/* `call` with the type and the activation as constants. */
#define FOR_ACT(call, ACT)                                                                         \
    case ACT:                                                                                      \
        if (dtype == GHN_F32)                                                                      \
            call(GHN_F32, ACT);                                                                    \
        else                                                                                       \
            call(GHN_BF16, ACT);                                                                   \
        break;
#define FOR_ALL(call)                                                                              \
    switch ((enum ghn__act)act) {                                                                  \
        FOR_ACT(call, GHN__ACT_NONE)                                                               \
        FOR_ACT(call, GHN__ACT_RELU)                                                               \
        FOR_ACT(call, GHN__ACT_RELU6)                                                              \
        FOR_ACT(call, GHN__ACT_LEAKY_RELU)                                                         \
        FOR_ACT(call, GHN__ACT_ELU)                                                                \
        FOR_ACT(call, GHN__ACT_SILU)                                                               \
        FOR_ACT(call, GHN__ACT_GELU)                                                               \
        FOR_ACT(call, GHN__ACT_GELU_TANH)                                                          \
        FOR_ACT(call, GHN__ACT_HARDSWISH)                                                          \
        FOR_ACT(call, GHN__ACT_HARDSIGMOID)                                                        \
        FOR_ACT(call, GHN__ACT_SIGMOID)                                                            \
        FOR_ACT(call, GHN__ACT_TANH)                                                               \
    }

void GHN__K(activation)(void *y, const void *x, enum ghn_dtype dtype, int64_t begin, int64_t end,
                        int act, float act_parameter) {
#define CALL(t, k) forward(y, x, t, begin, end, k, act_parameter)
    FOR_ALL(CALL)
#undef CALL
}

void GHN__K(activation_gradient)(void *dx, bool add, const void *dy, const void *x,
                                 enum ghn_dtype dtype, int64_t begin, int64_t end, int act,
                                 float act_parameter) {
#define CALL(t, k) backward(dx, add, dy, x, t, begin, end, k, act_parameter)
    FOR_ALL(CALL)
#undef CALL
}
