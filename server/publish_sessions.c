// See publish_sessions.h.
//
// A challenge: time u64, random 8, and the first 16 bytes of SHA-256 over (secret 32, time 8, random 8, key 32). All
// lengths are fixed and the hash is cut, so that nothing can be appended to what one has seen.
//
// Lock: `lock` guards all but the secret, which never changes. Nothing under it waits.
#include "server/publish_sessions.h"

#include "base/cleanup.h"
#include "base/cursor.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define SECRET_BYTES 32
#define USED_MAXIMUM 4096u // each needs a signature of an allowed key, and is forgotten after a minute

struct session {
    struct sha256 token;
    struct key_public key;
    uint64_t begun;
    unsigned requests;
    bool open;
};

struct used {
    unsigned char challenge[PUBLISH_CHALLENGE_BYTES];
    uint64_t until; // 0: free
};

struct publish_sessions {
    unsigned char secret[SECRET_BYTES];
    pthread_mutex_t lock;
    struct session sessions[PUBLISH_SESSIONS];
    struct used used[USED_MAXIMUM];
};

static int fill_random(void *to, size_t n, struct error *error)
{
    return getrandom(to, n, 0) == (ssize_t)n ? 0 : error_set(error, EIO, "no random numbers can be had");
}

int publish_sessions_new(struct publish_sessions **ret, struct error *error)
{
    struct publish_sessions *s = calloc(1, sizeof *s);

    if (!s)
        return error_set(error, ENOMEM, "not enough memory to start");
    pthread_mutex_init(&s->lock, NULL);
    int r = fill_random(s->secret, sizeof s->secret, error);
    if (r == 0)
        *ret = s;
    else
        publish_sessions_free(&s);
    return r;
}

void publish_sessions_free(struct publish_sessions **s)
{
    if (!*s)
        return;
    pthread_mutex_destroy(&(*s)->lock);
    OPENSSL_cleanse(*s, sizeof **s);
    free(*s);
    *s = NULL;
}

// --- challenges ----------------------------------------------------------------------------------------------------

static void seal(const struct publish_sessions *s, const struct key_public *key,
                 unsigned char challenge[static PUBLISH_CHALLENGE_BYTES])
{
    unsigned char all[SECRET_BYTES + 16 + KEY_PUBLIC_SIZE];

    memcpy(all, s->secret, SECRET_BYTES);
    memcpy(all + SECRET_BYTES, challenge, 16);
    memcpy(all + SECRET_BYTES + 16, key->bytes, KEY_PUBLIC_SIZE);
    const struct sha256 hash = sha256_of(all, sizeof all);
    memcpy(challenge + 16, hash.bytes, 16);
    OPENSSL_cleanse(all, sizeof all);
}

int publish_sessions_make_challenge(struct publish_sessions *s, const struct key_public *key, uint64_t now,
                                    char ret[static PUBLISH_CHALLENGE_SIZE], struct error *error)
{
    unsigned char challenge[PUBLISH_CHALLENGE_BYTES];

    put_le64(challenge, now);
    int r = fill_random(challenge + 8, 8, error);
    if (r < 0)
        return r;
    seal(s, key, challenge);
    base64url_encode(challenge, sizeof challenge, ret, PUBLISH_CHALLENGE_SIZE);
    return 0;
}

static int check_challenge(const struct publish_sessions *s, const struct key_public *key,
                           const unsigned char challenge[static PUBLISH_CHALLENGE_BYTES], uint64_t now,
                           struct error *error)
{
    unsigned char ours[PUBLISH_CHALLENGE_BYTES];

    memcpy(ours, challenge, sizeof ours);
    seal(s, key, ours);
    if (CRYPTO_memcmp(ours, challenge, sizeof ours) != 0)
        return error_set(error, EKEYREJECTED, "this server has given no such challenge for this key");
    const uint64_t made = get_le64(challenge);
    if (made > now || now - made > PUBLISH_CHALLENGE_SECONDS)
        return error_set(error, EKEYREJECTED, "the challenge is older than %u seconds", PUBLISH_CHALLENGE_SECONDS);
    return 0;
}

