/* SPDX-License-Identifier: MIT
 * cache.h: folders of teachers' logits, and of features, which are taps of a teacher (kd/model.h)
 * that the loss of the run reads. kd_distill_opt.cache names one; a run fills and reads it.
 * Here it is filled without a student that learns, and looked after.
 *
 * A cache belongs to its teachers (weights, buffers, normalisation), data, augmentation and seed,
 * split, batch, kernel table and library of products: cache.json names them, and a run of other
 * ones is refused, with what differs. docs/formats.md describes the files, which other programs may
 * write, too.
 *
 * Threads are as in ctx.h: what a call is given is in use until it returns. Several runs, of other
 * processes too, may use one folder at the same time: one of them writes. */
#ifndef KD_CACHE_H
#define KD_CACHE_H

#include <kd/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Fill opt->cache with what kd_distill would need for this student, data and options, and learn
 * nothing. Epochs that are there stay. The student says at what size pictures are framed, where a
 * step of the augmentation frames them, and is not changed. opt->train's progress function is
 * called after each batch with epoch, batch, batches and fraction; non-zero stops: KD_E_STOPPED. A
 * disk that is full is KD_E_IO, and kd_ctx_cancel KD_E_STOPPED. KD_E_INVALID: no cache or no
 * teacher is named, or a mistake in the options. KD_E_MISMATCH: the folder is a cache of other
 * logits. KD_E_EXISTS: it holds something else. */
KD_API kd_status kd_cache_build(const kd_model *student, kd_dataset *data,
                                const kd_distill_opt *opt);

/* What kd_cache_verify found. */
typedef struct kd_cache_check {
    size_t struct_size; /* sizeof(kd_cache_check), set by the caller */
    size_t rows;        /* that were compared */
    size_t different;   /* of them, those of other bits */
    double worst;       /* largest difference of two numbers */
} kd_cache_check;

/* Ask the teachers again about `batches` batches, spread evenly over the epochs that are complete
 * (0: all), and compare. A difference is no error. KD_E_NOTFOUND: no epoch is complete. Others are
 * kd_cache_build's. result may be NULL; after an error it has what was compared before. */
KD_API kd_status kd_cache_verify(const kd_model *student, kd_dataset *data,
                                 const kd_distill_opt *opt, size_t batches, kd_cache_check *result);

/* Would run `other` learn from opt->cache if run `one`, of the same context, began it? Where the
 * cache is there already, both are compared with it. KD_E_MISMATCH: no, and what differs. Nothing
 * is written, and no teacher runs. The students' results are not touched. */
KD_API kd_status kd_cache_agree(const kd_student *one, kd_dataset *data, const kd_student *other,
                                kd_dataset *others_data);

/* One epoch's file. */
typedef struct kd_cache_epoch {
    size_t struct_size; /* sizeof(kd_cache_epoch), set by the caller */
    int complete;       /* 0: it is being filled, or was left */
    size_t rows;        /* that it has room for */
    size_t filled;      /* that are there; of files of other programs, all */
    size_t damaged;     /* that are there, but not as they were written; 0 unless read */
    uint64_t bytes;     /* of the file */
} kd_cache_epoch;

/* Look at the file of an epoch; read: check every row of it. KD_E_NOTFOUND: there is none.
 * KD_E_FORMAT, KD_E_MISMATCH: it is none of this cache. result may be NULL. */
KD_API kd_status kd_cache_look(kd_ctx *ctx, const char *folder, size_t epoch, int read,
                               kd_cache_epoch *result);

#ifdef __cplusplus
}
#endif
#endif
