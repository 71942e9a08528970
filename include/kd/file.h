/* SPDX-License-Identifier: MIT
 * file.h: tensors in safetensors files, and files that are replaced as a whole or not at all.
 *
 * A file is 8 bytes with the length of a JSON header, the header, and the tensors' bytes; it is
 * described in docs/formats.md. Every byte that is read is checked before it is used. A file from a
 * stranger gives an error in words at worst. It never takes more memory than some ten times its
 * header, and nothing outside the file is read. Multi-byte values are little-endian, tensors are
 * dense and row-major.
 *
 * Threads are as in ctx.h: an open file or a writer is used by one thread at a time. What is asked
 * of an open file without a kd_status doesn't fail. Paths are those of the system, in its
 * encoding. */
#ifndef KD_FILE_H
#define KD_FILE_H

#include <kd/ctx.h>
#include <kd/dtype.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { KD_FILE_MAX_RANK = 8 };

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct kd_file kd_file;

/* One tensor of a file. The library makes these; later versions may add to their end. */
typedef struct kd_file_tensor {
    const char *name; /* UTF-8; may hold control characters: mind that when printing it */
    kd_dtype dtype;
    int rank; /* 0: a single number */
    int64_t shape[KD_FILE_MAX_RANK];
    size_t count;    /* elements */
    uint64_t bytes;  /* count * kd_dtype_size(dtype) */
    uint64_t offset; /* of its first byte, from the start of the file (the first shard) */
} kd_file_tensor;

/* Open a file, read its header and check all of it; tensors are read when they are asked for.
 *
 *   KD_E_NOTFOUND     there is no such file
 *   KD_E_IO           it, or a shard that it names, can't be read
 *   KD_E_FORMAT       it breaks the format; the error says what it is instead, if that is known
 *   KD_E_UNSUPPORTED  it has an element type or a rank that this library does not know
 *
 * path may also be an index of shards (NAME.safetensors.index.json): the files that it names, in
 * its folder, are then read as one; and a folder: of its model.safetensors, else its
 * model.safetensors.index.json. A folder with neither is KD_E_NOTFOUND. */
KD_API kd_status kd_file_open(kd_ctx *ctx, const char *path, kd_file **file);
/* The same over bytes [size], which must live, unchanged, until the close. name stands for the path
 * in error texts; NULL: "memory". It is copied. */
KD_API kd_status kd_file_from_memory(kd_ctx *ctx, const void *bytes, size_t size, const char *name,
                                     kd_file **file);
/* NULL is allowed. What the file's other functions returned dies with it. */
KD_API void kd_file_close(kd_file *file);

/* The path it was opened with; of a folder, that of the file in it. */
KD_API const char *kd_file_path(const kd_file *file);
/* Bytes of the whole file, or of all shards. */
KD_API uint64_t kd_file_size(const kd_file *file);

/* Tensors, in the order of their bytes: how many, and the one of an index from 0. NULL for an index
 * that is none. */
KD_API size_t kd_file_count(const kd_file *file);
KD_API const kd_file_tensor *kd_file_at(const kd_file *file, size_t index);
/* By name, in O(log n); NULL if there is none (which is no error). */
KD_API const kd_file_tensor *kd_file_find(const kd_file *file, const char *name);

/* The file's own words about itself ("__metadata__"), sorted by key. get: NULL if there is no such
 * key. at: 1, or 0 for an index that is none; key and value may be NULL. */
KD_API size_t kd_file_metadata_count(const kd_file *file);
KD_API const char *kd_file_metadata_get(const kd_file *file, const char *key);
KD_API int kd_file_metadata_at(const kd_file *file, size_t index, const char **key,
                               const char **value);

/* Read elements [first, first + count) of a tensor of this file, row-major. As float32: from f32,
 * f16, bf16 and f64 (rounded to nearest). As int64: from every integer type and bool; a u64 above
 * INT64_MAX is KD_E_UNSUPPORTED. Another type is KD_E_UNSUPPORTED, a range outside the tensor
 * KD_E_INVALID, and a file that has shrunk since it was opened KD_E_IO. out [count]; after a
 * failure it is undefined. */
KD_API kd_status kd_file_read_f32(kd_file *file, const kd_file_tensor *tensor, size_t first,
                                  size_t count, float *out);
KD_API kd_status kd_file_read_i64(kd_file *file, const kd_file_tensor *tensor, size_t first,
                                  size_t count, int64_t *out);
/* The bytes as they are in the file, whatever the type; first and count are in bytes. Errors are as
 * above. */
KD_API kd_status kd_file_read_bytes(kd_file *file, const kd_file_tensor *tensor, uint64_t first,
                                    size_t count, void *out);

/* ---- writing --------------------------------------------------------------------------------- */

/* Collects what a file shall hold, then writes it in one go. The first failure sticks: later calls
 * return it too, so that checking kd_writer_finish is enough. The same calls give the same bytes,
 * in whatever order tensors and metadata were added: tensors are laid out by type, the most aligned
 * first, then by name, as the reference implementation does. */
typedef struct kd_writer kd_writer;

/* Nothing is touched on disk before kd_writer_finish. A file that is there and is neither empty nor
 * a safetensors file would be destroyed: KD_E_EXISTS, now and at the finish. path is copied. */
