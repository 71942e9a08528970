/* SPDX-License-Identifier: MIT
 * kind.c: see kind.h. */
#include "kind.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name, *advice;
} kinds[KDI_KINDS] = {
    [KDI_KIND_OTHER] = {"a text file", ""},
    [KDI_KIND_BINARY] = {"a file of another kind", ""},
    [KDI_KIND_EMPTY] = {"an empty file", ""},
    [KDI_KIND_ZEROS] = {"zeros alone, as a broken download leaves them", ""},
    [KDI_KIND_SAFETENSORS] = {"a safetensors file", ""},
    [KDI_KIND_JSON] = {"a JSON text", ""},
    [KDI_KIND_PYTORCH] = {"a PyTorch file (a zip archive with a pickle)", ""},
    [KDI_KIND_PICKLE] = {"a Python pickle, as PyTorch writes them", ""},
    [KDI_KIND_NUMPY] = {"a NumPy array", ""},
    [KDI_KIND_LFS] = {"a git-lfs pointer, not the file itself",
                      "; fetch the file: git lfs pull, or download it anew"},
    [KDI_KIND_ANNEX] = {"a git-annex pointer, not the file itself",
                        "; fetch the file: git annex get, or download it anew"},
    [KDI_KIND_DVC] = {"a DVC pointer, not the file itself",
                      "; fetch the file: dvc pull, or download it anew"},
    [KDI_KIND_PAGE] = {"a page of HTML",
                       ": what was downloaded is a page about the file, or an error"},
    [KDI_KIND_REFUSAL] = {"a server's error in XML, not the file itself",
                          "; download it anew, perhaps after a login"},
    [KDI_KIND_XML] = {"an XML document", ""},
    [KDI_KIND_SVG] = {"an SVG picture", ""},
    [KDI_KIND_GGUF] = {"a GGUF file (llama.cpp)", ""},
    [KDI_KIND_ONNX] = {"an ONNX model", ""},
    [KDI_KIND_HDF5] = {"an HDF5 file (as Keras writes them)", ""},
    [KDI_KIND_TFLITE] = {"a TensorFlow Lite model", ""},
    [KDI_KIND_ZIP] = {"a zip archive", "; unpack it"},
    [KDI_KIND_GZIP] = {"compressed by gzip", "; unpack it"},
    [KDI_KIND_BZIP2] = {"compressed by bzip2", "; unpack it"},
    [KDI_KIND_XZ] = {"compressed by xz", "; unpack it"},
    [KDI_KIND_ZSTD] = {"compressed by zstd", "; unpack it"},
    [KDI_KIND_TAR] = {"a tar archive", "; unpack it"},
    [KDI_KIND_PNG] = {"a PNG picture", ""},
    [KDI_KIND_JPEG] = {"a JPEG picture", ""},
    [KDI_KIND_WEBP] = {"a WebP picture", ""},
    [KDI_KIND_GIF] = {"a GIF picture", ""},
    [KDI_KIND_TIFF] = {"a TIFF picture", ""},
    [KDI_KIND_AVIF] = {"an AVIF picture", ""},
    [KDI_KIND_HEIF] = {"a HEIF picture", ""},
    [KDI_KIND_MEDIA] = {"a video, or another ISO media file", ""},
    [KDI_KIND_JXL] = {"a JPEG XL picture", ""},
    [KDI_KIND_JP2] = {"a JPEG 2000 picture", ""},
    [KDI_KIND_PSD] = {"a Photoshop picture", ""},
    [KDI_KIND_ICON] = {"an icon", ""},
    [KDI_KIND_BMP] = {"a BMP picture", ""},
    [KDI_KIND_NETPBM] = {"a Netpbm picture (PPM, PGM)", ""},
    [KDI_KIND_PDF] = {"a PDF document", ""},
    [KDI_KIND_KDE] = {"a network exported for devices (.kde)",
                      "; it can be run and measured, not trained or exported again"},
    [KDI_KIND_PROGRAM] = {"a program", ""},
};

const char *kdi_kind_name(kdi_file_kind kind)
{
    return kinds[kind].name;
}

const char *kdi_kind_advice(kdi_file_kind kind)
{
    return kinds[kind].advice;
}

