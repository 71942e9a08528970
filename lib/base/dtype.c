/* SPDX-License-Identifier: MIT
 * dtype.c: sizes and names of the element types, from the list in dtype.h. */
#include <kd/dtype.h>

size_t kd_dtype_size(kd_dtype dtype)
{
    static const size_t sizes[] = {
#define SIZE(name, text, bytes) bytes,
        KD_DTYPE_LIST(SIZE)
#undef SIZE
    };
    return (size_t)dtype < KD_DTYPE_COUNT ? sizes[dtype] : 0;
}

const char *kd_dtype_name(kd_dtype dtype)
{
    static const char *const names[] = {
#define NAME(name, text, bytes) text,
        KD_DTYPE_LIST(NAME)
#undef NAME
    };
    return (size_t)dtype < KD_DTYPE_COUNT ? names[dtype] : "unknown type";
}
