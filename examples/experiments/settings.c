/* SPDX-License-Identifier: MIT
 * settings.c: what is run. Kinds of runs in one table, what they are run with at each scale in
 * another.
 *
 * smoke  seconds, on made-up pictures: shows that everything works, and nothing else
 * short  a run takes at most two hours on two cores: what docs/results.md is made from
 * full   the recipe of the literature: 240 epochs, batch 64, SGD .05 that falls at 150, 180 and 210
 *        (RepDistiller, mdistiller), five seeds; transformers 200 epochs. For a bigger machine */
#include "experiments.h"

#include <string.h>

/* ---- kinds of runs --------------------------------------------------------------------------- */

#define CNN "teacher-vgg13_bn"
#define VIT "teacher-vit"
#define CNN_KD "vgg8_bn-from-vgg13_bn"
#define CNN_ALONE "vgg8_bn-alone"
#define VIT_KD "vit-from-vit"
#define VIT_ALONE "vit-alone"

/* clang-format off */
const ex_kind ex_kinds[] = {
    /* name                  title                                    network      recipe
     * teacher  start     once  half */
    {CNN,                    "CNN teacher",                           CNN_TEACHER, TRAIN_CNN_TEACHER, NULL, NULL,      true},
    {VIT,                    "ViT teacher, taught by the CNN teacher", VIT_TEACHER, TRAIN_VIT_TEACHER, CNN, NULL,      true, true},
    {CNN_KD,                 "CNN student from the CNN",              CNN_STUDENT, TRAIN_CNN,        CNN,  NULL,      false},
    {"vgg8_bn-from-vit",     "CNN student from the ViT",              CNN_STUDENT, TRAIN_CNN,        VIT,  NULL,      false},
    {CNN_ALONE,              "CNN student alone, same steps",         CNN_STUDENT, TRAIN_CNN,        NULL, NULL,      false},
    {CNN_ALONE "-longer",    "CNN student alone, same time",          CNN_STUDENT, TRAIN_CNN_LONGER, NULL, NULL,      false},
    {VIT_KD,                 "ViT student from the ViT",              VIT_STUDENT, TRAIN_VIT,        VIT,  NULL,      false},
    {VIT_ALONE,              "ViT student alone, same steps",         VIT_STUDENT, TRAIN_VIT,        NULL, NULL,      false},
    {CNN_KD "-finetuned",    "CNN distilled, then fine-tuned",        CNN_STUDENT, TUNE_CNN,         NULL, CNN_KD,    false},
    {CNN_KD "-more-kd",      "CNN distilled, then more distillation", CNN_STUDENT, TUNE_CNN,         CNN,  CNN_KD,    false},
    {CNN_KD "-more-plain",   "CNN distilled, then plain training",    CNN_STUDENT, RETRAIN_CNN,      NULL, CNN_KD,    false},
    {CNN_ALONE "-finetuned", "CNN alone, then fine-tuned",            CNN_STUDENT, TUNE_CNN,         NULL, CNN_ALONE, false},
    {VIT_KD "-finetuned",    "ViT distilled, then fine-tuned",        VIT_STUDENT, TUNE_VIT,         NULL, VIT_KD,    false},
    {VIT_KD "-more-kd",      "ViT distilled, then more distillation", VIT_STUDENT, TUNE_VIT,         VIT,  VIT_KD,    false},
    {VIT_KD "-more-plain",   "ViT distilled, then plain training",    VIT_STUDENT, RETRAIN_VIT,      NULL, VIT_KD,    false},
    {VIT_ALONE "-finetuned", "ViT alone, then fine-tuned",            VIT_STUDENT, TUNE_VIT,         NULL, VIT_ALONE, false},
    {NULL}};