bool kdi_kind_is_text(kdi_file_kind kind)
{
    return kind == KDI_KIND_OTHER || kind == KDI_KIND_JSON || kind == KDI_KIND_PAGE ||
           kind == KDI_KIND_REFUSAL || kind == KDI_KIND_XML || kind == KDI_KIND_SVG ||
           kind == KDI_KIND_EMPTY;
}

/* ---- by fixed bytes -------------------------------------------------------------------------- */

/* In an ISO media file ("ftyp" at 4) the brand at 8 says what it holds. */
static const struct {
    size_t offset, size;
    const char *bytes;
    kdi_file_kind kind;
} magic[] = {
    {0, 23, "version https://git-lfs", KDI_KIND_LFS},
    {0, 15, "/annex/objects/", KDI_KIND_ANNEX},
    {0, 8, "\x89PNG\r\n\x1a\n", KDI_KIND_PNG},
    {0, 3, "\xFF\xD8\xFF", KDI_KIND_JPEG},
    {8, 4, "WEBP", KDI_KIND_WEBP}, /* after "RIFF" and a size */
    {0, 4, "GIF8", KDI_KIND_GIF},
    {0, 4, "II*\0", KDI_KIND_TIFF},
    {0, 4, "MM\0*", KDI_KIND_TIFF},
    {0, 4, "II+\0", KDI_KIND_TIFF},
    {0, 4, "MM\0+", KDI_KIND_TIFF},
    {4, 8, "ftypavif", KDI_KIND_AVIF},
    {4, 8, "ftypavis", KDI_KIND_AVIF},
    {4, 7, "ftyphei", KDI_KIND_HEIF},
    {4, 7, "ftyphev", KDI_KIND_HEIF},
    {4, 8, "ftypmif1", KDI_KIND_HEIF},
    {4, 8, "ftypmsf1", KDI_KIND_HEIF},
    {4, 4, "ftyp", KDI_KIND_MEDIA},
    {0, 12, "\0\0\0\fJXL \r\n\x87\n", KDI_KIND_JXL},
    {0, 2, "\xFF\x0A", KDI_KIND_JXL},
    {0, 12, "\0\0\0\fjP  \r\n\x87\n", KDI_KIND_JP2},
    {0, 4, "\xFF\x4F\xFF\x51", KDI_KIND_JP2},
    {0, 4, "8BPS", KDI_KIND_PSD},
    {0, 4, "\0\0\1\0", KDI_KIND_ICON},
    {0, 4, "GGUF", KDI_KIND_GGUF},
    {0, 8, "\x89HDF\r\n\x1a\n", KDI_KIND_HDF5},
    {0, 6, "\x93NUMPY", KDI_KIND_NUMPY},
    {0, 3, "\x1F\x8B\x08", KDI_KIND_GZIP},
    {0, 3, "BZh", KDI_KIND_BZIP2},
    {0, 6, "\xFD\x37zXZ", KDI_KIND_XZ},
    {0, 4, "\x28\xB5\x2F\xFD", KDI_KIND_ZSTD},
    {257, 5, "ustar", KDI_KIND_TAR},
    {4, 4, "TFL3", KDI_KIND_TFLITE},
    {0, 4, "%PDF", KDI_KIND_PDF},
    {0, 4, "KDE\x1A", KDI_KIND_KDE},
    {0, 4, "\x7F\x45LF", KDI_KIND_PROGRAM},
};

static bool has(const unsigned char *bytes, size_t size, const char *text)
{
    const size_t length = strlen(text);
    for (size_t i = 0; i + length <= size; i++)
        if (!memcmp(bytes + i, text, length)) return true;
    return false;
}

/* ---- by looking closer ----------------------------------------------------------------------- */

/* By the name of the first file in it. */
static kdi_file_kind kind_of_zip(const unsigned char *bytes, size_t size)
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

/* The length of its header, eight bytes, then the header's '{'. */
static bool is_safetensors(const unsigned char *bytes, size_t size)
{
    enum { LENGTH_BYTES = 8, MOST = 100000000 };
    uint64_t length;
    if (size <= LENGTH_BYTES) return false;
    memcpy(&length, bytes, sizeof length);
    return length > 0 && length <= MOST && bytes[LENGTH_BYTES] == '{';
}

/* A protocol buffer that starts with a small version and the producer's name or the like. */
static bool is_onnx(const unsigned char *bytes, size_t size)
{
    return size > 16 && bytes[0] == 8 && bytes[1] > 0 && bytes[1] < 32 &&
           (bytes[2] == 0x12 || bytes[2] == 0x3A || bytes[2] == 0x42);
}

