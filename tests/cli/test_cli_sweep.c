/* SPDX-License-Identifier: MIT
 * test_cli_sweep.c: kd sweep and kd cache from the outside: a student of a sweep is the run of its
 * own, byte for byte; what is wrong with a file is one line, before anything is trained. */
#include "made.h"
#include "typed.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:train=80,test=16,image=16"
#define PLAIN "\"data\": \"" DATA "\", \"batch\": 16, \"epochs\": 2"

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 22);
    ck_assert_msg(f != NULL, "%s", path);
    *size = fread(text, 1, (1 << 22) - 1, f);
    fclose(f);
    return text;
}

static void same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = read_file(a, &n), *y = read_file(b, &m);
    ck_assert_msg(n == m && !memcmp(x, y, n), "%s is not %s", a, b);
    free(x);
    free(y);
}

static void make_teacher(void)
{
    typed(0,
          "train vgg3_bn,width=0.25 --data %s --batch 16 --epochs 1 --quiet --overwrite --out %s",
          DATA, typed_at("teacher"));
}

/* Each student has the bytes of a run of its own; a resume changes nothing; a grid multiplies. */
START_TEST(test_sweep)
{
    char text[2000];
    make_teacher();
    snprintf(
        text, sizeof text,
        "{\"common\": {" PLAIN ", \"teacher\": \"%s\", \"temperature\": 3},\n"
        " \"students\": [{\"name\": \"a\", \"spec\": \"vgg2_bn,width=0.125\"},\n"
        "  {\"name\": \"b\", \"spec\": \"vgg3,width=0.125\", \"lr\": 0.02, \"nesterov\": false,"
        " \"temperature\": 2}],\n"
        " \"grid\": {\"soft\": [0.5, 0.9], \"seed\": [3, 4]}}",
        typed_at("teacher"));
    typed_put(typed_at("sweep.json"), text);
    typed(0, "sweep %s --dry-run --json", typed_at("sweep.json"));
    typed_says("said", "\"students\":8,\"passes\":2");
    typed(0, "sweep %s --out %s --quiet --json", typed_at("sweep.json"), typed_at("swept"));
    typed_says("said", "\"name\":\"b-seed=4-soft=0.9\"");
    typed(0,
          "distill vgg3,width=0.125 --teacher %s --data %s --batch 16 --epochs 2 --lr 0.02 "
          "--no-nesterov --temperature 2 --soft 0.9 --seed 4 --quiet --out %s",
          typed_at("teacher"), DATA, typed_at("alone"));
    same_file(typed_at("swept/b-seed=4-soft=0.9/model.safetensors"),
              typed_at("alone/model.safetensors"));
    typed(0, "rerun %s --check --quiet", typed_at("swept/a-seed=3-soft=0.5"));
    typed(1, "sweep %s --out %s --quiet", typed_at("sweep.json"), typed_at("swept"));
    typed_says("errors", "is there already, of an earlier run");
    typed(0, "sweep %s --out %s --quiet --resume", typed_at("sweep.json"), typed_at("swept"));
    same_file(typed_at("swept/b-seed=4-soft=0.9/model.safetensors"),
              typed_at("alone/model.safetensors"));
}
END_TEST

/* With a cache: in one pass, and as processes. */
START_TEST(test_jobs)
{
    char text[2000];
    make_teacher();
    snprintf(text, sizeof text,
             "{\"common\": {" PLAIN ", \"teacher\": [\"%s\"], \"cache\": \"%s\"},\n"
             " \"students\": [{\"name\": \"a\", \"spec\": \"vgg2_bn,width=0.125\"},\n"
             "  {\"name\": \"b\", \"spec\": \"vgg3,width=0.125\"}]}",
             typed_at("teacher"), typed_at("shared"));
    typed_put(typed_at("sweep.json"), text);
    typed(0, "sweep %s --out %s --quiet", typed_at("sweep.json"), typed_at("onepass"));
    typed(0, "cache info %s --json", typed_at("shared"));
    typed_says("said", "\"epochs\":2,\"unfinished\":0,\"damaged\":0,\"rows\":160");
    typed(0, "sweep %s --out %s --quiet --jobs 2", typed_at("sweep.json"), typed_at("jobs"));
    same_file(typed_at("onepass/a/model.safetensors"), typed_at("jobs/a/model.safetensors"));
    same_file(typed_at("onepass/b/model.safetensors"), typed_at("jobs/b/model.safetensors"));
}
END_TEST

