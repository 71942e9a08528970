/* SPDX-License-Identifier: MIT
 * records.c: see records.h. */
#include "records.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void make_folder(const char *name)
{
    char path[700];
    snprintf(path, sizeof path, "%s", typed_at(name));
    for (char *c = path + strlen(test_dir()) + 1; (c = strchr(c, '/')); *c++ = '/') {
        *c = 0;
        mkdir(path, 0777);
    }
    ck_assert(mkdir(path, 0777) == 0 || access(path, F_OK) == 0);
}

void put_file(const char *folder, const char *file, const char *text)
{
    make_folder(folder);
    typed_put(test_at(typed_at(folder), file).text, text);
}

void put_record(const record *x)
{
    char text[4000], teacher[600] = "", start[400] = "";
    if (x->teacher)
        snprintf(teacher, sizeof teacher, "{\"file\": \"%s/model.safetensors\", \"spec\": \"%s\"}",
                 x->teacher, x->teacher_spec ? x->teacher_spec : VGG);
    if (x->start) snprintf(start, sizeof start, "\"start\": \"%s/model.safetensors\",", x->start);
    snprintf(text, sizeof text,
             "{\"command\": \"train\", \"status\": \"done\", \"spec\": \"%s\", \"seed\": %d,"
             "\"params\": 1000, \"macs\": %d, \"options\": {\"epochs\": 4, \"seed\": %d%s%s},"
             "\"data\": {\"name\": \"%s\", \"checksum\": \"0123456789abcdef\", \"test\": 1000},"
             "%s \"teachers\": [%s],%s \"result\": {\"top1\": %.17g, \"loss\": 0.5,"
             "\"steps\": 40, \"epochs\": 4, \"seconds\": 10, \"peak_bytes\": 1048576,"
             "\"times\": {\"data\": 1, \"teacher\": 2, \"forward\": 3, \"loss\": 0.5,"
             "\"backward\": 3, \"optimizer\": 0.5}}}\n",
             x->spec ? x->spec : VGG, x->seed, x->macs ? x->macs : 2000, x->seed,
             x->options ? ", " : "", x->options ? x->options : "", x->data ? x->data : "made",
             start, teacher, x->more ? x->more : "", x->top1);
    put_file(x->folder, "run.json", text);
}

const double alone[SEEDS] = {90.1, 90.4, 89.9, 90.2, 90};
const double warm[SEEDS] = {90.9, 91.3, 90.5, 91.4, 90.8};
const double hot[SEEDS] = {90.3, 90.2, 90.1, 90.5, 90.2};

void put_seeds(const char *root, const char *name, const double *top1, int seeds,
               const char *teacher, const char *options)
{
    char folder[200];
    for (int s = 0; s < seeds; s++) {
        snprintf(folder, sizeof folder, "%s/%s-seed%d", root, name, s + 1);
        const record x = {.folder = folder,
                          .seed = s + 1,
                          .top1 = top1[s],
                          .teacher = teacher,
                          .options = options};
        put_record(&x);
    }
}

void put_study(const char *root, int seeds)
{
    put_seeds(root, "alone", alone, seeds, NULL, NULL);
    put_seeds(root, "warm", warm, seeds, "teacher", "\"temperature\": 4, \"soft\": 0.9");
    put_seeds(root, "hot", hot, seeds, "teacher", "\"temperature\": 20, \"soft\": 0.9");
}
