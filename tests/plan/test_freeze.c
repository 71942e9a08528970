/* SPDX-License-Identifier: MIT
 * test_freeze.c: parameters frozen by name: which names a list has; that a plan has nothing of the
 * backward that only they need, and evaluates what is made of them alone, fused and depth first; the
 * same bits however it is planned; what is refused. Whole runs are followed in tests/train. */
#include "../test.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(test_names)
{
    static const struct {
        const char *names, *name;
        int yes;
    } cases[] = {
        {"features.0", "features.0.weight", 1},
        {"features.0", "features.0", 1},
        {"features.1", "features.10.weight", 0},
        {"features.0.weight", "features.0", 0},
        {"*", "anything.at.all", 1},
        {"*.bias", "features.0.bias", 1},
        {"*.bias", "features.0.biases", 0},
        {"*.bias", "a.bias.b", 1},
        {"*norm*", "blocks.3.norm1.weight", 1},
        {"*norm", "blocks.3.norm1.weight", 0},
        {"*norm?", "blocks.3.norm1.weight", 1},
        {"blocks.?", "blocks.10.norm1", 0},
        {"blocks.?", "blocks.1.norm1", 1},
        {"*a*b*c", "xxaxxbxxc", 1},
        {"*a*b*c", "xxaxxcxxb", 0},
        {"head", "head_dist.weight", 0},
        {"*,!head", "head.weight", 0},
        {"*,!head", "head_dist.weight", 1},
        {"*,!head,head.bias", "head.bias", 1},
        {"*,!head,head.bias", "head.weight", 0},
        {"!head", "blocks.0", 0},
        {"", "a", 0},
        {",", "a", 0},
        {",a", "a", 1},
        {"a,", "a", 1},
        {"**", "a", 1},
        {"*?", "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(kd_name_matches(cases[i].names, cases[i].name) == cases[i].yes, "%s: %s",
                      cases[i].names, cases[i].name);
    ck_assert_int_eq(kd_name_matches(NULL, "a"), 0);
    ck_assert_int_eq(kd_name_matches("a", NULL), 0);
}
END_TEST

/* ---- the program ----------------------------------------------------------------------------- */

static kd_plan *plan_of(kd_model *m, const char *freeze, size_t batch)
{
    kd_plan *plan;
    const kd_train_opt train = {.struct_size = sizeof train, .freeze = freeze, .batch = batch};
    const kd_distill_opt opt = {.struct_size = sizeof opt, .train = &train};
    test_ok(kd_model_ctx(m), kd_train_plan(m, &opt, &plan));
    return plan;
}

/* Steps of an op whose names begin so; op NULL: of any. */
static size_t count(const kd_plan *plan, const char *op, const char *name, bool backward)
{
    size_t n = 0;
    for (size_t i = 0; i < kd_plan_steps(plan); i++) {
        kd_plan_step s = {.struct_size = sizeof s};
        ck_assert_int_eq(kd_plan_step_info(plan, i, &s), KD_OK);
        n += (s.backward != 0) == backward && (!op || !strcmp(s.op, op)) &&
             !strncmp(s.name, name, strlen(name));
    }
    return n;
}

START_TEST(test_program)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, "vgg8_bn,width=0.25,classes=10,image=32", 1, &m));
    kd_plan *plan = plan_of(m, NULL, 8);
    ck_assert_uint_gt(count(plan, "conv2d", "features", true), 4);
    ck_assert_uint_eq(count(plan, "batch_norm", "features", false), 5);
    ck_assert_uint_lt(kd_plan_mixes(plan), kd_plan_steps(plan));
    kd_plan_destroy(plan);
    /* The head alone: five convolutions with all that follows them, an average, and the head. */
    plan = plan_of(m, "body", 8);
    ck_assert_uint_eq(count(plan, NULL, "features", true), 0);
    ck_assert_uint_eq(count(plan, "conv2d", "features", false), 5);
    ck_assert_uint_eq(count(plan, NULL, "features", false), 5);
    ck_assert_uint_eq(count(plan, NULL, "classifier", true), 1);
    ck_assert_uint_eq(kd_plan_mixes(plan), kd_plan_steps(plan));
    kd_plan_destroy(plan);
    /* The first stage, and the norm of the third, whose convolution learns. */
    plan = plan_of(m, "features.0,features.1,features.9", 8);
    ck_assert_uint_eq(count(plan, NULL, "features.0", true), 0);
    ck_assert_uint_eq(count(plan, NULL, "features.1.", true), 0);
    ck_assert_uint_eq(count(plan, "batch_norm", "features", false), 4);
    ck_assert_uint_eq(count(plan, "batch_norm", "features.9", true), 1);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- bits ------------------------------------------------------------------------------------ */