/* A cache that two passes cannot share is refused before the first; one that they can is not. */
START_TEST(test_cache_of_two_passes)
{
    static const char *const augment[] = {"crop", "crop", "none"};
    make_teacher();
    for (int i = 0; i < 3; i++) {
        char text[2000];
        snprintf(text, sizeof text,
                 "{\"common\": {" PLAIN ", \"teacher\": \"%s\", \"cache\": \"%s\", \"augment\": "
                 "\"%s\"}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2,width=0.125\"}],"
                 " \"grid\": {\"seed\": [3, 4]}}",
                 typed_at("teacher"), typed_at("seeds"), augment[i]);
        typed_put(typed_at("sweep.json"), text);
        typed(i < 2, "sweep %s --out %s --quiet%s", typed_at("sweep.json"), typed_at("seeded"),
              i == 1 ? " --jobs 2" : "");
        if (i == 2) continue;
        typed_says("errors", "a-seed=3 and a-seed=4 cannot share a cache");
        typed_says("errors",
                   "/seeds/cache.json: the cache is of other logits: its seed is 3, this run's "
                   "is 4");
        ck_assert(access(typed_at("seeded"), F_OK) != 0 && access(typed_at("seeds"), F_OK) != 0);
    }
    ck_assert(access(typed_at("seeded/a-seed=4/model.safetensors"), F_OK) == 0);
}
END_TEST

START_TEST(test_bad_files)
{
    static const struct {
        const char *text, *words;
    } files[] = {
        {"[]", "an object is expected"},
        {"{\"students\": []}", "students: it must be a list of students"},
        {"{\"student\": []}", "'student' is none of common, students, grid"},
        {"{\"students\": [1]}", "a student is an object"},
        {"{\"students\": [{\"spec\": \"vgg2\"}]}", "one has no 'name'"},
        {"{\"students\": [{\"name\": \"a\"}]}", "it has no 'spec'"},
        {"{\"students\": [{\"name\": \"../a\", \"spec\": \"vgg2\"}]}", "a student's name"},
        {"{\"students\": [{\"name\": \"a/b\", \"spec\": \"vgg2\"}]}", "a/b: a student's name"},
        {"{\"students\": [{\"name\": \"-a\", \"spec\": \"vgg2\"}]}", "a student's name"},
        {"{\"students\": [{\"name\": \"a\\u001b[2J\", \"spec\": \"vgg2\"}]}",
         "a?[2J: a student's name"},
        {"{\"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"}]}", "--teacher FILE is missing"},
        {"{\"common\": {\"teacher\": \"TEACHER\", \"data\": \"" DATA
         "\"}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"},"
         "{\"name\": \"b\", \"spec\": \"vgg2,classes=7\"}]}",
         "b: the student has 7 classes"},
        {"{\"common\": {\"tempreture\": 1}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"}]}",
         "did you mean --temperature?"},
        {"{\"common\": {\"lr\": {}}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"}]}",
         "lr: it is no value"},
        {"{\"common\": {\"out\": \"x\"}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"}]}",
         "'out' is said to kd sweep itself"},
        {"{\"grid\": {\"lr\": 1}, \"students\": [{\"name\": \"a\", \"spec\": \"vgg2\"}]}",
         "lr: the grid has a list"},
        {"{\"common\": {\"teacher\": \"TEACHER\"}, \"students\": [{\"name\": \"a\", \"spec\": "
         "\"vgg2\"},"
         "{\"name\": \"a\", \"spec\": \"vgg2\"}]}",
         "two students have this name"},
        {"{\"common\": {\"teacher\": \"TEACHER\", \"data\": \"" DATA
         "\"}, \"students\": [{\"name\": "
         "\"a\", \"spec\": \"vgg2\"}, {\"name\": \"b\", \"spec\": \"vgg8,image=2\"}]}",
         "vgg8,image=2"},
    };
    make_teacher();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char text[1000];
        const char *hole = strstr(files[i].text, "TEACHER");
        snprintf(text, sizeof text, "%s", files[i].text);
        if (hole)
            snprintf(text, sizeof text, "%.*s%s%s", (int)(hole - files[i].text), files[i].text,
                     typed_at("teacher"), hole + 7);
        typed_put(typed_at("bad.json"), text);
        typed(1, "sweep %s --out %s", typed_at("bad.json"), typed_at("never"));
        typed_says("errors", files[i].words);
        ck_assert_msg(access(typed_at("never"), F_OK) != 0, "%s: something was made",
                      files[i].text);
    }
}
END_TEST

