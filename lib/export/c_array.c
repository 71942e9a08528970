/* SPDX-License-Identifier: MIT
 * c_array.c: the two texts of a C array: NAME.h has the sizes and declarations, NAME.c the blob and
 * the table of the kernels that it needs, so that a linker takes no others. */
#include "export.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct text {
    kd_ctx *ctx;
    char *at;
    size_t n, capacity;
    kd_status status;
} text;

static bool reserve(text *t, size_t more)
{
    while (!t->status && t->n + more + 1 > t->capacity) {
        const size_t capacity = t->capacity ? 2 * t->capacity : 4096;
        char *at = kdi_realloc(t->ctx, t->at, capacity, 1);
        if (!at) {
            t->status = kd_ctx_memory_status(t->ctx);
        } else {
            t->at = at;
            t->capacity = capacity;
        }
    }
    return !t->status;
}

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(text *t, const char *format, ...)
{
    enum { LINE = 1024 };
    va_list list;
    if (!reserve(t, LINE)) return;
    va_start(list, format);
    const int n = vsnprintf(t->at + t->n, LINE, format, list);
    va_end(list);
    t->n += n > 0 ? (n < LINE ? (size_t)n : LINE - 1) : 0;
}

/* A text from outside within a comment: what could end the comment, or is no ASCII, is '?'. */
static void add_comment(text *t, const char *from)
{
    for (size_t i = 0; from[i] && i < 400 && reserve(t, 1); i++) {
        const unsigned char c = (unsigned char)from[i];
        const bool plain = c >= 32 && c < 127 && c != '\\' && c != '?' &&
                           !(c == '/' && i && from[i - 1] == '*') &&
                           !(c == '*' && i && from[i - 1] == '/');
        t->at[t->n++] = (char)(plain ? c : '?');
        t->at[t->n] = 0;
    }
}

static const char *output_type(const kd_export *e)
{
    return !e->net->quantised ? "float" : e->net->sums ? "int32_t" : "int8_t";
}

static void add_header(text *t, const kd_export *e, const char *name, const char *upper)
{
    const kdi_map *picture = &e->net->maps[0];
    add(t, "%s %s.h: a network for kd/edge.h.\n * ", KDI_C_ARRAY_FIRST, name);
    add_comment(t, e->spec ? e->spec : "a network of one's own");
    add(t, " */\n#ifndef %s_H\n#define %s_H\n\n#include <kd/edge.h>\n\n", upper, upper);
    add(t, "#define %s_BLOB_BYTES %zuu\n", upper, e->blob_bytes);
    add(t, "/* Exact: one byte less and kd_edge_run refuses. At a multiple of 16. */\n");
    add(t, "#define %s_ARENA_BYTES %luu\n", upper, (unsigned long)e->at.arena_bytes);
    add(t, "/* The picture: uint8 [height][width][channels], red first. */\n");
    add(t, "#define %s_HEIGHT %zu\n#define %s_WIDTH %zu\n#define %s_CHANNELS %zu\n", upper,
        picture->h, upper, picture->w, upper, picture->c);
    add(t, "#define %s_CLASSES %zu\n", upper, e->net->classes);
    add(t, "/* What kd_edge_run writes: %s [classes]; logit = scale * (q - zero). */\n",
        output_type(e));
    add(t, "#define %s_OUTPUT_TYPE %s\n", upper, output_type(e));
    add(t, "#define %s_OUTPUT_SCALE %.9gf\n#define %s_OUTPUT_ZERO %ld\n\n", upper,
        e->net->quantised ? (double)e->net->output_scale : 1.0, upper,
        e->net->quantised ? (long)e->net->output_zero : 0L);
    add(t, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    add(t, "extern const uint8_t %s_blob[%s_BLOB_BYTES];\n", name, upper);
    add(t, "/* The kernels that it needs, and no others: the last argument of kd_edge_open. */\n");
    add(t, "extern const kd_edge_op *const %s_ops[];\n\n", name);
    add(t, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static void add_ops(text *t, const kd_export *e, const char *name)
{
    static const char *const ops[] = {"conv2d", "linear", "max_pool", "avg_pool", "add"};
    const char *type = e->net->quantised ? "i8" : "f32";
    bool needed[5] = {false};
    for (size_t i = 0; i < e->net->n_layers; i++) {
        const kdi_layer *l = &e->net->layers[i];
        const bool conv = kdi_has_weights(l) && kdi_export_conv(e->net, l).op == KD_EDGE_OP_CONV2D;
        needed[conv ? KDI_CONV : l->op] = true;
    }
    add(t, "const kd_edge_op *const %s_ops[] = {\n", name);
    for (int i = 0; i < 5; i++)
        if (needed[i]) add(t, "    &kd_edge_%s_%s,\n", ops[i], type);
    add(t, "    0,\n};\n");
}

static void add_blob(text *t, const kd_export *e, const char *name, const char *upper)
{
    static const char digits[] = "0123456789";
    add(t, "KD_EDGE_SECTION\nKD_EDGE_ALIGNED const uint8_t %s_blob[%s_BLOB_BYTES] = {", name,
        upper);
    for (size_t i = 0; i < e->blob_bytes && reserve(t, 8); i++) {
        const unsigned byte = e->blob[i];
        if (i % 20 == 0) {
            t->at[t->n++] = '\n';
            t->at[t->n++] = ' ';
        }
        if (byte > 99) t->at[t->n++] = digits[byte / 100];
        if (byte > 9) t->at[t->n++] = digits[byte / 10 % 10];
        t->at[t->n++] = digits[byte % 10];
        t->at[t->n++] = ',';
        t->at[t->n] = 0;
    }
    add(t, "\n};\n");
}

static void add_source(text *t, const kd_export *e, const char *name, const char *upper)
{
    add(t, "%s %s.c: a network for kd/edge.h.\n * ", KDI_C_ARRAY_FIRST, name);
    add_comment(t, e->spec ? e->spec : "a network of one's own");
    add(t, "\n *\n * KD_EDGE_SECTION, if it is defined, goes before the blob, e.g.\n"
           " * -D'KD_EDGE_SECTION=__attribute__((section(\".model\")))'. */\n");
    add(t, "#include \"%s.h\"\n\n#ifndef KD_EDGE_SECTION\n#define KD_EDGE_SECTION\n#endif\n", name);
    add(t, "#ifndef KD_EDGE_ALIGNED\n#if defined(__GNUC__)\n"
           "#define KD_EDGE_ALIGNED __attribute__((aligned(16)))\n"
           "#elif defined(__ICCARM__)\n#define KD_EDGE_ALIGNED _Pragma(\"data_alignment=16\")\n"
           "#else\n#error \"define KD_EDGE_ALIGNED as what puts an array at a multiple of 16\"\n"
           "#endif\n#endif\n\n");
    add(t,
        "/* One that fails here has a compiler whose bytes are not 8 bits. */\n"
        "typedef char %s_check[sizeof(uint8_t) == 1 && %s_BLOB_BYTES %% 16 == 0 ? 1 : -1];\n\n",
        name, upper);
    add_ops(t, e, name);
    add(t, "\n");
    add_blob(t, e, name, upper);
}

kd_status kdi_c_array(kd_export *e, const char *name, char *texts[2])
{
    char upper[64];
    text header = {.ctx = e->ctx}, source = {.ctx = e->ctx};
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof upper; n++) upper[n] = (char)toupper((unsigned char)name[n]);
    upper[n] = 0;
    add_header(&header, e, name, upper);
    add_source(&source, e, name, upper);
    texts[0] = header.at;
    texts[1] = source.at;
    return header.status ? header.status : source.status;
}
