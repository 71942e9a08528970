/* SPDX-License-Identifier: MIT
 * test_kinds.c: files that are something else than was wanted: an error says what, and none is
 * overwritten. */
#include "../test.h"

#include "../../lib/file/replaceable.h"

#include <kd/file.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZIP_OF(name, length)                                                                       \
    "PK\3\4\24\0\10\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" length "\0\0\0" name

/* The first bytes of files, and words of the error that opening them gives. */
static const struct {
    const char *bytes;
    size_t size;
    const char *says;
} files[] = {
#define F(bytes, says)                                                                             \
    {                                                                                              \
        bytes, sizeof bytes - 1, says                                                              \
    }
    F("", "is an empty file"),
    F(ZIP_OF("archive/data.pkl\x80\2}q\0.", "\20"), "torch.load('FILE'"),
    F(ZIP_OF("model/version", "\15"), "a PyTorch file"),
    F(ZIP_OF("arr_0.npy\x93NUMPY", "\11"), "a NumPy array"),
    F(ZIP_OF("word/document.xml", "\21"), "a zip archive, no safetensors file; unpack it"),
    F("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3.", "weights_only=True"),
    F("\x80\4\x95\x10\0\0\0\0\0\0\0}\x94.", "a Python pickle"),
    F("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 22883256\n", "git lfs pull"),
    F("<!DOCTYPE html>\n<html><head><title>Not Found</title></head></html>\n", "a page of HTML"),
    F("\n  <html lang=en>sign in</html>", "a page of HTML"),
    F("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
      "a server's error in XML, not the file itself, no safetensors file; download it anew"),
    F("/annex/objects/SHA256E-s9--00.safetensors\n", "git annex get"),
    F("outs:\n- md5: 00\n  size: 9\n", "a DVC pointer, not the file itself, no safetensors file; "),
    F("GGUF\3\0\0\0\1\0\0\0\0\0\0\0", "a GGUF file"),
    F("\10\7\22\7pytorch\x1a\5"
      "2.1.0"
      ":\x80\1",
      "an ONNX model"),
    F("\x89HDF\r\n\x1a\n\0\0\0\0\0\10\10\0", "an HDF5 file"),
    F("\x1f\x8b\10\0\0\0\0\0\0\3abc", "compressed by gzip"),
    F("BZh91AY&SY01234567", "compressed by bzip2"),
    F("\x28\xb5\x2f\xfd\4\0\0\0\0\0", "compressed by zstd"),
    F("\34\0\0\0TFL3\24\0 \0", "a TensorFlow Lite model"),
    F("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
    F("\xff\xd8\xff\xe0\0\20JFIF\0", "a JPEG picture"),
    F("RIFF\x90\1\0\0WEBPVP8 ", "a WebP picture"),
    F("{\"error\": \"Repository not found\"}", "no index of shards: it has no weight_map"),
    F("Not Found", "not a safetensors file, or cut off"),
    F("abc", "not a safetensors file: 3 bytes"),
#undef F
};
enum { FILES = sizeof files / sizeof *files };

static void put(const char *path, const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

static void expect_error(kd_ctx *ctx, const char *says)
{
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "no '%s' in: %s", says,
                  kd_ctx_error(ctx));
}

START_TEST(test_words)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[600];
    snprintf(path, sizeof path, "%s/kind.safetensors", test_dir());
    for (size_t i = 0; i < FILES; i++) {
        kd_file *f;
        put(path, files[i].bytes, files[i].size);
        ck_assert_int_eq(kd_file_open(ctx, path, &f), KD_E_FORMAT);
        ck_assert_ptr_null(f);
        expect_error(ctx, files[i].says);
        expect_error(ctx, path);
        ck_assert_int_eq(kd_file_from_memory(ctx, files[i].bytes, files[i].size, NULL, &f),
                         KD_E_FORMAT);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The header's length that a real file begins with is never taken for another kind. */
START_TEST(test_safetensors_are_known)
{
    for (uint64_t length = 1; length <= 100000000; length += length < 70000 ? 1 : 99991) {
        char bytes[9];
        memcpy(bytes, &length, 8);
        bytes[8] = '{';
        ck_assert_int_eq(kdi_kind_of(bytes, sizeof bytes), KDI_KIND_SAFETENSORS);
    }
}
END_TEST

static kd_status save(kd_ctx *ctx, const char *path)
{
    kd_writer *w;
    const kd_status status = kd_writer_create(ctx, path, &w);
    return status ? status : kd_writer_finish(w);
}

static void expect_kept(kd_ctx *ctx, const char *path, const char *bytes, size_t size)
{
    char *found;
    size_t n;
    test_ok(ctx, kd_file_read_all(ctx, path, 1000, &found, &n));
    ck_assert_uint_eq(n, size);
    ck_assert_mem_eq(found, bytes, size);
    kd_ctx_free(ctx, found);
}

/* What isn't safetensors (and isn't empty) is not replaced by some, at whatever moment it came. */
START_TEST(test_not_replaced)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[600], link[600];
    kd_writer *w;
    snprintf(path, sizeof path, "%s/kept", test_dir());
    for (size_t i = 1; i < FILES; i++) {
        put(path, files[i].bytes, files[i].size);
        ck_assert_int_eq(save(ctx, path), KD_E_EXISTS);
        expect_error(ctx, "it is not replaced by a safetensors file");
        expect_kept(ctx, path, files[i].bytes, files[i].size);
    }
    unlink(path);
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    put(path, "mine", 4);
    ck_assert_int_eq(kd_writer_finish(w), KD_E_EXISTS);
    expect_kept(ctx, path, "mine", 4);
    snprintf(link, sizeof link, "%s/kept_link", test_dir());
    ck_assert_int_eq(symlink("kept", link), 0);
    ck_assert_int_eq(save(ctx, link), KD_E_EXISTS);
    put(path, "", 0);
    test_ok(ctx, save(ctx, link)); /* through the link, which stays */
    struct stat st;
    ck_assert(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    ck_assert(stat(path, &st) == 0 && st.st_size == 16);
    test_ok(ctx, save(ctx, path));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_texts_replace_texts)
{
    static const char png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[600];
    snprintf(path, sizeof path, "%s/text", test_dir());
    test_ok(ctx, kd_file_write_atomic(ctx, path, "{}", 2));
    test_ok(ctx, kd_file_write_atomic(ctx, path, "", 0));
    test_ok(ctx, kd_file_write_atomic(ctx, path, "a,b\n", 4));
    test_ok(ctx, kd_file_write_atomic(ctx, path, "{}", 2));
    test_ok(ctx, kd_file_append_line(ctx, path, "line"));
    ck_assert_int_eq(kd_file_write_atomic(ctx, path, png, sizeof png), KD_E_EXISTS);
    put(path, png, sizeof png);
    test_ok(ctx, kd_file_write_atomic(ctx, path, png, sizeof png));
    ck_assert_int_eq(kd_file_write_atomic(ctx, path, "{}", 2), KD_E_EXISTS);
    ck_assert_int_eq(kd_file_write_atomic(ctx, path, "", 0), KD_E_EXISTS);
    ck_assert_int_eq(kd_file_append_line(ctx, path, "line"), KD_E_EXISTS);
    expect_kept(ctx, path, png, sizeof png);
    unlink(path);
    test_ok(ctx, save(ctx, path));
    ck_assert_int_eq(kd_file_append_line(ctx, path, "line"), KD_E_EXISTS);
    expect_error(ctx, "exists and is a safetensors file");
    kd_ctx_destroy(ctx);
}
END_TEST

/* A folder whose only network is a pickle: named, with the lines that convert it. */
START_TEST(test_folder_of_pickles)
{
    static const char *const names[] = {"pytorch_model.bin", "model.pth", "model.pt"};
    kd_ctx *ctx = test_ctx(1, NULL);
    char folder[600], path[700];
    kd_file *f;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(folder, sizeof folder, "%s/pickles%zu", test_dir(), i);
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        test_ok(ctx, kd_folder_make(ctx, folder));
        ck_assert_int_eq(kd_file_open(ctx, folder, &f), KD_E_NOTFOUND);
        ck_assert_ptr_null(strstr(kd_ctx_error(ctx), "torch"));
        put(path, "\x80\2}.", 4);
        ck_assert_int_eq(kd_file_open(ctx, folder, &f), KD_E_NOTFOUND);
        expect_error(ctx, names[i]);
        expect_error(ctx, "torch.load('FILE'");
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A link that leads nowhere, as git-annex leaves them. */
START_TEST(test_link_to_nothing)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[600];
    kd_file *f;
    snprintf(path, sizeof path, "%s/annexed.safetensors", test_dir());
    ck_assert_int_eq(symlink("../.git/annex/objects/xX/SHA256E-s9--00", path), 0);
    ck_assert_int_eq(kd_file_open(ctx, path, &f), KD_E_NOTFOUND);
    expect_error(ctx, "it is a link to '../.git/annex/objects/xX/SHA256E-s9--00', which is not "
                      "there; fetch the file: git annex get");
    unlink(path);
    ck_assert_int_eq(symlink("gone", path), 0);
    ck_assert_int_eq(kd_file_open(ctx, path, &f), KD_E_NOTFOUND);
    expect_error(ctx, "it is a link to 'gone', which is not there");
    ck_assert_ptr_null(strstr(kd_ctx_error(ctx), "annex get"));
    unlink(path);
    ck_assert_int_eq(kd_file_open(ctx, path, &f), KD_E_NOTFOUND);
    expect_error(ctx, "No such file");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(kinds, 30, &test_words, &test_link_to_nothing, &test_folder_of_pickles,
           &test_safetensors_are_known, &test_not_replaced, &test_texts_replace_texts)
