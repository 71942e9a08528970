/* SPDX-License-Identifier: MIT
 * vit_to_cnn.c: experiment (b). The CNN student of (a) from a ViT teacher: better or worse than
 * from a CNN, faster or slower? The student alone and the one from the CNN are those of (a). */
#include "experiments.h"

static const ex_experiment experiment = {
    .name = "vit-to-cnn",
    .title = "(b) ViT to CNN",
    .question = "A ViT teaches the CNN student of (a). Does it matter for the student whether its "
                "teacher is a CNN or a transformer, and what does it cost?",
    .kinds = {"teacher-vgg13_bn", "teacher-vit", "vgg8_bn-from-vit", "vgg8_bn-alone",
              "vgg8_bn-from-vgg13_bn"},
    .comparisons = {{"from the ViT against alone, the same steps", "vgg8_bn-from-vit",
                     "vgg8_bn-alone"},
                    {"from the ViT against from the CNN", "vgg8_bn-from-vit",
                     "vgg8_bn-from-vgg13_bn"}},
};

int main(int argc, char **argv)
{
    return ex_main(&experiment, argc, argv);
}
