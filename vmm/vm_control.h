// The conversation with the supervisor (docs/vmm.md, "Control"): one SOCK_SEQPACKET connection, one message a packet,
// heard in the loop's thread. Its end means `quit`: nobody is left who could want anything of the machine.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "vmm/loop.h"
#include <stdbool.h>

struct vm_control;

// What the supervisor may ask, all called in the loop's thread.
struct vm_control_handlers {
    void (*pause)(void *context); // returns when no vCPU runs
    void (*resume)(void *context);
    void (*power)(void *context);
    void (*quit)(void *context);
    bool (*paused)(void *context);
    void (*statistics)(void *context, struct buf *to);               // lines of "key value"
    int (*replace_base)(void *context, int fd, struct error *error); // takes the descriptor over
    void *context;
};

// The socket stays the caller's.
int vm_control_new(struct loop *loop, int socket, const struct vm_control_handlers *handlers, struct vm_control **ret,
                   struct error *error);
void vm_control_free(struct vm_control *c);
// One message. A supervisor that is gone hears nothing, which is no error here: the loop learns of it.
void vm_control_say(struct vm_control *c, const char *message);
