/* SPDX-License-Identifier: MIT
 * cnn_to_cnn.c: experiment (a). A CNN teaches a CNN: what does it gain, what does it take, and why?
 * Controls: the student alone for as many steps, and for as much time. Then fine-tuning, beside as
 * many epochs of more distillation and of plain training from the same weights, and beside the same
 * fine-tuning of the student that never had a teacher. */
#include "experiments.h"

static const ex_experiment experiment = {
    .name = "cnn-to-cnn",
    .title = "(a) CNN to CNN",
    .question =
        "A CNN teaches a smaller CNN. The study says that distillation between CNNs is the "
        "fastest and the most accurate, because logits and the distillation loss come quickly.",
    .kinds = {"teacher-vgg13_bn", "vgg8_bn-from-vgg13_bn", "vgg8_bn-alone", "vgg8_bn-alone-longer",
              "vgg8_bn-from-vgg13_bn-finetuned", "vgg8_bn-from-vgg13_bn-more-kd",
              "vgg8_bn-from-vgg13_bn-more-plain", "vgg8_bn-alone-finetuned"},
    .comparisons = {{"distilled against alone, the same steps", "vgg8_bn-from-vgg13_bn",
                     "vgg8_bn-alone"},
                    {"distilled against alone, the same time", "vgg8_bn-from-vgg13_bn",
                     "vgg8_bn-alone-longer"},
                    {"fine-tuning the distilled student", "vgg8_bn-from-vgg13_bn-finetuned",
                     "vgg8_bn-from-vgg13_bn"},
                    {"as many epochs more of distillation", "vgg8_bn-from-vgg13_bn-more-kd",
                     "vgg8_bn-from-vgg13_bn"},
                    {"as many epochs of plain training", "vgg8_bn-from-vgg13_bn-more-plain",
                     "vgg8_bn-from-vgg13_bn"},
                    {"fine-tuning the student alone", "vgg8_bn-alone-finetuned", "vgg8_bn-alone"},
                    {"fine-tuning against more distillation", "vgg8_bn-from-vgg13_bn-finetuned",
                     "vgg8_bn-from-vgg13_bn-more-kd"}},
};

int main(int argc, char **argv)
{
    return ex_main(&experiment, argc, argv);
}
