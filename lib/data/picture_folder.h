/* SPDX-License-Identifier: MIT
 * picture_folder.h: what picture_folder.c finds in folders of pictures, and picture_folder_notes.c
 * tells about it. */
#ifndef KDI_PICTURE_FOLDER_H
#define KDI_PICTURE_FOLDER_H

#include "data.h"

/* One picture file. */
typedef struct kdi_entry {
    const char *name;
    uint32_t folder; /* number in kdi_folder.folders */
    int32_t label;
} kdi_entry;

/* What lies in a split's folder beside the pictures that are read. */
typedef struct kdi_passed {
    size_t others;                    /* files that are no pictures */
    size_t hidden;                    /* names that begin with a dot */
    size_t loose;                     /* pictures that lie in no class's folder */
    char other[256], loose_name[256]; /* the first of them, below the root */
} kdi_passed;

/* The state of a data set of picture files. */
typedef struct kdi_folder {
    kdi_path root;
    const char *below[KD_SPLIT_COUNT]; /* the split's folder in the root, "" for the root itself;
                                        * NULL: there is none */
    const char **folders;              /* [n_folders] paths below the root */
    size_t n_folders, folder_capacity;
    kdi_entry *entries[KD_SPLIT_COUNT]; /* [count] */
    size_t count[KD_SPLIT_COUNT], capacity[KD_SPLIT_COUNT];
    kdi_passed passed[KD_SPLIT_COUNT];
    const char **classes; /* [n_classes] names */
    size_t n_classes;
    bool unlabelled; /* the training pictures lie in no class's folder; their labels are 0 */
    char *block;     /* where the next name goes */
    size_t left;
} kdi_folder;

/* Is there a folder of that name in the root? */
bool kdi_folder_has(const kdi_folder *f, const char *name);

/* Say, once all files are found, what is odd about them. */
kd_status kdi_folder_report(kd_dataset *data, const char *name);
/* The errors that end reading: a class of the test split that training does not know, and no
 * pictures at all. */
kd_status kdi_folder_unknown_class(const kd_dataset *data, const char *below, const char *name);
kd_status kdi_folder_no_pictures(const kd_dataset *data);

#endif
