/* SPDX-License-Identifier: MIT
 * edge_crc.c: the blob's checksum and the self-test's picture. */
#include "edge_format.h"

/* CRC-32 of ISO 3309 (polynomial 0xEDB88320, reflected), four bits at a time: 64 bytes of table,
 * and about ten instructions a byte on the smallest core. */
uint32_t kd_edge_crc32(uint32_t crc, const uint8_t *bytes, uint32_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                       0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                       0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                       0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    crc = ~crc;
    for (uint32_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

/* The linear congruential generator of Numerical Recipes, its upper byte. */
void kd_edge_noise(uint32_t seed, uint8_t *pixels, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(seed >> 24);
    }
}
