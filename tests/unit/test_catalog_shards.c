// catalog/catalog.h: shards, beyond 64 KiB, and the lack of memory.
#include "tests/unit/catalog_text.h"

#include "base/banned.h"

// Shards. `objects` keeps what was stored.
struct objects {
    struct buf texts[300];
    unsigned count, fail_at;
};

static int store(void *context, const void *bytes, size_t n, struct sha256 *ret)
{
    struct objects *o = context;
    if (o->fail_at && o->count + 1 == o->fail_at)
        return -ENOSPC;
    struct buf *b = &o->texts[o->count++];
    b->maximum = CATALOG_SHARD_MAXIMUM;
    assert_int_equal(buf_append(b, bytes, n), 0);
    *ret = sha256_of(bytes, n);
    return 0;
}

static void free_objects(struct objects *o)
{
    for (unsigned i = 0; i < o->count; i++)
        buf_free(&o->texts[i]);
    *o = (struct objects){.count = 0};
}

static const struct buf *object_of(const struct objects *o, const struct sha256 *hash)
{
    for (unsigned i = 0; i < o->count; i++) {
        struct sha256 h = sha256_of(o->texts[i].data, o->texts[i].size);
        if (sha256_equal(&h, hash))
            return &o->texts[i];
    }
    return NULL;
}

static void large_catalog(const struct key_secret *k, unsigned images, struct catalog *c)
{
    struct error error;
    struct key_public p;
    fixture_catalog(k, 1, ISSUED, c);
    key_public_of(k, &p);
    for (unsigned i = 0; i < images; i++) {
        struct catalog_image image = {.version = "1.0", .serial = 1 + i};
        snprintf(image.name, sizeof image.name, "image-%u.part", i);
        assert_ok(catalog_add_image(c, &image, &error), error);
    }
    assert_ok(catalog_add_key(c, &p, "image-7", &error), error);
}

