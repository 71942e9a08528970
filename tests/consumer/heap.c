/* SPDX-License-Identifier: MIT
 * heap.c PICTURES FOLDER: a program whose C library's heap is its own: malloc and its kin are defined here, and
 * count. With an allocator given to the context, libkd must not come here: what it needs goes through
 * that. The program opens data, plans, trains, distils, resumes, evaluates, predicts, saves and loads, and says of
 * each part how often the heap was asked, and from where; it answers 0 if nobody asked but those of
 * whom docs/embedder.md says so. PICTURES: a folder in the form of folder:. FOLDER: for files. */
#include <kd/kd.h>

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- the heap -------------------------------------------------------------------------------- */

enum { HEAP = 64 << 20, CALLERS = 64, LINE = 64 };
static _Alignas(LINE) char heap[HEAP]; /* handed out once, never taken back */
static atomic_size_t used;
static atomic_int counting, calls;
static void *callers[CALLERS]; /* of the calls that were counted */

static void *take(size_t size, size_t align, void *caller)
{
    if (align < LINE) align = LINE;
    const size_t room = (size + align + LINE - 1) / LINE * LINE + LINE;
    if (size > HEAP || align > HEAP / 2) return NULL;
    const size_t at = atomic_fetch_add(&used, room);
    if (at + room > HEAP) return NULL;
    char *block = heap + at + LINE;
    block += (align - (size_t)(block - (char *)0) % align) % align;
    memcpy(block - sizeof size, &size, sizeof size);
    if (atomic_load(&counting)) {
        const int n = atomic_fetch_add(&calls, 1);
        if (n < CALLERS) callers[n] = caller;
    }
    return block;
}

#define HERE __builtin_return_address(0)

void *malloc(size_t size)
{
    return take(size, LINE, HERE);
}

void *calloc(size_t n, size_t size)
{
    return size && n > HEAP / size ? NULL : take(n * size, LINE, HERE);
}

void *realloc(void *old, size_t size)
{
    void *block = take(size, LINE, HERE);
    size_t had = 0;
    if (old) memcpy(&had, (char *)old - sizeof had, sizeof had);
    if (block && old) memcpy(block, old, had < size ? had : size);
    return block;
}

void *memalign(size_t align, size_t size)
{
    return take(size, align, HERE);
}

void *aligned_alloc(size_t align, size_t size)
{
    return take(size, align, HERE);
}

int posix_memalign(void **block, size_t align, size_t size)
{
    *block = take(size, align, HERE);
    return *block ? 0 : ENOMEM;
}

void free(void *block)
{
    (void)block;
}

/* ---- the context's memory: from the system, page by page ------------------------------------- */

static void *map(void *user, void *old, size_t old_size, size_t size, size_t align)
{
    void *fresh = NULL;
    (void)user, (void)align;
    if (size) {
        fresh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh == MAP_FAILED) return NULL;
        if (old) memcpy(fresh, old, old_size < size ? old_size : size);
    }
    if (old) munmap(old, old_size);
    return fresh;
}

/* ---- what is done ---------------------------------------------------------------------------- */

#define CNN "vgg4_bn,width=0.125,classes=10,image=32"
#define VIT                                                                                        \
    "deit_tiny_distilled_patch16_224,image=32,patch=8,dim=24,depth=2,heads=2,drop_path=0.2,"       \
    "classes=10"
#define DATA "synthetic:train=64,test=16"

static const char *pictures, *folder;
static kd_ctx *ctx;
static kd_dataset *data;
static kd_model *cnn, *vit;

static kd_status open_data(void)
{
    return kd_dataset_open(ctx, DATA, NULL, &data);
}

static kd_status make_models(void)
{
    const kd_status status = kd_model_create(ctx, CNN, 1, &cnn);
    return status ? status : kd_model_create(ctx, VIT, 1, &vit);
}

