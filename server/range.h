// The Range header of HTTP (RFC 9110, section 14), one range only.
#pragma once

#include "base/text.h"
#include <stdint.h>

enum range_kind {
    RANGE_WHOLE,         // no range, one that we do not understand, or several: the answer is 200 and everything
    RANGE_PART,          // 206: `length` bytes (at least one) from `first`
    RANGE_UNSATISFIABLE, // 416
};

struct byte_range {
    uint64_t first;
    uint64_t length;
};

// What `header`, the value of a Range header, asks of a file of `size` bytes. *ret is set for RANGE_PART only.
enum range_kind range_parse(struct slice header, uint64_t size, struct byte_range *ret);