static int use_up(struct publish_sessions *s, const unsigned char challenge[static PUBLISH_CHALLENGE_BYTES],
                  uint64_t now, struct error *error)
{
    struct used *free_place = NULL;

    for (unsigned i = 0; i < USED_MAXIMUM; i++) {
        struct used *u = &s->used[i];
        if (u->until < now)
            free_place = u;
        else if (memcmp(u->challenge, challenge, sizeof u->challenge) == 0)
            return error_set(error, EKEYREJECTED, "the challenge was used before");
    }
    if (!free_place)
        return error_set(error, EAGAIN, "too many sessions begin at once");
    memcpy(free_place->challenge, challenge, sizeof free_place->challenge);
    free_place->until = get_le64(challenge) + PUBLISH_CHALLENGE_SECONDS;
    return 0;
}

// --- sessions ------------------------------------------------------------------------------------------------------

static bool is_over(const struct session *session, uint64_t now)
{
    return !session->open || now > session->begun + PUBLISH_SESSION_SECONDS;
}

// A free place, or the oldest idle one of a key that has its share; NULL: none.
static struct session *find_place(struct publish_sessions *s, const struct key_public *key, uint64_t now)
{
    struct session *free_place = NULL, *oldest = NULL;
    unsigned count = 0;

    for (unsigned i = 0; i < PUBLISH_SESSIONS; i++) {
        struct session *session = &s->sessions[i];
        const bool idle = session->requests == 0;
        if (is_over(session, now)) {
            free_place = idle ? session : free_place;
        } else if (key_equal(&session->key, key)) {
            count++;
            if (idle && (!oldest || session->begun < oldest->begun))
                oldest = session;
        }
    }
    return count >= PUBLISH_SESSIONS_PER_KEY ? oldest : free_place;
}

int publish_sessions_begin(struct publish_sessions *s, const struct key_public *key,
                           const unsigned char challenge[static PUBLISH_CHALLENGE_BYTES], uint64_t now,
                           char ret_token[static PUBLISH_CHALLENGE_SIZE], struct error *error)
{
    unsigned char token[PUBLISH_CHALLENGE_BYTES];

    int r = check_challenge(s, key, challenge, now, error);
    if (r == 0)
        r = fill_random(token, sizeof token, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    struct session *place = find_place(s, key, now);
    r = use_up(s, challenge, now, error);
    if (r == 0 && !place)
        r = error_set(error, EAGAIN, "too many sessions are open");
    if (r == 0 && place)
        *place = (struct session){.token = sha256_of(token, sizeof token), .key = *key, .begun = now, .open = true};
    pthread_mutex_unlock(&s->lock);
    if (r == 0)
        base64url_encode(token, sizeof token, ret_token, PUBLISH_CHALLENGE_SIZE);
    return r;
}

int publish_sessions_enter(struct publish_sessions *s, const unsigned char token[static PUBLISH_CHALLENGE_BYTES],
                           uint64_t now, struct key_public *ret_key, struct error *error)
{
    // Hashes are compared, so that the time this takes tells nothing about a token.
    const struct sha256 hash = sha256_of(token, PUBLISH_CHALLENGE_BYTES);
    int r = error_set(error, EKEYREJECTED, "there is no such session (any more)");

    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < (int)PUBLISH_SESSIONS; i++) {
        struct session *session = &s->sessions[i];
        if (is_over(session, now) || !sha256_equal(&session->token, &hash))
            continue;
        if (session->requests >= PUBLISH_REQUESTS_PER_SESSION) {
            r = error_set(error, EAGAIN, "this session has %u requests under way", session->requests);
            break;
        }
        session->requests++;
        *ret_key = session->key;
        r = i;
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void publish_sessions_leave(struct publish_sessions *s, int session)
{
    pthread_mutex_lock(&s->lock);
    s->sessions[session].requests--;
    pthread_mutex_unlock(&s->lock);
}
