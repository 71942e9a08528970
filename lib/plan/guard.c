/* SPDX-License-Identifier: MIT
 * guard.c: guarded plans, for finding ops that misbehave. Every part of the arena that belongs to
 * no array at the moment, fences included, holds a pattern: as floats NaN, as integers an index far
 * out of range. After each step the pattern must be intact, and an array whose last step has passed
 * is filled with it. So a write outside is found at the step that did it, and a read of memory that
 * nobody wrote gives NaN.
 *
 * If there are fewer images than an array has room for, its unused end counts as outside. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

static const uint64_t PATTERN = 0x7FFBADAD7FFBADAD;

/* The pattern's byte at an offset of the arena. */
static unsigned char byte_at(size_t i)
{
    unsigned char bytes[8];
    memcpy(bytes, &PATTERN, 8);
    return bytes[i % 8];
}

static void poison(char *arena, size_t begin, size_t end)
{
    size_t i = begin;
    for (; i < end && i % 8; i++) arena[i] = (char)byte_at(i);
    for (; end - i >= 8; i += 8) memcpy(arena + i, &PATTERN, 8);
    for (; i < end; i++) arena[i] = (char)byte_at(i);
}

/* The first byte in [begin, end) that is not pattern; end if all are. */
static size_t first_touched(const char *arena, size_t begin, size_t end)
{
    size_t i = begin;
    for (; i < end && i % 8; i++)
        if ((unsigned char)arena[i] != byte_at(i)) return i;
    for (; end - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, arena + i, 8);
        if (word != PATTERN) break;
    }
    while (i < end && (unsigned char)arena[i] == byte_at(i)) i++;
    return i;
}

static bool alive(const kdi_region *r, const kdi_moment *now)
{
    if (r->owner == KDI_PREPARED) return true;
    if (now->preparing) return r->owner == KDI_SCRATCH && r->step == now->step;
    return r->first <= now->step && now->step <= r->last;
}

/* Is the region needed no longer? A value that all pieces of a stretch share lives to the last
 * one. */
static bool expired(const kd_plan *p, const kdi_region *r, const kdi_moment *now)
{
    if (r->owner == KDI_PREPARED || !alive(r, now)) return false;
    if (now->preparing) return true;
    return r->last == now->step &&
           (r->owner != KDI_VALUE || p->slots[r->value].images || now->final);
}

/* Bytes of a region that are in use. */
static size_t used(const kd_plan *p, const kdi_region *r, const kdi_moment *now)
{
    if (r->owner != KDI_VALUE) return r->bytes;
    const kdi_slot *slot = &p->slots[r->value];
    const size_t n = slot->images ? now->images : now->batch;
    return kdi_tensor_of(slot, n).count * kd_dtype_size(slot->dtype);
}

void kdi_guard_begin(const kd_plan *p, char *arena, bool prepared_too)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n_regions; i++) {
        const kdi_region *r = &p->regions[i];
        if (prepared_too || r->owner != KDI_PREPARED) continue;
        poison(arena, at, r->offset);
        at = r->offset + r->bytes;
    }
    poison(arena, at, p->arena_bytes);
}

/* ---- what went wrong ------------------------------------------------------------------------- */

enum { NAME = 160 };

static bool lies_at(const kd_plan *p, kd_value v, const kdi_region *r)
{
    return v != KD_NONE && p->slots[v].place == KDI_AT_ARENA && p->slots[v].offset == r->offset;
}

/* "output 0 of conv2d 'features.3'": an array is named after the step that first writes it. */
static void name_region(const kd_plan *p, const kdi_region *r, char name[NAME])
{
    static const char *const owned[] = {"", "the scratch", "the stage", "the prepared weights"};
    const kdi_step *s = &p->steps[r->owner == KDI_VALUE ? r->first : r->step];
    if (r->owner != KDI_VALUE) {
        snprintf(name, NAME, "%s of %s '%s'", owned[r->owner], s->op->name, s->name);
        return;
    }
    for (int i = 0; i < s->n_out; i++)
        if (!s->backward && lies_at(p, s->out[i], r)) {
            snprintf(name, NAME, "output %d of %s '%s'", i, s->op->name, s->name);
            return;
        }
    for (int i = 0; i < s->n_in; i++)
        if (s->backward && lies_at(p, s->din[i], r)) {
            snprintf(name, NAME, "the gradient by input %d of %s '%s'", i, s->op->name, s->name);
            return;
        }
    snprintf(name, NAME, "an array of %s '%s'", s->op->name, s->name);
}

/* The pattern is broken at `at`, between arrays that are alive: say between which. */
static kd_status blame(const kd_plan *p, const kdi_moment *now, size_t at)
{
    const kdi_step *step = &p->steps[now->step];
    const kdi_region *before = NULL, *after = NULL;
    char name[NAME];
    for (size_t i = 0; i < p->n_regions; i++) {
        const kdi_region *r = &p->regions[i];
        if (!alive(r, now)) continue;
        if (r->offset <= at)
            before = r;
        else if (!after)
            after = r;
    }
    const char *what = now->preparing   ? "preparing its weights"
                       : step->backward ? "backward"
                                        : "forward";
    if (!before && !after)
        return kd_ctx_fail(p->ctx, KD_E_INVALID, "step %zu, %s '%s', %s: wrote to the empty arena",
                           now->step, step->op->name, step->name, what);
    const size_t behind = before ? at - before->offset - used(p, before, now) : SIZE_MAX;
    const size_t in_front = after ? after->offset - at : SIZE_MAX;
    const bool near_end = !after || (before && behind < in_front);
    name_region(p, near_end ? before : after, name);
    return kd_ctx_fail(p->ctx, KD_E_INVALID,
                       "step %zu, %s '%s', %s: wrote outside its arrays, %zu bytes %s %s",
                       now->step, step->op->name, step->name, what, near_end ? behind : in_front,
                       near_end ? "behind the end of" : "in front of", name);
}

kd_status kdi_guard_step(const kd_plan *p, char *arena, const kdi_moment *now)
{
    size_t at = 0, touched;
    for (size_t i = 0; i < p->n_regions; i++) {
        const kdi_region *r = &p->regions[i];
        if (!alive(r, now)) continue;
        touched = first_touched(arena, at, r->offset);
        if (touched < r->offset) return blame(p, now, touched);
        at = r->offset + used(p, r, now);
    }
    touched = first_touched(arena, at, p->arena_bytes);
    if (touched < p->arena_bytes) return blame(p, now, touched);
    for (size_t i = 0; i < p->n_regions; i++) {
        const kdi_region *r = &p->regions[i];
        if (expired(p, r, now)) poison(arena, r->offset, r->offset + r->bytes);
    }
    return KD_OK;
}