enum { BATCH = 9, MOST_SIDE = 96 };

static kd_graph *graph_of(kd_model *m, const char *freeze)
{
    kd_graph *g;
    const int64_t side = (int64_t)kd_model_image(m), dim[] = {KD_BATCH, side, side, 3};
    test_ok(kd_model_ctx(m), kd_graph_create(kd_model_ctx(m), &g));
    kd_graph_freeze(g, freeze);
    const kd_value logits = kd_model_build(m, g, kd_input(g, "input", KD_F32, 4, dim), NULL);
    const kd_value loss = kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, dim), 0);
    kd_output(g, loss, "loss");
    test_ok(kd_model_ctx(m), kd_graph_grad(g, loss));
    return g;
}

/* All gradients, the caller's to free. */
static float *gradients(kd_model *m, kd_graph *g, const kd_plan_opt *opt)
{
    static float x[BATCH * MOST_SIDE * MOST_SIDE * 3];
    static const int32_t labels[BATCH] = {0, 1, 2, 0, 1, 2, 0, 1, 2};
    kd_plan *plan;
    kd_exec *exec;
    kd_params *params = kd_model_params(m);
    kd_ctx *ctx = kd_model_ctx(m);
    const size_t bytes = kd_params_flat_count(params) * sizeof(float);
    test_fill(x, sizeof x / sizeof *x, 7, 1);
    test_ok(ctx, kd_plan_create(g, opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    memset(kd_params_grads(params), 0, bytes);
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    const kd_run_opt run = {.struct_size = sizeof run, .seed = 3, .step = 4};
    test_ok(ctx, kd_exec_run(exec, &run));
    float *copy = malloc(bytes + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, kd_params_grads(params), bytes);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return copy;
}

/* Fused and not they differ by rounding; otherwise the bits are the same. Frozen parameters have no
 * gradient, and no buffer moves where all norms are frozen. */
START_TEST(test_bits)
{
    static const struct {
        const char *spec, *freeze;
        bool norms; /* all of them are frozen */
    } cases[] = {
        {"vgg4_bn,width=0.25,classes=3,image=32", "*,!classifier", true},
        {"vgg4_bn,width=0.25,classes=3,image=32", "features.0,features.1,features.5", false},
        {"vgg3,width=0.25,classes=3,image=32,head=fc4096,dense=40", "features", true},
        /* Maps so large that the frozen stages run for a few pictures at a time. */
        {"vgg3_bn,classes=3,image=96,width=2", "*,!classifier", true},
        {"vit_tiny_patch16_224,image=32,patch=8,dim=24,heads=3,depth=3,drop_path=0.3,classes=3",
         "patch_embed,cls_token,pos_embed,blocks.0,blocks.1", true},
        {"swin_tiny_patch4_window7_224,image=32,dim=12,depth=2-1,heads=2-3,window=3,classes=3",
         "patch_embed,layers.0", true},
    };
    kd_ctx *ctx = test_ctx(2, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_model *m;
        test_ok(ctx, kd_model_create(ctx, cases[i].spec, 3, &m));
        kd_params *params = kd_model_params(m);
        const size_t n = kd_params_flat_count(params), bytes = kd_params_buffer_bytes(params);
        void *buffers = malloc(bytes + 1);
        ck_assert_ptr_nonnull(buffers);
        memcpy(buffers, kd_params_buffers(params), bytes);
        kd_graph *g = graph_of(m, cases[i].freeze);
        const kd_plan_opt usual = {.struct_size = sizeof usual, .batch = BATCH, .training = 1};
        kd_plan_opt other = usual;
        float *want = gradients(m, g, &usual);
        ck_assert_msg(!memcmp(buffers, kd_params_buffers(params), bytes) == cases[i].norms, "%s",
                      cases[i].spec);
        memcpy(kd_params_buffers(params), buffers, bytes);
        other.whole_batch = other.no_sharing = other.guard = 1;
        float *got = gradients(m, g, &other);
        ck_assert_msg(!memcmp(want, got, n * sizeof *got), "%s", cases[i].spec);
        free(got);
        memcpy(kd_params_buffers(params), buffers, bytes);
        other = usual; /* guarded, depth first */
        other.guard = 1;
        got = gradients(m, g, &other);
        ck_assert_msg(!memcmp(want, got, n * sizeof *got), "%s", cases[i].spec);
        free(got);
        memcpy(kd_params_buffers(params), buffers, bytes);
        other.guard = 0;
        other.no_fusion = 1;
        got = gradients(m, g, &other);
        ck_assert_msg(test_distance(got, want, n) < 1e-4, "%s", cases[i].spec);
        size_t learn = 0;
        for (size_t k = 0; k < kd_params_entries(params); k++) {
            const kd_param_info *info = kd_params_info(params, k);
            float largest = 0;
            for (size_t j = 0; j < info->count && !info->buffer; j++)
                if (want[info->offset + j] * want[info->offset + j] > largest)
                    largest = want[info->offset + j] * want[info->offset + j];
            if (kd_name_matches(cases[i].freeze, info->name))
                ck_assert_msg(largest <= 0, "%s: %s", cases[i].spec, info->name);
            learn += largest > 0;
        }
        ck_assert_uint_gt(learn, 1);
        free(got);
        free(want);
        free(buffers);
        kd_graph_destroy(g);
        kd_model_destroy(m);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(kd_model *m, const kd_train_opt *with, const char *says)
{
    kd_train_opt train = *with;
    kd_plan *plan = NULL;
    kd_ctx *ctx = kd_model_ctx(m);
    train.struct_size = sizeof train;
    train.batch = 4;
    const kd_distill_opt opt = {.struct_size = sizeof opt, .train = &train};
    const kd_status status = kd_train_plan(m, &opt, &plan);
    ck_assert_msg(status == KD_E_INVALID && strstr(kd_ctx_error(ctx), says), "%s: %s", says,
                  kd_ctx_error(ctx));
    ck_assert_ptr_null(plan);
}

START_TEST(test_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    char longer[3000];
    test_ok(ctx, kd_model_create(ctx, "vgg3_bn,width=0.125,classes=3,image=16", 1, &m));
    refused(m, &(kd_train_opt){.freeze = "blocks.0"}, "freeze: vgg3_bn");
    refused(m, &(kd_train_opt){.freeze = "blocks.0"},
            "has no parameter 'blocks.0'; the first is features.0.weight");
    refused(m, &(kd_train_opt){.freeze = "features.0,featres.1"}, "no parameter 'featres.1'");
    refused(m, &(kd_train_opt){.freeze = "*"}, "freeze: '*' is all of the parameters");
    refused(m, &(kd_train_opt){.freeze = "features,classifier"}, "nothing learns");
    refused(m, &(kd_train_opt){.freeze = "!classifier"}, "is none of the parameters");
    refused(m, &(kd_train_opt){.freeze = "features.0,,classifier"}, "a name is empty");
    refused(m, &(kd_train_opt){.freeze = ""}, "freeze: the list of names is empty");
    refused(m, &(kd_train_opt){.freeze = "body,classifier"}, "'body' is no name for a list");
    refused(m, &(kd_train_opt){.freeze = "features.1.running_mean"}, "has no parameter");
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    refused(m, &(kd_train_opt){.freeze = longer}, "freeze: the list is longer than 2047 bytes");
    refused(m, &(kd_train_opt){.group_lr = longer}, "is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "features"}, "group_lr: 'features' is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "features=0"}, "is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "features=nan"}, "is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "=1"}, "is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "features=.1,"}, "is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "!features=.1"}, "is not NAME=RATE");
    refused(m, &(kd_train_opt){.group_lr = "featres=.1"}, "has no parameter 'featres'");
    refused(m, &(kd_train_opt){.group_lr = "features.0=.1,features=.2"},
            "what 'features.0' names is frozen, or has a later rate");
    refused(m, &(kd_train_opt){.group_lr = "features.0=.1", .freeze = "features.0"},
            "what 'features.0' names is frozen");
    refused(m, &(kd_train_opt){.head_lr = 1, .freeze = "classifier"},
            "head_lr: the head is frozen");
    refused(m, &(kd_train_opt){.head_lr = 1, .group_lr = "classifier=2"}, "head_lr: the head");
    refused(m, &(kd_train_opt){.layer_decay = .5f, .freeze = "body"},
            "layer_decay: the head alone learns");
    const kd_optim_group none = {NULL, 1}, below = {"a", -1};
    kd_optim_opt opt = {.struct_size = sizeof opt, .groups = &none, .n_groups = 1};
    kd_optim *optim;
    ck_assert_int_eq(kd_optim_create(kd_model_params(m), &opt, &optim), KD_E_INVALID);
    opt.groups = &below;
    ck_assert_int_eq(kd_optim_create(kd_model_params(m), &opt, &optim), KD_E_INVALID);
    ck_assert_ptr_null(optim);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(freeze, 60, &test_names, &test_program, &test_bits, &test_refused)
