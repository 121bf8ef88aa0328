// CRC-32 as in zlib, PNG and Ethernet, eight bytes at a time ("slicing by 8", Kounavis and Berry 2008).

#include <string.h>

#include "runtime/net.h"

// As a browser compiles a function that is called often well, but never the one that runs: a few kilobytes a call.
#define CHUNK_BYTES 8192

typedef uint32_t tables[8][256];

__attribute__((noinline)) static uint32_t update(const tables t, uint32_t crc, const uint8_t* data, size_t size) {
  for (; size >= 8; data += 8, size -= 8) {
    uint32_t low, high;
    memcpy(&low, data, 4);
    memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = t[7][low & 255] ^ t[6][low >> 8 & 255] ^ t[5][low >> 16 & 255] ^ t[4][low >> 24] ^ t[3][high & 255] ^
          t[2][high >> 8 & 255] ^ t[1][high >> 16 & 255] ^ t[0][high >> 24];
  }
  for (; size; size--) crc = crc >> 8 ^ t[0][(crc ^ *data++) & 255];
  return crc;
}

uint32_t tulle_checksum(const uint8_t* data, size_t size, size_t place) {
  static const uint8_t zeros[4];
  tables t;
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    t[0][i] = crc;
  }
  for (int k = 1; k < 8; k++)
    for (uint32_t i = 0; i < 256; i++) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
  uint32_t crc = update(t, update(t, ~0u, data, place), zeros, 4);
  for (size_t at = place + 4; at < size; at += CHUNK_BYTES)
    crc = update(t, crc, data + at, size - at < CHUNK_BYTES ? size - at : CHUNK_BYTES);
  return ~crc;
}