/* Every teacher with every student, each student alone, and how the teachers are made. */
const ex_pairing ex_pairings[] = {
    {"vgg13_bn > vgg8_bn", CNN_STUDENT, CNN_TEACHER},
    {"vit > vgg8_bn",      CNN_STUDENT, VIT_TEACHER},
    {"vgg8_bn alone",      CNN_STUDENT, -1},
    {"vgg13_bn > small vit", VIT_STUDENT, CNN_TEACHER},
    {"vit > small vit",    VIT_STUDENT, VIT_TEACHER},
    {"small vit alone",    VIT_STUDENT, -1},
    {"vgg13_bn alone",     CNN_TEACHER, -1},
    {"vgg13_bn > vit",     VIT_TEACHER, CNN_TEACHER},
    {NULL}};

const char *const ex_network_names[EX_NETWORKS] = {
    [CNN_TEACHER] = "vgg13_bn", [CNN_STUDENT] = "vgg8_bn",
    [VIT_TEACHER] = "vit", [VIT_STUDENT] = "small vit"};

/* ---- scales ---------------------------------------------------------------------------------- */

/* TRAIN_CNN_LONGER takes as many epochs as fit into the time of distilling from the CNN teacher, by
 * the ratio of the two steps' times. At short the ratio was 1.77 and 1.81 in two dry runs on two
 * threads (AMD EPYC, Zen 5), 1.8 to 2.2 on one thread of another machine: 24 epochs become 43.
 * costs.json has this machine's ratio. The number of epochs is fixed, not the time, so that a run
 * on a busy machine is the same run. */
