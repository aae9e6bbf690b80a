// Challenges and sessions of publishers (server/publish_sessions.c).
#include "server/publish_sessions.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

struct fixture {
    struct publish_sessions *sessions;
    struct key_public alice, bob;
};

static int set_up(void **state)
{
    static struct fixture f;

    memset(f.alice.bytes, 1, sizeof f.alice.bytes);
    memset(f.bob.bytes, 2, sizeof f.bob.bytes);
    *state = &f;
    return publish_sessions_new(&f.sessions, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    publish_sessions_free(&f->sessions);
    return 0;
}

static void make_challenge(struct fixture *f, uint64_t now, unsigned char ret[static PUBLISH_CHALLENGE_BYTES])
{
    char text[PUBLISH_CHALLENGE_SIZE];

    assert_int_equal(publish_sessions_make_challenge(f->sessions, &f->alice, now, text, NULL), 0);
    assert_int_equal(base64url_decode(text, strlen(text), ret, PUBLISH_CHALLENGE_BYTES), PUBLISH_CHALLENGE_BYTES);
}

static int begin(struct fixture *f, const struct key_public *key, const unsigned char *challenge, uint64_t now,
                 unsigned char ret_token[static PUBLISH_CHALLENGE_BYTES])
{
    char text[PUBLISH_CHALLENGE_SIZE];
    int r = publish_sessions_begin(f->sessions, key, challenge, now, text, NULL);

    if (r == 0)
        assert_int_equal(base64url_decode(text, strlen(text), ret_token, PUBLISH_CHALLENGE_BYTES),
                         PUBLISH_CHALLENGE_BYTES);
    return r;
}

static void a_challenge_is_for_one_key_once_and_a_minute(void **state)
{
    struct fixture *f = *state;
    unsigned char challenge[PUBLISH_CHALLENGE_BYTES], token[PUBLISH_CHALLENGE_BYTES];

    make_challenge(f, 1000, challenge);
    assert_int_equal(begin(f, &f->bob, challenge, 1000, token), -EKEYREJECTED);
    assert_int_equal(begin(f, &f->alice, challenge, 1000 + PUBLISH_CHALLENGE_SECONDS + 1, token), -EKEYREJECTED);
    assert_int_equal(begin(f, &f->alice, challenge, 999, token), -EKEYREJECTED);
    assert_int_equal(begin(f, &f->alice, challenge, 1000 + PUBLISH_CHALLENGE_SECONDS, token), 0);
    for (uint64_t now = 1000; now < 1002 + PUBLISH_CHALLENGE_SECONDS; now++)
        assert_int_equal(begin(f, &f->alice, challenge, now, token), -EKEYREJECTED);
    for (unsigned i = 0; i < PUBLISH_CHALLENGE_BYTES; i++) { // nor is another one like it
        make_challenge(f, 1000, challenge);
        challenge[i] ^= 1;
        assert_int_equal(begin(f, &f->alice, challenge, 1001, token), -EKEYREJECTED);
    }
}

static void a_session_lasts_an_hour(void **state)
{
    struct fixture *f = *state;
    unsigned char challenge[PUBLISH_CHALLENGE_BYTES], token[PUBLISH_CHALLENGE_BYTES];
    struct key_public key;

    make_challenge(f, 5000, challenge);
    memset(token, 0, sizeof token);
    assert_int_equal(begin(f, &f->alice, challenge, 5000, token), 0);
    int session = publish_sessions_enter(f->sessions, token, 5000 + PUBLISH_SESSION_SECONDS, &key, NULL);
    assert_true(session >= 0);
    assert_true(key_equal(&key, &f->alice));
    assert_int_equal(publish_sessions_enter(f->sessions, token, 5001 + PUBLISH_SESSION_SECONDS, &key, NULL),
                     -EKEYREJECTED);
    publish_sessions_leave(f->sessions, session);
    token[7] ^= 1;
    assert_int_equal(publish_sessions_enter(f->sessions, token, 5000, &key, NULL), -EKEYREJECTED);
    memset(token, 0, sizeof token); // a place that nobody has
    assert_int_equal(publish_sessions_enter(f->sessions, token, 5000, &key, NULL), -EKEYREJECTED);
}

static void requests_and_sessions_are_bounded(void **state)
{
    struct fixture *f = *state;
    unsigned char challenge[PUBLISH_CHALLENGE_BYTES], tokens[PUBLISH_SESSIONS_PER_KEY + 2][PUBLISH_CHALLENGE_BYTES];
    struct key_public key;
    int entered[PUBLISH_REQUESTS_PER_SESSION];

    for (unsigned i = 0; i < PUBLISH_SESSIONS_PER_KEY; i++) {
        make_challenge(f, 90000 + i, challenge);
        assert_int_equal(begin(f, &f->alice, challenge, 90000 + i, tokens[i]), 0);
    }
    for (unsigned i = 0; i < PUBLISH_REQUESTS_PER_SESSION; i++) {
        entered[i] = publish_sessions_enter(f->sessions, tokens[0], 90010, &key, NULL);
        assert_true(entered[i] >= 0);
    }
    assert_int_equal(publish_sessions_enter(f->sessions, tokens[0], 90010, &key, NULL), -EAGAIN);

    // One more ends the oldest that is idle: not the first one.
    make_challenge(f, 90010, challenge);
    assert_int_equal(begin(f, &f->alice, challenge, 90010, tokens[PUBLISH_SESSIONS_PER_KEY]), 0);
    assert_int_equal(publish_sessions_enter(f->sessions, tokens[1], 90010, &key, NULL), -EKEYREJECTED);
    for (unsigned i = 0; i < PUBLISH_REQUESTS_PER_SESSION; i++)
        publish_sessions_leave(f->sessions, entered[i]);
    assert_true(publish_sessions_enter(f->sessions, tokens[0], 90010, &key, NULL) >= 0);
    assert_true(publish_sessions_enter(f->sessions, tokens[PUBLISH_SESSIONS_PER_KEY], 90010, &key, NULL) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_challenge_is_for_one_key_once_and_a_minute, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_lasts_an_hour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(requests_and_sessions_are_bounded, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