/* build, distill without the teacher, verify, damage, prune. */
START_TEST(test_cache)
{
    make_teacher();
    typed(0, "cache build vgg2_bn --teacher %s --data %s --batch 16 --epochs 2 --cache %s --quiet",
          typed_at("teacher"), DATA, typed_at("built"));
    typed(0, "cache verify %s --teacher %s --data %s --batches 0 --quiet", typed_at("built"),
          typed_at("teacher"), DATA);
    typed_says("said", "compared    160 rows with the teacher's logits of now: 0 differ");
    typed(0, "distill vgg2_bn --cache %s --data %s --batch 16 --epochs 2 --quiet --out %s",
          typed_at("built"), DATA, typed_at("cached"));
    typed(0, "distill vgg2_bn --teacher %s --data %s --batch 16 --epochs 2 --quiet --out %s",
          typed_at("teacher"), DATA, typed_at("live"));
    same_file(typed_at("cached/model.safetensors"), typed_at("live/model.safetensors"));
    typed(0, "rerun %s --check --quiet", typed_at("cached"));
    FILE *f = fopen(typed_at("built/epoch-000001.safetensors"), "r+");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, -9, SEEK_END), 0);
    fputs("XYZ", f);
    fclose(f);
    typed(1, "distill vgg2_bn --cache %s --data %s --batch 16 --epochs 2 --quiet",
          typed_at("built"), DATA);
    typed_says("errors", "is damaged (--teacher computes it anew; 'kd cache prune' removes damaged "
                         "epochs)");
    typed(1, "cache verify %s", typed_at("built"));
    typed_says("said", "damaged     epoch 2\n");
    typed_says("errors", "built/epoch-000001.safetensors: 1 of 80 rows are damaged\n");
    /* A folder of an epoch's name cannot be removed; what is damaged is, all the same. */
    ck_assert(!mkdir(typed_at("built/epoch-000000.safetensors.part"), 0777) &&
              !mkdir(typed_at("built/epoch-000004.safetensors"), 0777));
    typed(1, "cache verify %s --json", typed_at("built"));
    typed_says("said", "\"damaged\":2,");
    typed_says("said", "\"damaged_epochs\":[1,4]");
    typed_put(typed_at("built/epoch-000002.safetensors.damaged"), "set aside");
    typed(1, "cache prune %s", typed_at("built"));
    typed_says("said", "removed     epoch-000001.safetensors\n");
    typed_says("said", "removed     epoch-000002.safetensors.damaged");
    typed_says("said", "damaged     epoch 5\n");
    typed_says("errors", "epoch-000004.safetensors: Is a directory");
    ck_assert(!rmdir(typed_at("built/epoch-000000.safetensors.part")) &&
              !rmdir(typed_at("built/epoch-000004.safetensors")));
    typed(0, "cache prune %s", typed_at("built"));
    typed(1, "distill vgg2_bn --cache %s --data %s --batch 16 --epochs 2 --quiet",
          typed_at("built"), DATA);
    typed_says("errors", "the cache lacks epoch 2 of this run");
    typed(2, "cache mend %s", typed_at("built"));
    typed(1, "cache info %s", typed_at("nothing"));
}
END_TEST

