/* SPDX-License-Identifier: MIT
 * fields.c: see fields.h. */
#include "fields.h"

#include <string.h>

const kd_op_field *kdi_op_field(const kd_op *op, const char *name)
{
    for (size_t i = 0; i < op->n_fields; i++)
        if (!strcmp(op->fields[i].name, name)) return &op->fields[i];
    return NULL;
}

size_t kdi_field_size(const kd_op_field *field)
{
    switch (field->type) {
    case KD_FIELD_INT:
        return sizeof(int);
    case KD_FIELD_FLOAT:
        return sizeof(float);
    case KD_FIELD_INT64:
        return sizeof(int64_t);
    case KD_FIELD_SIZE:
        break;
    }
    return sizeof(size_t);
}

bool kdi_fields_fit(const kd_op *op)
{
    for (size_t i = 0; i < op->n_fields; i++) {
        const kd_op_field *f = &op->fields[i];
        if (!f->name || f->type < KD_FIELD_INT || f->type > KD_FIELD_SIZE) return false;
        if (f->offset > op->attr_size || f->count < 1) return false;
        if (f->count > (op->attr_size - f->offset) / kdi_field_size(f)) return false;
    }
    return true;
}

/* Element i, of a field that holds whole numbers. */
static int64_t whole(const kd_op_field *f, const void *attr, size_t i)
{
    const char *at = (const char *)attr + f->offset;
    int number;
    int64_t large;
    size_t size;
    switch (f->type) {
    case KD_FIELD_INT:
        memcpy(&number, at + i * sizeof number, sizeof number);
        return number;
    case KD_FIELD_SIZE:
        memcpy(&size, at + i * sizeof size, sizeof size);
        return (int64_t)size;
    case KD_FIELD_INT64:
    case KD_FIELD_FLOAT:
        break;
    }
    memcpy(&large, at + i * sizeof large, sizeof large);
    return large;
}

bool kdi_attr_ints(const kd_op *op, const void *attr, const char *name, size_t count, int64_t *to)
{
    const kd_op_field *f = kdi_op_field(op, name);
    if (!f || f->type == KD_FIELD_FLOAT || f->count != count) return false;
    for (size_t i = 0; i < count; i++) to[i] = whole(f, attr, i);
    return true;
}

bool kdi_attr_floats(const kd_op *op, const void *attr, const char *name, size_t count, float *to)
{
    const kd_op_field *f = kdi_op_field(op, name);
    if (!f || f->type != KD_FIELD_FLOAT || f->count != count) return false;
    memcpy(to, (const char *)attr + f->offset, count * sizeof *to);
    return true;
}
