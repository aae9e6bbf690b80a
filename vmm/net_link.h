// The host's end of the guest's network: frames in and out of a descriptor, without blocking. Two kinds:
//
//   passt   a stream socket; each frame behind its length, 4 bytes, big-endian (passt(1), --fd)
//   tap     a tun/tap descriptor (Linux Documentation/networking/tuntap.rst); one frame a read or write, behind a
//           virtio network header if the interface was made with IFF_VNET_HDR
//
// What comes in is hostile as far as its length goes; a stream that breaks the rules is dead. In the loop's thread
// only.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define NET_FRAME_MINIMUM 14u    // an Ethernet header
#define NET_FRAME_MAXIMUM 65553u // an IP packet of 65535 bytes behind an Ethernet header with a VLAN tag
#define NET_HEADER_SIZE 12u      // struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6)

enum net_link_kind { NET_LINK_PASST, NET_LINK_TAP };

struct net_link;

// Takes the descriptor over, also on failure. Examines it now: it makes no other call on it than read and write later.
int net_link_new(enum net_link_kind kind, int fd, struct net_link **ret, struct error *error);
void net_link_free(struct net_link *l);
int net_link_fd(const struct net_link *l); // to watch: stays the link's

// One frame of n bytes in pieces. 0: it is on its way; -EAGAIN: not now, nothing was taken, watch for EPOLLOUT; another
// -errno: the link is dead.
int net_link_send(struct net_link *l, const struct iovec *pieces, size_t n);
bool net_link_is_behind(const struct net_link *l); // a frame is half sent: watch for EPOLLOUT and call net_link_push
int net_link_push(struct net_link *l);             // goes on with it: as net_link_send

// The next frame that came: 1, and the link's own bytes until net_link_consume or the next call; 0: none; -errno: dead.
int net_link_peek(struct net_link *l, const unsigned char **ret_frame, size_t *ret_n);
void net_link_consume(struct net_link *l); // the frame that was peeked at
