/* Declares the kernels of the instruction set at hand, so that their definitions are checked
 * against kernels.def. */
#ifndef GHN_NN_KERNELS_ISA_H
#define GHN_NN_KERNELS_ISA_H

#include "nn/kernels.h"

#define GHN__KERNEL(name, args) void GHN__K(name) args;
#include "nn/kernels.def"
#undef GHN__KERNEL

#endif
