/* SPDX-License-Identifier: MIT
 * replaceable.c: see replaceable.h. */
#include "replaceable.h"

#include "atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONVERT                                                                                    \
    "; convert it in Python: import torch, safetensors.torch; w = torch.load('FILE', "             \
    "map_location='cpu', weights_only=True); safetensors.torch.save_file({k: v.contiguous() for "  \
    "k, v in w.items()}, 'model.safetensors') (where the weights are inside, w = "                 \
    "w['state_dict'] or w['model'] first)"

const char *kdi_safetensors_advice(kdi_file_kind kind)
{
    switch (kind) {
    case KDI_KIND_PYTORCH:
    case KDI_KIND_PICKLE:
        return CONVERT;
    case KDI_KIND_NUMPY:
        return "; safetensors.numpy.save_file writes safetensors";
    case KDI_KIND_ONNX:
        return "; export safetensors from where it was made";
    default:
        return kdi_kind_advice(kind);
    }
}

/* KDI_KIND_EMPTY also where no regular file is. False, with errno: it can't be read. */
static bool kind_at(const char *path, kdi_file_kind *kind)
{
    unsigned char bytes[KDI_KIND_BYTES];
    struct stat st;
    size_t used = 0;
    *kind = KDI_KIND_EMPTY;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return true;
    const int fd = kdi_open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = 1;
    while (used < sizeof bytes && n != 0) {
        n = read(fd, bytes + used, sizeof bytes - used);
        if (n < 0 && errno != EINTR) break;
        if (n > 0) used += (size_t)n;
    }
    /* Fewer bytes than there were a moment ago: whatever it is, it isn't known. */
    const bool cut = used < sizeof bytes && used < (uint64_t)st.st_size;
    const int error = n < 0 ? errno : EIO;
    close(fd);
    errno = error;
    *kind = kdi_kind_of(bytes, used);
    return n >= 0 && !cut;
}

kd_status kdi_kind_replaces(kd_ctx *ctx, const char *path, kdi_file_kind kind)
{
    kdi_file_kind there;
    if (!kind_at(path, &there))
        return kd_ctx_fail(ctx, KD_E_EXISTS, "'%s' exists, cannot be read, and is not replaced: %s",
                           path, strerror(errno));
    if (there == KDI_KIND_EMPTY || there == kind ||
        (kdi_kind_is_text(there) && kdi_kind_is_text(kind)))
        return KD_OK;
    return kd_ctx_fail(ctx, KD_E_EXISTS, "'%s' exists and is %s: it is not replaced by %s", path,
                       kdi_kind_name(there), kdi_kind_name(kind));
}
