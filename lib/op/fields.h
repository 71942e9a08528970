/* SPDX-License-Identifier: MIT
 * fields.h: an op's attributes by name: how an op declares them, how exporters read them. */
#ifndef KDI_FIELDS_H
#define KDI_FIELDS_H

#include <kd/op.h>

#include <stdbool.h>
#include <stddef.h>

/* A line of an op's table of fields: a member of its attributes' struct, one number or an array. */
#define KDI_FIELD(attr, member, type, element)                                                     \
    {                                                                                              \
#member, type, offsetof(attr, member), sizeof(((attr *)0)->member) / sizeof(element)       \
    }
#define KDI_INT(attr, member) KDI_FIELD(attr, member, KD_FIELD_INT, int) /* enums, too */
#define KDI_FLOAT(attr, member) KDI_FIELD(attr, member, KD_FIELD_FLOAT, float)
#define KDI_INT64(attr, member) KDI_FIELD(attr, member, KD_FIELD_INT64, int64_t)
#define KDI_SIZE(attr, member) KDI_FIELD(attr, member, KD_FIELD_SIZE, size_t)
/* The members of kd_op that a table sets. */
#define KDI_FIELDS(table) .fields = table, .n_fields = sizeof(table) / sizeof *(table)

/* The field of that name; NULL: the op has none. */
const kd_op_field *kdi_op_field(const kd_op *op, const char *name);
/* Bytes of one of its elements. */
size_t kdi_field_size(const kd_op_field *field);

/* Has every field a name, and a place within the attributes? */
bool kdi_fields_fit(const kd_op *op);

/* The field's numbers, of a node of that op with these attributes. false: the op has no field of
 * this name with `count` whole numbers (floats); then `to` is as it was. */
bool kdi_attr_ints(const kd_op *op, const void *attr, const char *name, size_t count, int64_t *to);
bool kdi_attr_floats(const kd_op *op, const void *attr, const char *name, size_t count, float *to);

#endif
