#include "kernels/kernels.h"

const tulle_kernel tulle_kernels[TULLE_KERNEL_COUNT] = {
    [TULLE_KERNEL_OF_OP] = {"", "", ""},
#define KERNEL(c_name, function, tile, path, builds) TULLE_BUILD_##builds({function, tile, path})
#include "kernels/kernels.inc"
#undef KERNEL
};
