/* SPDX-License-Identifier: MIT
 * kind.c: see kind.h. */
#include "kind.h"

#include "atomic.h"
#include "safetensors.h"

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

static const struct {
    const char *name, *advice;
} kinds[] = {
    [KDI_KIND_OTHER] = {"a text", ""},
    [KDI_KIND_BINARY] = {"a file of another kind", ""},
    [KDI_KIND_EMPTY] = {"an empty file", ""},
    [KDI_KIND_SAFETENSORS] = {"a safetensors file", ""},
    [KDI_KIND_JSON] = {"a JSON text", ""},
    [KDI_KIND_PYTORCH] = {"a PyTorch file (a zip archive with a pickle)", CONVERT},
    [KDI_KIND_PICKLE] = {"a Python pickle, as PyTorch writes them", CONVERT},
    [KDI_KIND_NUMPY] = {"a NumPy array", "; safetensors.numpy.save_file writes safetensors"},
    [KDI_KIND_LFS] = {"a git-lfs pointer, not the file itself",
                      "; fetch the file: git lfs pull, or download it anew"},
    [KDI_KIND_PAGE] = {"a page of HTML or XML",
                       ": what was downloaded is a page about the file, or an error"},
    [KDI_KIND_GGUF] = {"a GGUF file (llama.cpp)", ""},
    [KDI_KIND_ONNX] = {"an ONNX model", "; export safetensors from where it was made"},
    [KDI_KIND_HDF5] = {"an HDF5 file (as Keras writes them)", ""},
    [KDI_KIND_ZIP] = {"a zip archive", "; unpack it"},
    [KDI_KIND_GZIP] = {"compressed by gzip", "; unpack it"},
    [KDI_KIND_BZIP2] = {"compressed by bzip2", "; unpack it"},
    [KDI_KIND_XZ] = {"compressed by xz", "; unpack it"},
    [KDI_KIND_ZSTD] = {"compressed by zstd", "; unpack it"},
    [KDI_KIND_PNG] = {"a PNG picture", ""},
    [KDI_KIND_JPEG] = {"a JPEG picture", ""},
    [KDI_KIND_WEBP] = {"a WebP picture", ""},
    [KDI_KIND_GIF] = {"a GIF picture", ""},
    [KDI_KIND_PDF] = {"a PDF document", ""},
    [KDI_KIND_PROGRAM] = {"a program", ""},
};

const char *kdi_kind_name(kdi_kind kind)
{
    return kinds[kind].name;
}

const char *kdi_kind_advice(kdi_kind kind)
{
    return kinds[kind].advice;
}

static bool begins(const unsigned char *bytes, size_t size, const char *with, size_t length)
{
    return size >= length && !memcmp(bytes, with, length);
}

static bool has(const unsigned char *bytes, size_t size, const char *text)
{
    const size_t length = strlen(text);
    for (size_t i = 0; i + length <= size; i++)
        if (!memcmp(bytes + i, text, length)) return true;
    return false;
}

/* By the name of the first file in it. */
static kdi_kind kind_of_zip(const unsigned char *bytes, size_t size)
{
    if (size < 30) return KDI_KIND_ZIP;
    size_t length = bytes[26] + 256u * bytes[27];
    if (length > size - 30) length = size - 30;
    const unsigned char *name = bytes + 30;
    if (has(name, length, ".pkl") || has(name, length, "/version") ||
        has(name, length, "/.format_version") || has(name, length, "/data/") ||
        has(name, length, "/byteorder"))
        return KDI_KIND_PYTORCH;
    /* The length may be left out; the pickle's name is then all there is. */
    return has(name, size - 30, "data.pkl") ? KDI_KIND_PYTORCH
           : has(name, length, ".npy")      ? KDI_KIND_NUMPY
                                            : KDI_KIND_ZIP;
}

static bool is_safetensors(const unsigned char *bytes, size_t size)
{
    uint64_t length;
    if (size <= KDI_LENGTH_BYTES) return false;
    memcpy(&length, bytes, sizeof length);
    return length > 0 && length <= KDI_MAX_HEADER && bytes[KDI_LENGTH_BYTES] == '{';
}

/* A protocol buffer that starts with a small version and the producer's name or the like. */
static bool is_onnx(const unsigned char *bytes, size_t size)
{
    return size > 16 && bytes[0] == 8 && bytes[1] > 0 && bytes[1] < 32 &&
           (bytes[2] == 0x12 || bytes[2] == 0x3A || bytes[2] == 0x42);
}