/* Plans of every kind: as it comes, within less memory, for one picture. */
static kd_status plan(void)
{
    const kd_train_opt train = {.struct_size = sizeof train, .batch = 16};
    const kd_distill_opt distill = {.struct_size = sizeof distill, .train = &train};
    kd_plan *program, *small;
    kd_exec *exec;
    kd_status status = kd_train_plan(vit, &distill, &program);
    if (status) return status;
    kd_plan_destroy(program);
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 32, 32, 3}, labels[] = {KD_BATCH};
    status = kd_graph_create(ctx, &g);
    if (status) return status;
    const kd_value x = kd_model_build(vit, g, kd_input(g, "input", KD_F32, 4, dim), NULL);
    const kd_value loss = kd_cross_entropy(g, x, kd_input(g, "labels", KD_I32, 1, labels), 0);
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    kd_plan_opt opt = {.struct_size = sizeof opt, .batch = 32, .training = 1};
    if (!status) status = kd_plan_create(g, &opt, &program);
    if (status) return status;
    opt.max_arena = kd_plan_arena_size(program) * 3 / 4;
    status = kd_plan_create(g, &opt, &small);
    kd_plan_destroy(program);
    if (!status) kd_plan_destroy(small);
    kd_graph_destroy(g);
    if (!status) status = kd_model_plan(cnn, 1, &program, &exec);
    if (status) return status;
    kd_exec_destroy(exec);
    kd_plan_destroy(program);
    return KD_OK;
}

static kd_status train(void)
{
    kd_train_opt opt = {.struct_size = sizeof opt,
                        .epochs = 1,
                        .batch = 16,
                        .dev_count = 16,
                        .ema = .5f,
                        .augment = "crop-flip+erase+mixup+randaugment",
                        .out = folder,
                        .overwrite = 1};
    kd_status status = kd_train(cnn, data, &opt, NULL);
    opt.resume = 1;
    opt.overwrite = 0;
    /* A run is resumed from where it began: with the same network, made anew. */
    kd_model_destroy(cnn);
    cnn = NULL;
    if (!status) status = kd_model_create(ctx, CNN, 1, &cnn);
    return status ? status : kd_train(cnn, data, &opt, NULL);
}

static kd_status distill(void)
{
    const kd_train_opt how = {.struct_size = sizeof how,
                              .epochs = 1,
                              .batch = 16,
                              .optimizer = KD_OPTIMIZER_ADAMW,
                              .augment = "rrc+flip"};
    const kd_distill_opt opt = {
        .struct_size = sizeof opt, .teacher = cnn, .method = KD_METHOD_DKD, .train = &how};
    return kd_distill(vit, data, &opt, NULL);
}

static kd_status evaluate(void)
{
    const kd_eval_opt opt = {.struct_size = sizeof opt, .teacher = cnn};
    kd_eval_result result = {.struct_size = sizeof result};
    return kd_evaluate(vit, data, &opt, &result);
}

static kd_status predict(void)
{
    static float x[2 * 32 * 32 * 3], logits[2 * 10];
    return kd_model_predict(vit, x, 2, 0, logits);
}

/* The caller's own pictures: bytes, with a stride, and floats. */
static kd_status own_pictures(void)
{
    static uint8_t pixels[50 * 200];
    static float logits[2 * 10], floats[8 * 32 * 32 * 3];
    static const int32_t labels[8];
    const float *const images[] = {floats, NULL};
    const int32_t *const known[] = {labels, NULL};
    const kd_picture two[] = {{pixels, sizeof pixels, 50, 60, 3, 200},
                              {pixels, sizeof pixels, 33, 41, 3, 190}};
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 10,
                               .height = 32,
                               .width = 32,
                               .channels = 3,
                               .count = {8, 0}};
    kd_predictor *first, *second = NULL;
    kd_guess best;
    kd_dataset *set;
    float mean[3];
    kd_status status = kd_predictor_create(cnn, NULL, &first);
    if (status) return status;
    status = kd_predictor_share(first, &second);
    if (!status) status = kd_predictor_run(second, two, 2, logits);
    if (!status) status = kd_model_guess(cnn, logits, 1, &best);
    kd_predictor_destroy(second);
    kd_predictor_destroy(first);
    if (!status) status = kd_dataset_from_floats(ctx, &info, images, known, 1, &set);
    if (status) return status;
    status = kd_dataset_measure(set, mean, NULL);
    kd_dataset_close(set);
    return status;
}

static kd_status through_memory(void)
{
    void *bytes;
    size_t size;
    kd_model *copy;
    kd_status status = kd_model_save_memory(cnn, KD_F32, &bytes, &size);
    if (status) return status;
    status = kd_model_load_memory(ctx, bytes, size, NULL, &copy);
    if (!status) kd_model_destroy(copy);
    kd_ctx_free(ctx, bytes);
    return status;
}

