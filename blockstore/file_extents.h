// Where a sparse file has data: SEEK_DATA and SEEK_HOLE (lseek(2)), in whole blocks.
#pragma once

#include <stdint.h>

// The next data in [at, limit), where `at` is a multiple of BLOCK_SIZE and `limit` is at most the file's size: returns
// 1 and its range, from a block's start to a block's end or `limit`; 0 if there is none; or -errno. What is outside of
// the ranges reads as zeros. Where holes cannot be asked for, all is data.
int file_extents_find_data(int fd, uint64_t at, uint64_t limit, uint64_t *ret_start, uint64_t *ret_end);