const ex_scale ex_scales[] = {
    {.name = "smoke", .data = "synthetic:train=768,test=200", .augment = "crop-flip",
     .batch = 64, .seeds = 1, .temperature = 4, .hard = .1f, .soft = .9f,
     .cost_rounds = 2, .cost_steps = 3, .cost_seconds = .02,
     .networks = {
         [CNN_TEACHER] = "vgg13_bn,width=0.125",
         [CNN_STUDENT] = "vgg8_bn,width=0.0625",
         [VIT_TEACHER] = "vit_tiny_patch16_224,patch=8,dim=32,depth=2,heads=2",
         [VIT_STUDENT] = "vit_tiny_patch16_224,patch=8,dim=16,depth=1,heads=1"},
     .recipes = {                   /* epochs optimizer  rate   decay  schedule     warm-up */
         [TRAIN_CNN_TEACHER] = {2, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_COSINE,   .2f},
         [TRAIN_VIT_TEACHER] = {2, KD_OPTIMIZER_ADAMW, 2e-3f, .05f,  KD_SCHEDULE_COSINE,   .2f},
         [TRAIN_CNN]         = {1, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [TRAIN_CNN_LONGER]  = {2, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [TRAIN_VIT]         = {1, KD_OPTIMIZER_ADAMW, 2e-3f, .05f,  KD_SCHEDULE_COSINE,   .2f},
         [TUNE_CNN]          = {1, KD_OPTIMIZER_SGD,   .01f,  5e-4f, KD_SCHEDULE_COSINE,   0},
         [TUNE_VIT]          = {1, KD_OPTIMIZER_ADAMW, 2e-4f, .05f,  KD_SCHEDULE_COSINE,   0},
         [RETRAIN_CNN]       = {1, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [RETRAIN_VIT]       = {1, KD_OPTIMIZER_ADAMW, 2e-3f, .05f,  KD_SCHEDULE_COSINE,   .2f}}},
    {.name = "short", .data = "cifar-10", .augment = "crop+altflip",
     .batch = 128, .seeds = 3, .temperature = 4, .hard = .1f, .soft = .9f,
     .cost_rounds = 12, .cost_steps = 6, .cost_seconds = .3,
     .networks = {
         [CNN_TEACHER] = "vgg13_bn",
         [CNN_STUDENT] = "vgg8_bn",
         [VIT_TEACHER] = "vit_tiny_patch16_224,patch=4,dim=128,depth=6,heads=4",
         [VIT_STUDENT] = "vit_tiny_patch16_224,patch=4,dim=96,depth=4,heads=3"},
     .recipes = {
         [TRAIN_CNN_TEACHER] = {24, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [TRAIN_VIT_TEACHER] = {20, KD_OPTIMIZER_ADAMW, 1e-3f, .05f,  KD_SCHEDULE_COSINE,   2},
         [TRAIN_CNN]         = {24, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [TRAIN_CNN_LONGER]  = {43, KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [TRAIN_VIT]         = {12, KD_OPTIMIZER_ADAMW, 1e-3f, .05f,  KD_SCHEDULE_COSINE,   1},
         [TUNE_CNN]          = {3,  KD_OPTIMIZER_SGD,   .01f,  5e-4f, KD_SCHEDULE_COSINE,   0},
         [TUNE_VIT]          = {3,  KD_OPTIMIZER_ADAMW, 1e-4f, .05f,  KD_SCHEDULE_COSINE,   0},
         [RETRAIN_CNN]       = {3,  KD_OPTIMIZER_SGD,   .1f,   5e-4f, KD_SCHEDULE_ONECYCLE, 0},
         [RETRAIN_VIT]       = {3,  KD_OPTIMIZER_ADAMW, 1e-3f, .05f,  KD_SCHEDULE_COSINE,   1}}},
    {.name = "full", .data = "cifar-10", .augment = "crop-flip",
     .batch = 64, .seeds = 5, .temperature = 4, .hard = .1f, .soft = .9f,
     .cost_rounds = 20, .cost_steps = 10, .cost_seconds = .5,
     .networks = {
         [CNN_TEACHER] = "vgg13_bn,pool4=0",
         [CNN_STUDENT] = "vgg8_bn,pool4=0",
         [VIT_TEACHER] = "vit_tiny_patch16_224,patch=4,dim=192,depth=9,heads=3",
         [VIT_STUDENT] = "vit_tiny_patch16_224,patch=4,dim=128,depth=6,heads=4"},
     .recipes = {
         [TRAIN_CNN_TEACHER] = {240, KD_OPTIMIZER_SGD,   .05f,   5e-4f, KD_SCHEDULE_STEP,   0},
         [TRAIN_VIT_TEACHER] = {200, KD_OPTIMIZER_ADAMW, 5e-4f,  .05f,  KD_SCHEDULE_COSINE, 5},
         [TRAIN_CNN]         = {240, KD_OPTIMIZER_SGD,   .05f,   5e-4f, KD_SCHEDULE_STEP,   0},
         [TRAIN_CNN_LONGER]  = {440, KD_OPTIMIZER_SGD,   .05f,   5e-4f, KD_SCHEDULE_STEP,   0},
         [TRAIN_VIT]         = {200, KD_OPTIMIZER_ADAMW, 5e-4f,  .05f,  KD_SCHEDULE_COSINE, 5},
         [TUNE_CNN]          = {20,  KD_OPTIMIZER_SGD,   5e-3f,  5e-4f, KD_SCHEDULE_COSINE, 0},
         [TUNE_VIT]          = {20,  KD_OPTIMIZER_ADAMW, 5e-5f,  .05f,  KD_SCHEDULE_COSINE, 0},
         [RETRAIN_CNN]       = {20,  KD_OPTIMIZER_SGD,   .05f,   5e-4f, KD_SCHEDULE_STEP,   0},
         [RETRAIN_VIT]       = {20,  KD_OPTIMIZER_ADAMW, 5e-4f,  .05f,  KD_SCHEDULE_COSINE, 5}}},
    {.name = NULL}};
/* clang-format on */

/* ---- looking up ------------------------------------------------------------------------------ */

const ex_kind *ex_kind_named(const char *name)
{
    for (const ex_kind *k = ex_kinds; name && k->name; k++)
        if (!strcmp(k->name, name)) return k;
    return NULL;
}

const ex_pairing *ex_pairing_of(const ex_kind *kind)
{
    const ex_kind *teacher = ex_kind_named(kind->teacher);
    const ex_pairing *p = ex_pairings;
    while (p->name &&
           (p->student != kind->network || p->teacher != (teacher ? (int)teacher->network : -1)))
        p++;
    return p->name ? p : NULL;
}
