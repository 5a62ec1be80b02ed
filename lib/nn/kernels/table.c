#include "nn/kernels/isa.h"

#define GHN__TEXT2(x) #x
#define GHN__TEXT(x) GHN__TEXT2(x)

extern const struct ghn__nn_kernels GHN__K(ghn__nn_table);

const struct ghn__nn_kernels GHN__K(ghn__nn_table) = {
    .name = &GHN__TEXT(GHN__ISA)[1],
#define GHN__KERNEL(name, args) .name = GHN__K(name),
#include "nn/kernels.def"
#undef GHN__KERNEL
};
