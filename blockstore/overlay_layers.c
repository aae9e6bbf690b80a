// The list of an overlay's layers (its format and its rules stand in overlay_snapshot.h).
#include "blockstore/overlay_private.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LINE_MAXIMUM 192u
#define LIST_MAXIMUM (LINE_MAXIMUM * (OVERLAY_DEPTH_MAXIMUM + 1))

static const char *const kinds[] = {
    [OVERLAY_LAYER_TOP] = "top", [OVERLAY_LAYER_SNAPSHOT] = "snapshot", [OVERLAY_LAYER_GONE] = "gone"};

static bool parse_layer(struct slice line, bool is_top, struct overlay_layer *layer)
{
    struct slice word = slice_cut_word(&line);
    layer->kind = OVERLAY_LAYER_TOP;
    while (layer->kind < ARRAY_SIZE(kinds) && !slice_equal(word, kinds[layer->kind]))
        layer->kind++;
    if (layer->kind == ARRAY_SIZE(kinds) || is_top != (layer->kind == OVERLAY_LAYER_TOP) ||
        !overlay_id_from_hex(slice_cut_word(&line), &layer->id))
        return false;
    if (is_top)
        return line.length == 0;
    if (!text_parse_time(slice_cut_word(&line), &layer->snapshot.time) || !text_is_version_name(line))
        return false;
    snprintf(layer->snapshot.label, sizeof layer->snapshot.label, "%.*s", SLICE_ARGUMENTS(line));
    return true;
}

// The first layer comes last, no layer twice, and no two snapshots bear one label.
static bool is_consistent(const struct overlay_layers *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        const struct overlay_layer *a = &l->layers[i];
        if (overlay_id_equal(&a->id, &overlay_first_id) != (i == l->count - 1))
            return false;
        for (unsigned j = 0; j < i; j++) {
            const struct overlay_layer *b = &l->layers[j];
            if (overlay_id_equal(&a->id, &b->id))
                return false;
            if (a->kind == OVERLAY_LAYER_SNAPSHOT && b->kind == OVERLAY_LAYER_SNAPSHOT &&
                strcmp(a->snapshot.label, b->snapshot.label) == 0)
                return false;
        }
    }
    return l->count > 0;
}

int overlay_layers_parse(const void *bytes, size_t n, struct overlay_layers *ret, struct error *error)
{
    struct text_reader reader = text_reader_over(bytes, n, LINE_MAXIMUM);
    struct overlay_layers l = {.count = 0};
    struct slice line;
    int r = text_next_line(&reader, &line);
    if (r <= 0 || !slice_equal(line, "rondo-layers 1"))
        return error_set(error, EBADMSG, "it does not begin with the line \"rondo-layers 1\"");
    while ((r = text_next_line(&reader, &line)) > 0) {
        if (l.count == OVERLAY_DEPTH_MAXIMUM || !parse_layer(line, l.count == 0, &l.layers[l.count]))
            return error_set(error, EBADMSG, "its line %u cannot be", reader.line);
        l.count++;
    }
    if (r < 0)
        return error_set(error, EBADMSG, "its line %u cannot be", reader.line);
    if (!is_consistent(&l))
        return error_set(error, EBADMSG, "its lines contradict each other");
    *ret = l;
    return 0;
}

int overlay_layers_read(int dir, struct overlay_layers *ret, bool *ret_listed, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t n;
    int r = io_read_file(dir, OVERLAY_LAYERS_NAME, LIST_MAXIMUM, &bytes, &n);
    if (r == -ENOENT) {
        *ret = (struct overlay_layers){.count = 1, .layers = {{.kind = OVERLAY_LAYER_TOP, .id = overlay_first_id}}};
        *ret_listed = false;
        return 0;
    }
    if (r == -EFBIG || r == -EISDIR || r == -EINVAL || r == -ELOOP)
        return error_set(error, EBADMSG, "the list of the disk's layers (layers) is damaged: %s", strerror(-r));
    if (r < 0)
        return error_set(error, -r, "cannot read the list of the disk's layers (layers): %s", strerror(-r));
    r = overlay_layers_parse(bytes, n, ret, error);
    if (r < 0)
        return error_prefix(error, r, "the list of the disk's layers (layers) is damaged");
    *ret_listed = true;
    return 0;
}

int overlay_layers_replace(int dir, const struct overlay_layers *layers, struct error *error)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(LIST_MAXIMUM);
    int r = buf_append_format(&b, "rondo-layers 1\n");
    for (unsigned i = 0; i < layers->count && r == 0; i++) {
        const struct overlay_layer *l = &layers->layers[i];
        char hex[2 * OVERLAY_ID_SIZE + 1], time[32];
        overlay_id_to_hex(&l->id, hex);
        if (l->kind == OVERLAY_LAYER_TOP)
            r = buf_append_format(&b, "top %s\n", hex);
        else
            r = buf_append_format(&b, "%s %s %s %s\n", kinds[l->kind], hex, text_format_time(l->snapshot.time, time),
                                  l->snapshot.label);
    }
    if (r == 0)
        r = io_replace_file(dir, OVERLAY_LAYERS_NAME, b.data, b.size, 0600);
    return r < 0 ? error_set(error, -r, "cannot write the list of the disk's layers: %s", strerror(-r)) : 0;
}
