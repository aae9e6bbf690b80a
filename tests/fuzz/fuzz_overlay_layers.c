// Fuzz target: the list of an overlay's layers. Input: the file's bytes.
//
// Promises: a list that is refused is refused with a reason; one that is accepted begins with its top, ends with the
// first layer, names no layer and no snapshot twice, holds labels that are some, and is read as the same list when it
// was written again.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "blockstore/overlay_private.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char folder_path[] = "/dev/shm/rondo-fuzz-layers.XXXXXX";
static int folder = -1;

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void remove_folder(void)
{
    unlinkat(folder, OVERLAY_LAYERS_NAME, 0);
    rmdir(folder_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check(mkdtemp(folder_path) != NULL);
    folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(folder >= 0);
    atexit(remove_folder);
    return 0;
}

static void check_list(const struct overlay_layers *l)
{
    check(l->count >= 1 && l->count <= OVERLAY_DEPTH_MAXIMUM);
    for (unsigned i = 0; i < l->count; i++) {
        const struct overlay_layer *a = &l->layers[i];
        check((a->kind == OVERLAY_LAYER_TOP) == (i == 0));
        check(overlay_id_equal(&a->id, &overlay_first_id) == (i == l->count - 1));
        check(i == 0 || text_is_version_name(slice_of(a->snapshot.label)));
        for (unsigned j = 0; j < i; j++)
            check(!overlay_id_equal(&a->id, &l->layers[j].id) &&
                  (a->kind != OVERLAY_LAYER_SNAPSHOT || l->layers[j].kind != OVERLAY_LAYER_SNAPSHOT ||
                   strcmp(a->snapshot.label, l->layers[j].snapshot.label) != 0));
    }
}

static void check_same(const struct overlay_layers *a, const struct overlay_layers *b)
{
    check(a->count == b->count);
    for (unsigned i = 0; i < a->count; i++)
        check(a->layers[i].kind == b->layers[i].kind && overlay_id_equal(&a->layers[i].id, &b->layers[i].id) &&
              a->layers[i].snapshot.time == b->layers[i].snapshot.time &&
              strcmp(a->layers[i].snapshot.label, b->layers[i].snapshot.label) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct overlay_layers list, again;
    struct error error = {.text = ""};
    bool listed;
    int r = overlay_layers_parse(data, size, &list, &error);
    if (r < 0) {
        check(r == -EBADMSG && error.text[0] != '\0');
        return 0;
    }
    check_list(&list);
    check(overlay_layers_replace(folder, &list, NULL) == 0);
    check(overlay_layers_read(folder, &again, &listed, NULL) == 0 && listed);
    check_same(&list, &again);
    return 0;
}
