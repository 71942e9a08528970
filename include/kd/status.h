/* SPDX-License-Identifier: MIT
 * status.h: what every fallible call returns. 0 is success; kd_ctx_error() has the story. Both
 * functions may be called in any thread; their texts are constants. */
#ifndef KD_STATUS_H
#define KD_STATUS_H

/* X(name, text): the enum, its names and its texts are all made from this one list. */
#define KD_STATUS_LIST(X)                                                                          \
    X(KD_OK, "success")                                                                            \
    X(KD_E_INVALID, "invalid argument")                                                            \
    X(KD_E_NOMEM, "out of memory")                                                                 \
    X(KD_E_LIMIT, "a limit was reached")                                                           \
    X(KD_E_SHAPE, "shapes do not fit")                                                             \
    X(KD_E_IO, "input or output failed")                                                           \
    X(KD_E_FORMAT, "malformed file")                                                               \
    X(KD_E_NOTFOUND, "not found")                                                                  \
    X(KD_E_MISMATCH, "things that must agree differ")                                              \
    X(KD_E_UNSUPPORTED, "not supported")                                                           \
    X(KD_E_NOGRAD, "an operation has no gradient")                                                 \
    X(KD_E_NONFINITE, "a value is not finite")                                                     \
    X(KD_E_STOPPED, "stopped by the caller")                                                       \
    X(KD_E_SYSTEM, "the operating system refused")                                                 \
    X(KD_E_EXISTS, "something is there that is not replaced")

#define KD_STATUS_ENUM(name, text) name,
typedef enum kd_status { KD_STATUS_LIST(KD_STATUS_ENUM) KD_STATUS_COUNT } kd_status;
#undef KD_STATUS_ENUM

#if defined(_WIN32)
#define KD_API
#else
#define KD_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* "KD_E_SHAPE" and the like; "unknown status" for a number that is none. Never NULL. */
KD_API const char *kd_status_name(kd_status status);
/* One phrase in words, e.g. "shapes do not fit". Never NULL. */
KD_API const char *kd_status_text(kd_status status);

#ifdef __cplusplus
}
#endif
#endif