KD_API kd_status kd_writer_create(kd_ctx *ctx, const char *path, kd_writer **writer);
/* The same into memory, for kd_writer_finish_memory. */
KD_API kd_status kd_writer_create_memory(kd_ctx *ctx, kd_writer **writer);
/* Key and value are copied; both must be UTF-8, else KD_E_INVALID. A key, or a tensor's name, that
 * comes twice is KD_E_INVALID at the finish. */
KD_API kd_status kd_writer_metadata(kd_writer *writer, const char *key, const char *value);
/* A tensor from memory. data must live until the writer is finished: floats for f32, f16 and bf16
 * (rounded to nearest, ties to even; what is too large becomes infinity, NaN stays NaN), else
 * elements of the very type. The name, which is copied, must be UTF-8 and not "__metadata__". shape
 * [rank] is copied; rank is 0..KD_FILE_MAX_RANK, 0 a single number, and sizes may be 0.
 *
 *   KD_E_INVALID  the name, the type or the rank is not allowed, or there is no data
 *   KD_E_SHAPE    a size is negative, or their product overflows */
KD_API kd_status kd_writer_tensor(kd_writer *writer, const char *name, kd_dtype dtype, int rank,
                                  const int64_t *shape, const void *data);
/* A tensor made piece by piece as it is written, so that a permuted array needs no copy. fill is
 * asked during kd_writer_finish, once for each piece, in order. It writes elements
 * [first, first + count) of the row-major tensor: floats for f32, f16 and bf16, else elements of
 * the very type. out is 64-byte aligned. A status other than KD_OK stops the writing and is what
 * finish returns. It is called from the thread that finishes. Errors of kd_writer_tensor_fn are
 * kd_writer_tensor's. */
typedef kd_status (*kd_fill_fn)(void *user, size_t first, size_t count, void *out);
KD_API kd_status kd_writer_tensor_fn(kd_writer *writer, const char *name, kd_dtype dtype, int rank,
                                     const int64_t *shape, kd_fill_fn fill, void *user);
/* Write the file (as kd_file_write_atomic does, with its errors) and destroy the writer, also on
 * failure. The first failure of the writer's calls is returned, too. KD_E_INVALID: it is a writer
 * to memory; of the two below: it is one to a file. */
KD_API kd_status kd_writer_finish(kd_writer *writer);
/* The file as bytes [*size], to be freed with kd_ctx_free; destroys the writer, also on failure. */
KD_API kd_status kd_writer_finish_memory(kd_writer *writer, void **bytes, size_t *size);
/* Takes the next `size` bytes of a file, which are valid during the call. A status other than KD_OK
 * ends the writing. It is called from the thread that finishes. */
typedef kd_status (*kd_write_fn)(void *user, const void *bytes, size_t size);
/* The file of a writer made by kd_writer_create_memory, piece by piece from its first byte to its
 * last, to a function: nobody holds all of it. Destroys the writer, also on failure. What fn
 * returned, if not KD_OK, is returned. */
KD_API kd_status kd_writer_finish_fn(kd_writer *writer, kd_write_fn fn, void *user);
/* Destroy the writer; nothing is written. NULL is allowed. */
KD_API void kd_writer_abandon(kd_writer *writer);

/* ---- whole files ----------------------------------------------------------------------------- */

/* Put these bytes at path, atomically: they go to a temporary file PATH.tmp in the same folder,
 * which is synced to disk and renamed over the old file; then the folder is synced. Whatever
 * happens in between, path holds the old content or the new, never a mixture. On failure (KD_E_IO,
 * with the path and the system's reason) the temporary file is removed and the old file is as it
 * was. A process killed half-way may leave PATH.tmp behind; the next writer takes it over. The
 * permissions of a file that is replaced are kept. A symbolic link is followed and stays; one that
 * leads nowhere is replaced. A path that names a folder or a device is refused, as is an existing
 * file of another kind than the bytes, where the first bytes tell (pictures, safetensors, archives
 * and the like): KD_E_EXISTS. Several threads and processes may write one path at the same
 * moment: it then holds what one of them wrote. bytes may be NULL where size is 0. */
KD_API kd_status kd_file_write_atomic(kd_ctx *ctx, const char *path, const void *bytes,
                                      size_t size);
/* Add one line to a file of lines, made if need be, then sync it. A file that begins as pictures,
 * safetensors, archives and the like do is KD_E_EXISTS. text has no newline. If the disk fills up
 * half-way, the piece is taken back; if an earlier writer was killed half-way, its unfinished line
 * is ended first. KD_E_INVALID: text has a newline; KD_E_IO: the system refuses. */
KD_API kd_status kd_file_append_line(kd_ctx *ctx, const char *path, const char *text);
/* A whole file into memory, at most limit bytes (else KD_E_LIMIT), with a NUL after the last; free
 * *bytes with kd_ctx_free. *size is without the NUL. A missing file is KD_E_NOTFOUND; a pipe, and
 * what the system does not let read, KD_E_IO. */
KD_API kd_status kd_file_read_all(kd_ctx *ctx, const char *path, size_t limit, char **bytes,
                                  size_t *size);
/* A folder of that name, made if it is not there, with those above it. Its name is synced to disk.
 * KD_E_IO: the system refuses, or a file has that name; KD_E_INVALID: the name is empty or too
 * long. */
KD_API kd_status kd_folder_make(kd_ctx *ctx, const char *path);

#ifdef __cplusplus
}
#endif
#endif
