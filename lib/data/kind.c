/* SPDX-License-Identifier: MIT
 * kind.c: what a file is that was taken for a picture, told by its first bytes, so that an error
 * can say it: other formats of pictures, and what downloads leave behind. */
#include "decode.h"

#include <string.h>
#include <strings.h>

/* A format that begins with `bytes` at an offset. */
typedef struct kind {
    size_t offset, size;
    const char *bytes, *what;
} kind;

/* In an ISO media file ("ftyp" at 4) the brand at 8 says what it holds. */
static const kind kinds[] = {
    {8, 4, "WEBP", "a WebP picture"}, /* after "RIFF" and a size */
    {0, 4, "GIF8", "a GIF picture"},
    {0, 4, "II*\0", "a TIFF picture"},
    {0, 4, "MM\0*", "a TIFF picture"},
    {0, 4, "II+\0", "a TIFF picture"},
    {0, 4, "MM\0+", "a TIFF picture"},
    {4, 8, "ftypavif", "an AVIF picture"},
    {4, 8, "ftypavis", "an AVIF picture"},
    {4, 7, "ftyphei", "a HEIF picture"},
    {4, 7, "ftyphev", "a HEIF picture"},
    {4, 8, "ftypmif1", "a HEIF picture"},
    {4, 8, "ftypmsf1", "a HEIF picture"},
    {4, 4, "ftyp", "a video, or another ISO media file"},
    {0, 12, "\0\0\0\fJXL \r\n\x87\n", "a JPEG XL picture"},
    {0, 2, "\xFF\x0A", "a JPEG XL picture"},
    {0, 12, "\0\0\0\fjP  \r\n\x87\n", "a JPEG 2000 picture"},
    {0, 4, "\xFF\x4F\xFF\x51", "a JPEG 2000 picture"},
    {0, 4, "8BPS", "a Photoshop picture"},
    {0, 4, "\0\0\1\0", "an icon"},
    {0, 6, "\x93NUMPY", "a NumPy array"},
    {0, 4, "%PDF", "a PDF document"},
    {0, 4, "PK\3\4", "a ZIP archive"},
    {0, 2, "\x1F\x8B", "gzip data"},
    {0, 23, "version https://git-lfs",
     "a git-lfs pointer, not the file itself: git lfs pull gets it"},
};

/* Markup, after blanks and a byte order mark. */
static const struct {
    const char *begin, *what;
} texts[] = {
    {"<!doctype html", "an HTML page, perhaps instead of a download"},
    {"<html", "an HTML page, perhaps instead of a download"},
    {"<svg", "an SVG picture"},
    {"<?xml", "an XML document"},
    {"<!doctype", "an XML document"},
};

static const char *kind_of_text(const uint8_t *bytes, size_t size)
{
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) bytes += 3, size -= 3;
    while (size && (*bytes == ' ' || *bytes == '\t' || *bytes == '\r' || *bytes == '\n'))
        bytes++, size--;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const size_t n = strlen(texts[i].begin);
        if (size >= n && strncasecmp((const char *)bytes, texts[i].begin, n) == 0)
            return texts[i].what;
    }
    return NULL;
}

/* "P5" and the like, then a blank. */
static bool is_netpbm(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
           (bytes[2] == ' ' || bytes[2] == '\n' || bytes[2] == '\r' || bytes[2] == '\t');
}

/* "BM", a size, and four bytes that are always zero. */
static bool is_bmp(const uint8_t *bytes, size_t size)
{
    return size >= 10 && memcmp(bytes, "BM", 2) == 0 && memcmp(bytes + 6, "\0\0\0", 4) == 0;
}

/* ASCII that could be printed, as far as one looks. */
static bool is_plain(const uint8_t *bytes, size_t size)
{
    enum { LOOKED_AT = 256 };
    for (size_t i = 0; i < size && i < LOOKED_AT; i++)
        if (bytes[i] >= 0x7F || (bytes[i] < ' ' && (bytes[i] < '\t' || bytes[i] > '\r')))
            return false;
    return true;
}

static bool is_blank(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

const char *kdi_picture_kind(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const kind *k = &kinds[i];
        if (size >= k->offset + k->size && !memcmp(bytes + k->offset, k->bytes, k->size))
            return k->what;
    }
    if (is_bmp(bytes, size)) return "a BMP picture";
    if (is_netpbm(bytes, size)) return "a Netpbm picture (PPM, PGM)";
    if (is_blank(bytes, size)) return "it holds zeros alone, as a broken download does";
    const char *text = kind_of_text(bytes, size);
    return text ? text : is_plain(bytes, size) ? "a text file" : NULL;
}
