// The partitions of a disk: from its GPT, else its MBR (primary ones). A guest wrote the tables, so they are hostile;
// what makes no sense is passed over. Sectors have 512 bytes, as those of the disks that machines get.
//
// Sources: UEFI 2.10, sections 5.2 (MBR) and 5.3 (GPT).
#pragma once

#include "client/clone_check.h"

#define PARTITIONS_MAXIMUM 128u // entries that are looked at

struct partition {
    uint64_t start, size; // bytes; within the disk, not empty
};

// The count; 0 also where there is no table, or it cannot be read.
unsigned partition_list(const struct clone_disk *disk, struct partition ret[static PARTITIONS_MAXIMUM]);