static kdi_kind kind_of_text(const unsigned char *bytes, size_t size)
{
    size_t at = begins(bytes, size, "\xEF\xBB\xBF", 3) ? 3 : 0;
    while (at < size && bytes[at] && strchr(" \t\r\n", bytes[at])) at++;
    for (size_t i = at; i < size; i++)
        if (bytes[i] < 7 || (bytes[i] > 13 && bytes[i] < 27)) return KDI_KIND_BINARY;
    if (at == size) return KDI_KIND_OTHER;
    if (bytes[at] == '{' || bytes[at] == '[') return KDI_KIND_JSON;
    if (bytes[at] != '<') return KDI_KIND_OTHER;
    const unsigned char next = at + 1 < size ? bytes[at + 1] : 0;
    const bool name = (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z');
    return name || next == '!' || next == '?' ? KDI_KIND_PAGE : KDI_KIND_OTHER;
}

kdi_kind kdi_kind_of(const void *data, size_t size)
{
    static const struct {
        const char *bytes;
        size_t length;
        kdi_kind kind;
    } magic[] = {
        {"version https://git-lfs", 23, KDI_KIND_LFS},
        {"\x89PNG\r\n\x1a\n", 8, KDI_KIND_PNG},
        {"\xFF\xD8\xFF", 3, KDI_KIND_JPEG},
        {"GIF8", 4, KDI_KIND_GIF},
        {"GGUF", 4, KDI_KIND_GGUF},
        {"\x89HDF\r\n\x1a\n", 8, KDI_KIND_HDF5},
        {"\x93NUMPY", 6, KDI_KIND_NUMPY},
        {"\x1F\x8B\x08", 3, KDI_KIND_GZIP},
        {"BZh", 3, KDI_KIND_BZIP2},
        {"\xFD"
         "7zXZ",
         5, KDI_KIND_XZ},
        {"\x28\xB5\x2F\xFD", 4, KDI_KIND_ZSTD},
        {"%PDF-", 5, KDI_KIND_PDF},
        {"\x7F"
         "ELF",
         4, KDI_KIND_PROGRAM},
    };
    const unsigned char *const bytes = data;
    if (size == 0) return KDI_KIND_EMPTY;
    if (is_safetensors(bytes, size)) return KDI_KIND_SAFETENSORS;
    for (size_t i = 0; i < sizeof magic / sizeof *magic; i++)
        if (begins(bytes, size, magic[i].bytes, magic[i].length)) return magic[i].kind;
    if (begins(bytes, size, "PK\3\4", 4)) return kind_of_zip(bytes, size);
    if (begins(bytes, size, "RIFF", 4) && size >= 12 && !memcmp(bytes + 8, "WEBP", 4))
        return KDI_KIND_WEBP;
    if (size > 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5) return KDI_KIND_PICKLE;
    if (is_onnx(bytes, size)) return KDI_KIND_ONNX;
    return kind_of_text(bytes, size);
}

/* KDI_KIND_EMPTY also where nothing is, or no regular file. False, with errno: it can't be read. */
static bool kind_at(const char *path, kdi_kind *kind)
{
    unsigned char bytes[KDI_KIND_BYTES];
    struct stat st;
    size_t used = 0;
    *kind = KDI_KIND_EMPTY;
    if (stat(path, &st) != 0) return errno == ENOENT;
    if (!S_ISREG(st.st_mode)) return true;
    const int fd = kdi_open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = 1;
    while (used < sizeof bytes && n != 0) {
        n = read(fd, bytes + used, sizeof bytes - used);
        if (n < 0 && errno != EINTR) break;
        if (n > 0) used += (size_t)n;
    }
    const int error = errno;
    close(fd);
    errno = error;
    *kind = kdi_kind_of(bytes, used);
    return n >= 0;
}

static bool is_text(kdi_kind kind)
{
    return kind == KDI_KIND_OTHER || kind == KDI_KIND_JSON || kind == KDI_KIND_PAGE ||
           kind == KDI_KIND_EMPTY;
}

kd_status kdi_kind_replaces(kd_ctx *ctx, const char *path, kdi_kind kind)
{
    kdi_kind there;
    if (!kind_at(path, &there))
        return kd_ctx_fail(ctx, KD_E_EXISTS, "'%s' exists, cannot be read, and is not replaced: %s",
                           path, strerror(errno));
    if (there == KDI_KIND_EMPTY || there == kind || (is_text(there) && is_text(kind))) return KD_OK;
    return kd_ctx_fail(ctx, KD_E_EXISTS, "'%s' exists and is %s: it is not replaced by %s", path,
                       kinds[there].name, kinds[kind].name);
}
