// Fuzz target: what the reader of a file system, taken over by it, may say to us: a child of this program's own stands
// in the place of client/clone_reader.c. The input is a list of messages:
//
//   type u8 · value u32 · offset u64 · length u8 · as many bytes of text
//
// Type 255 sends the rest of the input as it is. What comes of it is plain text in its bounds, and no child is left.
#include "client/clone_private.h"

#include "base/cursor.h"
#include "base/text.h"
#include "client/cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

#define DISK_SIZE (UINT64_C(1) << 40)
#define RAW 255u

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static struct cursor input;

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void send_bytes(int fd, const void *bytes, size_t n)
{
    if (write(fd, bytes, n) != (ssize_t)n)
        _exit(0); // the parent has had enough
}

_Noreturn void clone_reader(int fd, uint64_t size)
{
    static unsigned char answer[sizeof(int32_t) + CLONE_READ_MAXIMUM];
    (void)size;
    while (input.left > 0 && !input.failed) {
        struct clone_message m = {.type = cursor_u8(&input)};
        if (m.type == RAW) {
            send_bytes(fd, input.at, input.left);
            break;
        }
        m.value = cursor_u32(&input);
        m.offset = cursor_u64(&input);
        size_t length = cursor_u8(&input);
        cursor_copy(&input, m.text, length < input.left ? length : input.left);
        send_bytes(fd, &m, sizeof m);
        if (m.type == CLONE_READ && read(fd, answer, sizeof answer) <= 0)
            break;
    }
    _exit(0);
}

static int read_zeros(void *context, uint64_t offset, void *to, size_t n)
{
    (void)context;
    check(n > 0 && n <= CLONE_READ_MAXIMUM && offset <= DISK_SIZE && n <= DISK_SIZE - offset);
    if (offset == 4096)
        return -EIO; // a bad place
    memset(to, 0, n);
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    const struct clone_disk disk = {.read = read_zeros, .size = DISK_SIZE};
    struct clone_findings f;
    struct error error = {""};
    input = cursor_over(data, size);
    int r = clone_check(&disk, &f, &error);
    check(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    check(r == 0 || ((r == -EPROTO || r == -ENODATA) && error.text[0] && text_is_printable(slice_of(error.text))));
    if (r < 0)
        return 0;
    check(f.count <= CLONE_KINDS);
    for (unsigned i = 0; i < f.count; i++)
        check(strnlen(f.texts[i], CLONE_TEXT_SIZE) < CLONE_TEXT_SIZE && text_is_printable(slice_of(f.texts[i])));
    return 0;
}
