/* SPDX-License-Identifier: MIT
 * jpeg.h: how libjpeg gets memory for a picture (jpeg_memory.c). Include after jpeglib.h. */
#ifndef KDI_JPEG_H
#define KDI_JPEG_H

#include "decode.h"

/* Put our functions into cinfo->mem, after jpeg_create_decompress: what lives as long as a picture
 * comes from the arena. libjpeg's own few fixed structures stay with it. cinfo->client_data is the
 * decoder. */
void kdi_jpeg_memory(j_decompress_ptr cinfo);

#endif
