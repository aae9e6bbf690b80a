// Fuzz target: an archive. Whatever the bytes, reading ends, takes no more than there is, and refuses with words that
// can be printed; an accepted header or description is what its writer would write.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "blockstore/archive_read.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(int promise)
{
    if (!promise)
        abort();
}

static void check_description(const void *bytes, size_t n)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ARCHIVE_DESCRIPTION_MAXIMUM);
    struct archive_description d;
    struct error error = {""};
    if (archive_parse_description(bytes, n, &d, &error) < 0) {
        check(error.text[0] != '\0');
        return;
    }
    check(archive_format_description(&d, &text) == 0 && text.size == n && memcmp(text.data, bytes, n) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct archive_reader a = {.fd = memfd_create("archive", MFD_CLOEXEC)};
    struct archive_entry e;
    struct error error = {""};
    unsigned char piece[300];
    int r = 0;

    check(a.fd >= 0);
    if (size > 0)
        check(write(a.fd, data, size) == (ssize_t)size && lseek(a.fd, 0, SEEK_SET) == 0);
    while ((r = archive_next(&a, &e, &error)) == 1) {
        ssize_t n = 0;
        uint32_t got = 0;
        check(e.size > 0 && e.size <= ARCHIVE_ENTRY_MAXIMUM && (e.kind == ARCHIVE_OBJECT || sha256_is_zero(&e.object)));
        if (e.kind == ARCHIVE_DESCRIPTION && e.size <= ARCHIVE_DESCRIPTION_MAXIMUM) {
            void *bytes CLEANUP_FREE = NULL;
            n = archive_read_all(&a, &e, ARCHIVE_DESCRIPTION_MAXIMUM, &bytes, &error);
            if (n == 0)
                check_description(bytes, e.size);
        } else {
            while ((n = archive_read(&a, piece, sizeof(piece), &error)) > 0)
                got += (uint32_t)n;
            check(n < 0 || got == e.size);
        }
        if (n < 0)
            break;
    }
    check(a.at <= size && (r != 0 || a.at == size));
    check(r == 0 || (error.text[0] != '\0' && text_is_printable(slice_of(error.text))));
    close(a.fd);
    return 0;
}