/* A cache of features serves students that learn from them and those of logits, teacher or not. */
START_TEST(test_features)
{
    static const char run[] = "--data " DATA " --batch 16 --epochs 2 --quiet --out";
    char text[2000];
    make_teacher();
    typed(0, "distill vgg2_bn --teacher %s --feature cosine --hard 0 %s %s", typed_at("teacher"),
          run, typed_at("feature_live"));
    typed(0,
          "cache build vgg2_bn --teacher %s --feature cosine --data %s --batch 16 --epochs 2 "
          "--cache %s --quiet",
          typed_at("teacher"), DATA, typed_at("features"));
    typed(0, "cache info %s", typed_at("features"));
    typed_says("said", "\"features\": \"embedding=");
    typed(0, "distill vgg2_bn --feature cosine --hard 0 --cache %s %s %s", typed_at("features"),
          run, typed_at("feature_cached"));
    same_file(typed_at("feature_live/model.safetensors"),
              typed_at("feature_cached/model.safetensors"));
    typed(0, "cache verify %s --teacher %s --data %s --json", typed_at("features"),
          typed_at("teacher"), DATA);
    typed_says("said", "\"different\":0");
    typed(1, "distill vgg3_bn --feature at --cache %s %s %s", typed_at("features"), run,
          typed_at("never"));
    typed_says("errors", "the cache has not the teacher's tap stages.");
    typed_says("errors", "it has embedding\n");
    /* In one pass each learns from what it reads; processes of their own begin one cache alike. */
    snprintf(text, sizeof text,
             "{\"common\": {" PLAIN ", \"teacher\": \"%s\", \"cache\": \"%s\"}, \"students\": ["
             "{\"name\": \"a\", \"spec\": \"vgg2\"},"
             "{\"name\": \"b\", \"spec\": \"vgg2\", \"feature\": \"rkd\"}]}",
             typed_at("teacher"), typed_at("pass_cache"));
    typed_put(typed_at("sweep.json"), text);
    typed(1, "sweep %s --out %s --quiet --jobs 2", typed_at("sweep.json"), typed_at("pass"));
    typed_says("errors", "kd: a and b cannot share a cache: ");
    ck_assert(access(typed_at("pass"), F_OK) != 0 && access(typed_at("pass_cache"), F_OK) != 0);
    typed(0, "sweep %s --out %s --quiet", typed_at("sweep.json"), typed_at("pass"));
    typed(0, "rerun %s --check --quiet", typed_at("pass/a"));
    typed(0, "rerun %s --check --quiet", typed_at("pass/b"));
    typed(0, "cache verify %s --teacher %s --data %s", typed_at("pass_cache"), typed_at("teacher"),
          DATA);
    typed(0, "sweep %s --out %s --quiet --jobs 2", typed_at("sweep.json"), typed_at("again"));
    same_file(typed_at("pass/b/model.safetensors"), typed_at("again/b/model.safetensors"));
}
END_TEST

/* What is refused leaves no folder, neither the run's nor the cache's. */
START_TEST(test_nothing_left)
{
    static const char *const words[] = {
        "train vgg3_bn,classes=7",
        "train vgg3_bn --max-memory 1M",
        "train vgg3_bn --dev-count 90",
        "distill vgg3_bn,classes=7 --teacher TEACHER --cache CACHE",
        "distill vgg3_bn --cache CACHE",
        "distill vgg3_bn --teacher TEACHER --cache CACHE --max-memory 2M",
        "distill vgg3_bn --teacher TEACHER --cache OUT",
    };
    make_teacher();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char text[2000] = "";
        for (const char *c = words[i]; *c;) {
            const size_t used = strlen(text);
            const char *with = !strncmp(c, "TEACHER", 7) ? typed_at("teacher")
                               : !strncmp(c, "CACHE", 5) ? typed_at("left/cache")
                               : !strncmp(c, "OUT", 3)   ? typed_at("left/by/it")
                                                         : NULL;
            snprintf(text + used, sizeof text - used, "%.*s", with ? 999 : 1, with ? with : c);
            c += !with ? 1 : *c == 'T' ? 7 : *c == 'C' ? 5 : 3;
        }
        typed(1, "%s --data %s --batch 16 --epochs 2 --quiet --out %s", text, DATA,
              typed_at("left/by/it/"));
        ck_assert_msg(access(typed_at("left"), F_OK) != 0, "%s left something", words[i]);
    }
    typed(1, "cache build vgg2 --teacher %s --data %s --batch 16 --cache %s --max-memory 500K",
          typed_at("teacher"), DATA, typed_at("left/cache"));
    ck_assert(access(typed_at("left"), F_OK) != 0);
}
END_TEST

/* A run's folder is none for a cache; a cache in a folder below it is none of the run's business. */
START_TEST(test_cache_and_run)
{
    make_teacher();
    typed(1, "cache build vgg2 --teacher %s --data %s --batch 16 --epochs 1 --cache %s --quiet",
          typed_at("teacher"), DATA, typed_at("teacher"));
    typed_says("errors", "holds a run (run.json); a cache has a folder of its own");
    ck_assert(access(typed_at("teacher/cache.json"), F_OK) != 0);
    typed(1,
          "distill vgg2 --teacher %s --data %s --batch 16 --epochs 1 --cache %s --quiet --out %s",
          typed_at("teacher"), DATA, typed_at("teacher"), typed_at("teacher"));
    typed(0,
          "distill vgg2 --teacher %s --data %s --batch 16 --epochs 1 --cache %s --quiet --out %s "
          "--overwrite",
          typed_at("teacher"), DATA, typed_at("within/cache"), typed_at("within"));
    typed(0,
          "distill vgg2 --teacher %s --data %s --batch 16 --epochs 1 --cache %s --quiet --out %s "
          "--overwrite",
          typed_at("teacher"), DATA, typed_at("within/cache"), typed_at("within"));
    typed(0, "cache verify %s", typed_at("within/cache"));
}
END_TEST

