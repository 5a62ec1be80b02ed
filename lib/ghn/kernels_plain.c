/* For every processor: vectors of four, which all have or which the compiler takes apart. */
#define KERNEL_NAME plain
#define KERNEL_TARGET
#define KERNEL_LANES 4
#define KERNEL_ROWS 4
#define KERNEL_COLS 2
#include "ghn/kernels_impl.h"
