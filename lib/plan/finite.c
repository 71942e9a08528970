/* SPDX-License-Identifier: MIT
 * finite.c: finding the first number that is not finite, for runs with check_finite. Before a step
 * its inputs and parameters are looked at, after it what it wrote. */
#include "plan.h"

#include <math.h>
#include <stdio.h>

static bool finite_all(const kd_tensor *t)
{
    const float *x = t->data;
    if (!x || t->dtype != KD_F32) return true;
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static kd_status blame(const kd_plan *p, const char *what, const char *name)
{
    return kd_ctx_fail(p->ctx, KD_E_NONFINITE, "a number is not finite, first in %s '%s'", what,
                       name);
}

kd_status kdi_finite_before(const kd_plan *p, size_t s, const kd_op_call *c)
{
    const kdi_step *step = &p->steps[s];
    for (int i = 0; i < step->n_in; i++) {
        if (step->in[i] == KD_NONE || finite_all(&c->in[i])) continue;
        const kdi_slot *slot = &p->slots[step->in[i]];
        if (slot->place == KDI_AT_INPUT) return blame(p, "input", p->inputs[slot->index]);
        if (slot->place == KDI_AT_PARAM)
            return blame(p, p->params[slot->index].buffer ? "buffer" : "the weights of",
                         p->params[slot->index].name);
    }
    return KD_OK;
}

kd_status kdi_finite_after(const kd_plan *p, size_t s, const kd_op_call *c)
{
    const kdi_step *step = &p->steps[s];
    char what[96];
    for (int i = 0; i < step->n_out && !step->backward; i++) {
        if (step->out[i] == KD_NONE || finite_all(&c->out[i])) continue;
        snprintf(what, sizeof what, "output %d of %s", i, step->op->name);
        return blame(p, what, step->name);
    }
    for (int i = 0; i < step->n_in && step->backward; i++) {
        if (step->din[i] == KD_NONE || finite_all(&c->din[i])) continue;
        const kdi_slot *slot = &p->slots[step->din[i]];
        if (slot->place == KDI_AT_GRAD)
            return blame(p, "the gradient of", p->params[slot->index].name);
        snprintf(what, sizeof what, "the gradient by input %d of %s", i, step->op->name);
        return blame(p, what, step->name);
    }
    return KD_OK;
}