/* Of several students each line says which, and a cache of another run is refused before the first
 * pass, whichever pass it is of. */
START_TEST(test_named)
{
    char text[2000];
    make_teacher();
    typed(0, "cache build vgg2 --teacher %s --data %s --batch 16 --epochs 2 --cache %s --quiet",
          typed_at("teacher"), DATA, typed_at("of_seed_0"));
    snprintf(text, sizeof text,
             "{\"common\": {" PLAIN ", \"teacher\": \"%s\"}, \"students\": ["
             "{\"name\": \"a\", \"spec\": \"vgg2\", \"cache\": \"%s\"},"
             "{\"name\": \"b\", \"spec\": \"vgg2\", \"cache\": \"%s\", \"seed\": 7}]}",
             typed_at("teacher"), typed_at("named_cache"), typed_at("of_seed_0"));
    typed_put(typed_at("sweep.json"), text);
    typed(1, "sweep %s --out %s", typed_at("sweep.json"), typed_at("named"));
    typed_says("errors", "kd: b: ");
    typed_says("errors", "its seed is 0, this run's is 7");
    ck_assert(access(typed_at("named"), F_OK) != 0 && access(typed_at("named_cache"), F_OK) != 0);
    snprintf(text, sizeof text,
             "{\"common\": {" PLAIN ", \"teacher\": \"%s\"}, \"students\": ["
             "{\"name\": \"a\", \"spec\": \"vgg2\"},"
             "{\"name\": \"b\", \"spec\": \"vgg2\", \"accumulate\": 9}]}",
             typed_at("teacher"));
    typed_put(typed_at("sweep.json"), text);
    typed(0, "sweep %s --out %s --quiet", typed_at("sweep.json"), typed_at("named"));
    typed_says("errors", "kd: warning: b: --accumulate: an epoch has 5 batches");
    typed(1, "sweep %s --out %s --quiet --overwrite --max-memory 2M", typed_at("sweep.json"),
          typed_at("named"));
    typed_says("errors", "kd: a: ");
}
END_TEST

static bool interrupted(const char *folder)
{
    char text[TEST_MAX_TEXT / 8];
    FILE *f = fopen(test_at(folder, "run.json").text, "r");
    const size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    return strstr(text, "\"interrupted\"") != NULL;
}