static void beyond_64_kib_names_go_to_shards(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct objects objects CLEANUP(free_objects) = {.count = 0};
    struct objects again CLEANUP(free_objects) = {.count = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf second CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    const struct catalog_image *image;
    struct key_public p;
    struct error error;
    large_catalog(k, 1000, &c);
    key_public_of(k, &p);
    assert_ok(catalog_format(&c, store, &objects, &text, &error), error);
    assert_true(text.size < CATALOG_TEXT_MAXIMUM);
    assert_ok(signed_write(k, text.data, text.size, "c", &file, &error), error);
    assert_ok(catalog_open(file.data, file.size, &back, &error), error);
    assert_true(back.shard_count > 200);
    assert_int_equal(back.shard_count, objects.count);
    assert_int_equal(back.image_count, 0);

    // One shard is all that one name needs, with the key line that governs it.
    assert_int_equal(catalog_find(&back, "image-7.part", NULL, &image, &error), -EINVAL); // not read yet
    const struct catalog_shard *shard = catalog_find_shard(&back, "image-7.part");
    assert_non_null(shard);
    const struct buf *object = object_of(&objects, &shard->object);
    assert_non_null(object);
    assert_int_equal(object->size, shard->size);
    int r = -ENOMEM;
    for (unsigned long at = 1; r == -ENOMEM; at++) { // each allocation fails in turn, and nothing is lost
        io_fault_start(at, ENOMEM, false);
        r = catalog_parse_shard(&back, shard, object->data, object->size, &error);
        io_fault_stop();
        assert_true(at < 20 && (r == 0 || strstr(error.text, "not enough memory") != NULL));
        assert_int_equal(catalog_find_shard(&back, "image-7.part") != NULL, r < 0);
    }
    assert_int_equal(r, 0);
    assert_null(catalog_find_shard(&back, "image-7.part"));
    assert_ok(catalog_find(&back, "image-7.part", NULL, &image, &error), error);
    assert_int_equal(image->serial, 8);
    assert_int_equal(back.key_count, 1);
    assert_int_equal(catalog_parse_shard(&back, shard, object->data, object->size, &error), -EINVAL); // twice

    // With shards missing it is neither changed nor written: names would be lost.
    assert_int_equal(catalog_format(&back, store, &again, &second, &error), -EINVAL);
    struct catalog_image debian = {.name = "debian", .version = "20", .serial = 20};
    assert_non_null(catalog_find_shard(&back, "debian"));
    assert_int_equal(catalog_add_image(&back, &debian, &error), -EINVAL);
    assert_int_equal(catalog_set_tag(&back, "debian", "x", "12.5", &error), -EINVAL);
    assert_int_equal(catalog_remove_tag(&back, "debian", "x", &error), -EINVAL);
    assert_int_equal(catalog_remove_image(&back, "debian", "12.4", &error), -EINVAL);
    assert_int_equal(catalog_add_key(&back, &p, "debian", &error), -EINVAL);

    for (unsigned i = 0; i < back.shard_count; i++) {
        if (back.shards[i].loaded)
            continue;
        object = object_of(&objects, &back.shards[i].object);
        assert_ok(catalog_parse_shard(&back, &back.shards[i], object->data, object->size, &error), error);
    }
    assert_int_equal(back.image_count, c.image_count);
    assert_int_equal(back.tag_count, c.tag_count);
    assert_ok(catalog_format(&back, store, &again, &second, &error), error);
    assert_string_equal(buf_text(&second), buf_text(&text));
}

static void shards_are_what_was_signed(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct objects objects CLEANUP(free_objects) = {.count = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    large_catalog(k, 1000, &c);
    assert_ok(catalog_format(&c, store, &objects, &text, &error), error);
    assert_ok(catalog_parse(text.data, text.size, &back, &error), error);
    struct catalog_shard *shard = &back.shards[3];
    const struct buf *object = object_of(&objects, &shard->object);
    const struct buf *other = object_of(&objects, &back.shards[4].object);
    assert_int_equal(catalog_parse_shard(&back, shard, other->data, other->size, &error), -EBADMSG);
    for (size_t i = 0; i < object->size; i++) {
        object->data[i] ^= 1;
        assert_int_equal(catalog_parse_shard(&back, shard, object->data, object->size, &error), -EBADMSG);
        object->data[i] ^= 1;
    }
    assert_int_equal(catalog_parse_shard(&back, shard, object->data, object->size - 1, &error), -EBADMSG);
    assert_int_equal(back.image_count, 0);
    // Signed, but malformed: lines of another shard; lines of a head; nothing sensible.
    const char *const bad[] = {(const char *)other->data, HEAD,  "mirror http://a.example/\n",
                               "shard 00 " HASH_A " 5\n", "x\n", "image"};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        const size_t n = strlen(bad[i]);
        shard->object = sha256_of(bad[i], n);
        shard->size = (uint32_t)n;
        assert_int_equal(catalog_parse_shard(&back, shard, bad[i], n, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "malformed shard"));
    }
    assert_int_equal(back.image_count, 0);
    assert_false(shard->loaded);
    struct catalog_shard unknown = *shard;
    back.shard_count = 1;
    assert_int_equal(catalog_parse_shard(&back, &unknown, "", 0, &error), -EINVAL);
}

static void a_shard_that_cannot_be_stored_stops_the_writing(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct objects objects CLEANUP(free_objects) = {.fail_at = 10};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    large_catalog(k, 1000, &c);
    assert_int_equal(catalog_format(&c, store, &objects, &text, &error), -ENOSPC);
    assert_int_equal(text.size, 0);
}

// Each allocation fails once, and nothing leaks or crashes (the sanitizers look on).
static void lack_of_memory_is_survived(void **state)
{
    (void)state;
    for (unsigned long at = 1;; at++) {
        struct catalog c = {.number = 0};
        io_fault_start(at, ENOMEM, false);
        int r = catalog_parse(HEAD LISTS, strlen(HEAD LISTS), &c, NULL);
        io_fault_stop();
        if (r == 0) {
            catalog_free(&c);
            assert_true(at > 4);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(c.images);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beyond_64_kib_names_go_to_shards),
        cmocka_unit_test(shards_are_what_was_signed),
        cmocka_unit_test(a_shard_that_cannot_be_stored_stops_the_writing),
        cmocka_unit_test(lack_of_memory_is_survived),
    };
    return cmocka_run_group_tests_name("catalog_shards", tests, NULL, NULL);
}
