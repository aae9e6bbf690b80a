// A process beside ours, which keeps a right that we give up, and uses it for one purpose: it answers questions, one
// after the other. It holds no descriptor of ours but a socket, and ends when the other end is closed, which the kernel
// does if we are killed. Any thread of ours may ask.
//
// The conversation: a text, perhaps with a descriptor; the answer begins with "0", or an errno and what went wrong.
#pragma once

#include "base/error.h"
#include "base/socket.h"
#include <pthread.h>
#include <sys/types.h>

struct beside {
    int fd;
    pid_t pid;
    pthread_mutex_t mutex; // a question, and its answer
};

// What the process is made of. `prepare` (or NULL) is its beginning. It has nobody to tell of a failure: it ends the
// process, or keeps the failure for `answer` to tell whoever asks first. `answer` writes the answer; `given` is the
// question's descriptor, or −1, and is closed afterwards, as is what it returns: a descriptor to be sent, or −1.
struct beside_work {
    const char *name; // up to 15 letters
    void (*prepare)(const void *context);
    int (*answer)(const void *context, const char *question, int given, char ret_text[static SOCKET_LINE_MAXIMUM]);
    const void *context;
    // NULL, or: called before each question, and when none has come for so many seconds.
    void (*idle)(const void *context);
    int idle_seconds;
};

// While there is one thread.
int beside_start(const struct beside_work *work, struct beside *ret, struct error *error);

// `fd` (−1: none) goes with the question. The answer's number: 0, with what stands behind it at *ret_rest (in `text`)
// and its descriptor, or −1, in *ret_fd (NULL: none is wanted); or the −errno that it tells.
int beside_ask(struct beside *b, const char *question, int fd, char text[static SOCKET_LINE_MAXIMUM], char **ret_rest,
               int *ret_fd, struct error *error);
// Lets it know something, without a wait: its answer is heard by nobody, and if it has too much to do already, it is
// not told. Whom something was told is asked nothing any more.
void beside_tell(struct beside *b, const char *text);
void beside_end(struct beside *b);
