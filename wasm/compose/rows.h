// Loops over rows of bytes. They read and write whole vectors: up to TULLE_ROW_SLACK bytes behind a row are read, and
// behind an output overwritten.

#ifndef TULLE_COMPOSE_ROWS_H_
#define TULLE_COMPOSE_ROWS_H_

#include <stdint.h>

#define TULLE_ROW_SLACK 64

// out[i] is the rounded mean of columns 2i and 2i + 1 of two rows; a missing last column repeats the one before.
void tulle_halve_row(uint8_t* out, const uint8_t* above, const uint8_t* below, uint32_t width);

// Row y of a plane of twice the height and about twice the width, interpolated linearly between pixel centres, edges
// repeated. `sums`: room for width + TULLE_ROW_SLACK numbers.
void tulle_double_row(uint8_t* out, const uint8_t* plane, uint32_t stride, uint32_t width, uint32_t height, uint32_t y,
                      uint16_t* sums);

// out = (front * alpha + behind * (255 - alpha)) / 255, rounded.
void tulle_mix_row(uint8_t* out, const uint8_t* front, const uint8_t* behind, const uint8_t* alpha, uint32_t count);

// out = (front * alpha + shine * wrap + behind * (255 - alpha - wrap)) / 255, rounded.
void tulle_mix_lit_row(uint8_t* out, const uint8_t* front, const uint8_t* behind, const uint8_t* shine,
                       const uint8_t* alpha, const uint8_t* wrap, uint32_t count);

// alpha loses what its edge takes on of the light behind: strength / 255 * near / 255 of it, which goes to `wrap`
// unless that is NULL.
void tulle_wrap_row(uint8_t* alpha, const uint8_t* near, uint8_t* wrap, uint32_t strength, uint32_t count);

// Every number twice, and four times.
void tulle_repeat2_row(uint8_t* out, const uint8_t* in, uint32_t count);
void tulle_repeat4_row(uint8_t* out, const uint8_t* in, uint32_t count);

// Pixels of two or four bytes from planes and back; four have 255 as their last.
void tulle_join2_row(uint8_t* out, const uint8_t* a, const uint8_t* b, uint32_t count);
void tulle_join4_row(uint8_t* out, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint32_t count);
void tulle_part2_row(uint8_t* a, uint8_t* b, const uint8_t* in, uint32_t count);
void tulle_part4_row(uint8_t* a, uint8_t* b, uint8_t* c, const uint8_t* in, uint32_t count);

#endif  // TULLE_COMPOSE_ROWS_H_