static kd_status save_and_load(void)
{
    char path[600];
    kd_model *copy;
    const kd_load_opt opt = {.struct_size = sizeof opt, .change = "image=40,classes=5"};
    snprintf(path, sizeof path, "%s/saved.safetensors", folder);
    kd_status status = kd_model_save_as(vit, path, KD_F16);
    if (!status) status = kd_model_load_as(ctx, path, &opt, &copy);
    if (!status) kd_model_destroy(copy);
    return status;
}

static kd_status open_folder(void)
{
    char name[600];
    snprintf(name, sizeof name, "folder:%s", pictures);
    kd_dataset_close(data);
    data = NULL;
    return kd_dataset_open(ctx, name, NULL, &data);
}

static kd_status train_on_folder(void)
{
    kd_model *model;
    kd_status status = kd_model_create(ctx, "vgg2_bn,width=0.125,classes=2,image=16", 1, &model);
    const kd_train_opt opt = {
        .struct_size = sizeof opt, .epochs = 1, .batch = 2, .augment = "rrc+flip"};
    if (status) return status;
    status = kd_train(model, data, &opt, NULL);
    kd_model_destroy(model);
    return status;
}

static kd_status fail(void)
{
    kd_model *none;
    return kd_model_create(ctx, "vgg99", 1, &none) &&
                   kd_model_load(ctx, "no such file", NULL, &none)
               ? KD_OK
               : KD_E_INVALID;
}

static kd_status leave(void)
{
    kd_model_destroy(cnn);
    kd_model_destroy(vit);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    return KD_OK;
}

/* ---- what it asked for ----------------------------------------------------------------------- */

/* What asks the heap all the same: whose code calls it, and for what. */
typedef enum exception { NONE, THREADS = 1, FOLDERS = 2, JPEG = 4 } exception;

static int is_known(const char *module, int may)
{
    static const struct {
        const char *part; /* of the module's path */
        exception of;
    } known[] = {{"/ld-", THREADS},    /* a new thread's thread-local storage */
                 {"/libc.", FOLDERS},  /* opendir; fopen, to see how a file begins */
                 {"/libjpeg.", JPEG}}; /* the object that ours replaces, a picture at a time */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((known[i].of & may) && strstr(module, known[i].part)) return 1;
    return 0;
}

/* Counts are of this part alone. may: exceptions. */
static int part(const char *name, kd_status (*work)(void), int may)
{
    int wrong = 0;
    atomic_store(&calls, 0);
    atomic_store(&counting, 1);
    const kd_status status = work();
    atomic_store(&counting, 0);
    const int n = atomic_load(&calls);
    if (status) printf("%s: %s\n", name, kd_ctx_error(ctx));
    for (int i = 0; i < n && i < CALLERS; i++) {
        Dl_info at = {0};
        if (!dladdr(callers[i], &at) || !at.dli_fname) at.dli_fname = "?";
        if (is_known(at.dli_fname, may)) continue;
        wrong++;
        printf("%s: the heap was asked from %s+%zx (%s)\n", name, at.dli_fname,
               (size_t)((char *)callers[i] - (char *)at.dli_fbase),
               at.dli_sname ? at.dli_sname : "?");
    }
    printf("%-24s %3d calls, %d of them unknown\n", name, n, wrong);
    return status || wrong;
}

static int use(int threads)
{
    const int starts = threads > 1 ? THREADS : NONE;
    const kd_config config = {.struct_size = sizeof config, .threads = threads, .alloc = map};
    int wrong = 0;
    if (kd_ctx_create(&config, &ctx)) return 1;
    wrong += part("open data", open_data, NONE);
    wrong += part("make models", make_models, starts);
    wrong += part("plan", plan, starts);
    wrong += part("train", train, THREADS); /* the loader has one in any case */
    wrong += part("distil", distill, THREADS);
    wrong += part("evaluate", evaluate, THREADS);
    wrong += part("predict", predict, starts);
    wrong += part("pictures of its own", own_pictures, starts);
    wrong += part("through memory", through_memory, starts);
    wrong += part("save and load", save_and_load, starts);
    wrong += part("open a folder", open_folder, FOLDERS);
    wrong += part("train on a folder", train_on_folder, THREADS | JPEG);
    wrong += part("fail", fail, starts);
    wrong += part("leave", leave, NONE);
    return wrong;
}

int main(int count, char **words)
{
    if (count != 3) return 2;
    pictures = words[1];
    folder = words[2];
    setvbuf(stdout, NULL, _IONBF, 0);
    void *own = malloc(1); /* this heap is the one that is used */
    if ((char *)own < heap || (char *)own >= heap + HEAP) return 2;
    return use(1) + use(2) > 0;
}