/* "P5" and the like, then a blank. */
static bool is_netpbm(const unsigned char *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
           (bytes[2] == ' ' || bytes[2] == '\n' || bytes[2] == '\r' || bytes[2] == '\t');
}

/* "BM", a size, and four bytes that are always zero. */
static bool is_bmp(const unsigned char *bytes, size_t size)
{
    return size >= 10 && memcmp(bytes, "BM", 2) == 0 && memcmp(bytes + 6, "\0\0\0", 4) == 0;
}

static bool is_blank(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Whatever the letters' case; names of tags end where a name does. */
static bool begins(const unsigned char *text, size_t size, const char *with)
{
    const size_t n = strlen(with);
    return size >= n && strncasecmp((const char *)text, with, n) == 0;
}

static kdi_file_kind kind_of_markup(const unsigned char *text, size_t size)
{
    const unsigned char next = size > 1 ? text[1] : 0;
    const bool name = (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z');
    if (begins(text, size, "<svg")) return KDI_KIND_SVG;
    if (begins(text, size, "<?xml") || begins(text, size, "<error"))
        return has(text, size, "<Error") || has(text, size, "<Code>AccessDenied") ? KDI_KIND_REFUSAL
               : has(text, size, "<html")                                         ? KDI_KIND_PAGE
               : has(text, size, "<svg")                                          ? KDI_KIND_SVG
                                                                                  : KDI_KIND_XML;
    if (begins(text, size, "<!doctype") && !begins(text, size, "<!doctype html"))
        return KDI_KIND_XML;
    return name || next == '!' ? KDI_KIND_PAGE : KDI_KIND_OTHER;
}

/* Characters of several bytes are as long as their first byte says; the last one may be cut. */
static bool is_utf8(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0, more = 0; i < size; i++) {
        const unsigned char b = bytes[i];
        if (more > 0) {
            if ((b & 0xC0) != 0x80) return false;
            more--;
        } else if (b >= 0x80) {
            if (b < 0xC2 || b > 0xF4) return false;
            more = b >= 0xF0 ? 3 : b >= 0xE0 ? 2 : 1;
        }
    }
    return true;
}

static kdi_file_kind kind_of_text(const unsigned char *bytes, size_t size)
{
    size_t at = size >= 3 && !memcmp(bytes, "\xEF\xBB\xBF", 3) ? 3 : 0;
    while (at < size && bytes[at] && strchr(" \t\r\n", bytes[at])) at++;
    for (size_t i = at; i < size; i++)
        if (bytes[i] < 7 || (bytes[i] > 13 && bytes[i] < 27)) return KDI_KIND_BINARY;
    if (!is_utf8(bytes + at, size - at)) return KDI_KIND_BINARY;
    if (at == size) return KDI_KIND_OTHER;
    if (bytes[at] == '{' || bytes[at] == '[') return KDI_KIND_JSON;
    if (begins(bytes + at, size - at, "outs:") && has(bytes + at, size - at, "md5:"))
        return KDI_KIND_DVC;
    return bytes[at] == '<' ? kind_of_markup(bytes + at, size - at) : KDI_KIND_OTHER;
}

kdi_file_kind kdi_kind_of(const void *data, size_t size)
{
    const unsigned char *const bytes = data;
    if (size == 0) return KDI_KIND_EMPTY;
    if (is_safetensors(bytes, size)) return KDI_KIND_SAFETENSORS;
    for (size_t i = 0; i < sizeof magic / sizeof *magic; i++)
        if (size >= magic[i].offset + magic[i].size &&
            !memcmp(bytes + magic[i].offset, magic[i].bytes, magic[i].size))
            return magic[i].kind;
    if (size >= 4 && !memcmp(bytes, "PK\3\4", 4)) return kind_of_zip(bytes, size);
    if (size > 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5) return KDI_KIND_PICKLE;
    if (is_bmp(bytes, size)) return KDI_KIND_BMP;
    if (is_netpbm(bytes, size)) return KDI_KIND_NETPBM;
    if (is_blank(bytes, size)) return KDI_KIND_ZEROS;
    if (is_onnx(bytes, size)) return KDI_KIND_ONNX;
    return kind_of_text(bytes, size);
}
