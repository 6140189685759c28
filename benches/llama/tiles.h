/* Included before every source of llama.cpp. GCC 12 tells its optimiser of 8 of the 64 bytes that `_tile_loadconfig`
   reads, so that llama.cpp's writes to the others vanish, and its first product with AMX is an illegal instruction. */
#if defined(__AMX_TILE__)
#include <immintrin.h>
#undef _tile_loadconfig
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\t%0" ::"m"(*(const char(*)[64])(config)))
#endif
