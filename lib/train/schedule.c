/* SPDX-License-Identifier: MIT
 * schedule.c: the learning rate over a run, as a factor on the base rate at progress t in [0,1]. */
#include <kd/optim.h>

#include <math.h>

const char *kd_schedule_name(kd_schedule schedule)
{
    static const char *const names[] = {[KD_SCHEDULE_AUTO] = "auto",
                                        [KD_SCHEDULE_CONSTANT] = "constant",
                                        [KD_SCHEDULE_STEP] = "step",
                                        [KD_SCHEDULE_COSINE] = "cosine",
                                        [KD_SCHEDULE_ONECYCLE] = "onecycle"};
    return (unsigned)schedule < KD_SCHEDULE_COUNT ? names[schedule] : NULL;
}

/* From a to b along half a cosine, at t in [0,1]. */
static double anneal(double a, double b, double t)
{
    return b + (a - b) * .5 * (1 + cos(3.14159265358979323846 * t));
}

double kd_schedule_factor(kd_schedule schedule, double t)
{
    if (!(t > 0)) t = 0;
    if (t > 1) t = 1;
    switch (schedule) {
    case KD_SCHEDULE_STEP:
        return t < .625 ? 1 : t < .75 ? .1 : t < .875 ? .01 : .001;
    case KD_SCHEDULE_COSINE:
        return anneal(1, 0, t);
    /* Smith & Topin 2018, with PyTorch's shape */
    case KD_SCHEDULE_ONECYCLE:
        return t < .3 ? anneal(.04, 1, t / .3) : anneal(1, 4e-6, (t - .3) / .7);
    case KD_SCHEDULE_AUTO:
    case KD_SCHEDULE_CONSTANT:
    case KD_SCHEDULE_COUNT:
        break;
    }
    return 1;
}
