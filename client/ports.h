// --port HOST:GUEST: TCP ports of this host that lead to the guest.
#pragma once

#include "client/cli.h"

// 0, or EXIT_CODE_USAGE after a message: each is two port numbers, and no host port is named twice.
int ports_check(const struct option_list *ports);

// -EBUSY if one of the host's ports is in use, -EACCES if this user may not use it; 0 if all are free at the moment.
// passt takes the port for all addresses, IPv4 and IPv6, and is content if it gets one of them: so this is asked
// before.
int ports_check_free(const struct option_list *ports, struct error *error);
