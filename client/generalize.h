// --generalize: a version whose machines make themselves anew when they first start. The version's command line has
//
//   rondo.generalize=TOKEN init=/usr/sbin/rondo-generalize
//
// so the kernel (or the initrd) starts that program of the image in place of its init, each time. It compares the
// token with that in /var/lib/rondo/generalized; if they differ it removes what makes a machine itself, writes the
// token there, and goes on with /sbin/init (appliances/rondo-generalize; appliances/README.md says what others must
// provide). The token is drawn at random for each version, and its command line is signed with it.
#pragma once

#include "base/error.h"
#include <stddef.h>

#define GENERALIZE_PROGRAM "/usr/sbin/rondo-generalize"

// The command line of a version that is generalized: `now` (of at most capacity-1 bytes) without what an earlier
// --generalize put there, and with these two words and a new token. -EINVAL if `now` chooses another init, -E2BIG if
// the result has more than capacity-1 bytes.
int generalize_command_line(const char *now, char *ret, size_t capacity, struct error *error);
