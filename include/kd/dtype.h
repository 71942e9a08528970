/* SPDX-License-Identifier: MIT
 * dtype.h: element types of tensors in memory and in files. Ops compute with the first six; the
 * others are met in files, where they can be listed, copied, and partly converted (kd/file.h). All
 * functions may be called in any thread; their texts are constants. */
#ifndef KD_DTYPE_H
#define KD_DTYPE_H

#include <kd/status.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, text, bytes of one element) */
#define KD_DTYPE_LIST(X)                                                                           \
    X(KD_F32, "f32", 4)                                                                            \
    X(KD_F16, "f16", 2)                                                                            \
    X(KD_BF16, "bf16", 2)                                                                          \
    X(KD_I64, "i64", 8)                                                                            \
    X(KD_I32, "i32", 4)                                                                            \
    X(KD_U8, "u8", 1)                                                                              \
    X(KD_F64, "f64", 8)                                                                            \
    X(KD_U64, "u64", 8)                                                                            \
    X(KD_C64, "c64", 8)                                                                            \
    X(KD_U32, "u32", 4)                                                                            \
    X(KD_U16, "u16", 2)                                                                            \
    X(KD_I16, "i16", 2)                                                                            \
    X(KD_I8, "i8", 1)                                                                              \
    X(KD_BOOL, "bool", 1)                                                                          \
    X(KD_F8_E5M2, "f8_e5m2", 1)                                                                    \
    X(KD_F8_E4M3, "f8_e4m3", 1)                                                                    \
    X(KD_F8_E8M0, "f8_e8m0", 1)                                                                    \
    X(KD_F8_E4M3FNUZ, "f8_e4m3fnuz", 1)                                                            \
    X(KD_F8_E5M2FNUZ, "f8_e5m2fnuz", 1)

#define KD_DTYPE_ENUM(name, text, bytes) name,
typedef enum kd_dtype { KD_DTYPE_LIST(KD_DTYPE_ENUM) KD_DTYPE_COUNT } kd_dtype;
#undef KD_DTYPE_ENUM

/* Bytes of one element; 0 for a number that is none. */
KD_API size_t kd_dtype_size(kd_dtype dtype);
/* "f32", "i64" and the like. Never NULL, also for a number that is none. */
KD_API const char *kd_dtype_name(kd_dtype dtype);

/* A float as the bits of an f16: rounded to nearest, ties to even; what is too large becomes
 * infinity, NaN stays NaN. And back, exactly. */
KD_API uint16_t kd_f32_to_f16(float x);
KD_API float kd_f16_to_f32(uint16_t bits);

#ifdef __cplusplus
}
#endif
#endif
