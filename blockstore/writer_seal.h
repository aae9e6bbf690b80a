// Sealing: making closed packs durable and giving them their names, on a thread of its own, so that waiting for the
// disk does not hold up reading and compressing.
//
//   closed ──▶ queue (SEAL_QUEUE) ──▶ fsync ──▶ listed as unfinished, synced ──▶ renamed to objects/ab/… , synced
//
// Packs that are in the queue together share the syncs of the list.
#pragma once

#include "blockstore/site.h"

#define SEAL_QUEUE 8u

struct sealer;
struct sealed_pack {
    int fd; // of the temporary; the sealer closes it
    char temporary[SITE_TEMPORARY_SIZE];
    struct pack_reference reference;
};

// `image` names the list; both must outlive the sealer. 0 or -errno.
int seal_open(struct site *site, const char *image, struct sealer **ret);
// Hands a pack over, whatever is returned: 0, or the failure of an earlier one. Waits while the queue is full.
int seal_pack(struct sealer *s, const struct sealed_pack *pack, struct error *error);
// Waits until all packs are sealed; 0, or the first failure.
int seal_wait(struct sealer *s, struct error *error);
// Seals what is in the queue, if nothing failed; else drops it. NULL is fine.
void seal_close(struct sealer *s);
