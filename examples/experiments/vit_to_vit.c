/* SPDX-License-Identifier: MIT
 * vit_to_vit.c: experiment (c). A ViT teaches a smaller ViT, which is then fine-tuned; the controls
 * are those of (a). */
#include "experiments.h"

static const ex_experiment experiment = {
    .name = "vit-to-vit",
    .title = "(c) ViT to ViT, then fine-tuning",
    .question = "A ViT teaches a smaller ViT, which is then fine-tuned. The study reports that "
                "fine-tuning after distillation helps transformers most.",
    .kinds = {"teacher-vgg13_bn", "teacher-vit", "vit-from-vit", "vit-alone",
              "vit-from-vit-finetuned", "vit-from-vit-more-kd", "vit-from-vit-more-plain",
              "vit-alone-finetuned"},
    .comparisons = {{"distilled against alone, the same steps", "vit-from-vit", "vit-alone"},
                    {"fine-tuning the distilled student", "vit-from-vit-finetuned", "vit-from-vit"},
                    {"as many epochs more of distillation", "vit-from-vit-more-kd", "vit-from-vit"},
                    {"as many epochs of plain training", "vit-from-vit-more-plain", "vit-from-vit"},
                    {"fine-tuning the student alone", "vit-alone-finetuned", "vit-alone"},
                    {"fine-tuning against more distillation", "vit-from-vit-finetuned",
                     "vit-from-vit-more-kd"}},
};

int main(int argc, char **argv)
{
    return ex_main(&experiment, argc, argv);
}