static void pause_for(long ms)
{
    const struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

/* The students of --jobs end, with a checkpoint, when the process that started them is killed. */
START_TEST(test_orphans)
{
    char text[2000];
    make_teacher();
    snprintf(text, sizeof text,
             "{\"common\": {\"data\": \"" DATA "\", \"batch\": 16, \"epochs\": 100000, "
             "\"teacher\": \"%s\", \"augment\": \"none\", \"cache\": \"%s\"}, \"students\": ["
             "{\"name\": \"a\", \"spec\": \"vgg2,width=0.125\"},"
             "{\"name\": \"b\", \"spec\": \"vgg2_bn,width=0.125\"}]}",
             typed_at("teacher"), typed_at("orphans_cache"));
    typed_put(typed_at("sweep.json"), text);
    const test_path kd = test_bin("kd");
    char a[600], b[600], out[600], file[600];
    snprintf(out, sizeof out, "%s", typed_at("orphans"));
    snprintf(a, sizeof a, "%s", typed_at("orphans/a"));
    snprintf(b, sizeof b, "%s", typed_at("orphans/b"));
    snprintf(file, sizeof file, "%s", typed_at("sweep.json"));
    const pid_t parent = test_start(
        TEST_WORDS(kd.text, "sweep", file, "--out", out, "--jobs", "2", "--quiet"), NULL, NULL);
    for (int i = 0; i < 600; i++) {
        if (!access(test_at(a, "run.json").text, F_OK) &&
            !access(test_at(b, "run.json").text, F_OK))
            break;
        pause_for(50);
    }
    kill(parent, SIGKILL);
    int how;
    ck_assert_int_eq(waitpid(parent, &how, 0), parent);
    for (int i = 0; i < 600 && !(interrupted(a) && interrupted(b)); i++) pause_for(50);
    ck_assert(interrupted(a) && interrupted(b));
    typed(0, "inspect %s/checkpoint.safetensors", a);
}
END_TEST

/* A folder of pictures and nothing else teaches; with a labelled test split beside it is measured. */
static bool says_nan(const char *file)
{
    size_t n;
    char *text = read_file(typed_at(file), &n);
    const bool nan = strstr(text, "nan ") || strstr(text, "nan,");
    free(text);
    return nan;
}

/* Bodies of two sizes, from a teacher of other classes than theirs. */
static void sweep_of_flat(void)
{
    char text[2000];
    snprintf(text, sizeof text,
             "{\"common\": {\"data\": \"folder:%s\", \"batch\": 16, \"epochs\": 1, \"hard\": 0,"
             "\"feature\": \"cosine\", \"teacher\": \"%s\"}, \"students\": ["
             "{\"name\": \"a\", \"spec\": \"vgg2,image=16,classes=3\"},"
             "{\"name\": \"b\", \"spec\": \"vgg3,image=16,classes=3\"}]}",
             typed_at("flat"), typed_at("teacher"));
    typed_put(typed_at("bodies.json"), text);
    typed(0, "sweep %s --out %s", typed_at("bodies.json"), typed_at("bodies"));
    ck_assert(!says_nan("said") && !says_nan("errors"));
}

START_TEST(test_flat_folder)
{
    make_teacher();
    for (int i = 0; i < 40; i++) {
        char name[60];
        snprintf(name, sizeof name, "flat/%02d.png", i);
        made_picture(typed_at(name), 16, (uint64_t)i);
    }
    typed(1, "train vgg2 --image 16 --data folder:%s --quiet", typed_at("flat"));
    typed_says("errors",
               "has no labels: its pictures serve distillation whose labels have no weight");
    typed(0,
          "cache build vgg2 --image 16 --teacher %s --data folder:%s --batch 16 --epochs 2 "
          "--cache %s --quiet",
          typed_at("teacher"), typed_at("flat"), typed_at("flat_cache"));
    typed(0,
          "distill vgg2 --image 16 --teacher %s --data folder:%s --batch 16 --epochs 2 --hard 0 "
          "--cache %s --json --quiet --out %s",
          typed_at("teacher"), typed_at("flat"), typed_at("flat_cache"), typed_at("flat_run"));
    typed_says("said", "classes=10");
    typed_says("said", "\"top1\":null");
    typed_says("said", "\"train_top1\":null");
    typed(0,
          "distill vgg2 --image 16 --data folder:%s --batch 16 --epochs 2 --hard 0 --cache %s "
          "--teacher %s",
          typed_at("flat"), typed_at("flat_cache"), typed_at("teacher"));
    ck_assert_msg(!says_nan("said") && !says_nan("errors"), "%s", typed_at("said"));
    sweep_of_flat();
    typed(1, "distill vgg2 --image 16 --teacher %s --data folder:%s --hard 0 --dev-count 4 --quiet",
          typed_at("teacher"), typed_at("flat"));
    typed_says("errors", "has no labels to measure with");
    typed(1, "eval %s --data folder:%s --split train", typed_at("flat_run"), typed_at("flat"));
    for (int i = 0; i < 10; i++) {
        char name[60];
        snprintf(name, sizeof name, "flat/val/class%d/1.png", i);
        made_picture(typed_at(name), 16, (uint64_t)i);
    }
    typed(0,
          "distill vgg2 --image 16 --teacher %s --data folder:%s --batch 16 --epochs 1 --hard 0 "
          "--json --quiet",
          typed_at("teacher"), typed_at("flat"));
    size_t n;
    char *said = read_file(typed_at("said"), &n);
    ck_assert(strstr(said, "\"top1\":") && !strstr(said, "\"top1\":null"));
    free(said);
}
END_TEST

TEST_SUITE(cli_sweep, 120, &test_features, &test_sweep, &test_jobs, &test_cache_of_two_passes,
           &test_bad_files, &test_cache, &test_nothing_left, &test_cache_and_run, &test_named,
           &test_orphans, &test_flat_folder)
