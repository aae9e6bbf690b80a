// Places and tokens (see try_places.h). A place's number is that of its place in the table, and of its use.
#include "server/try_places.h"

#include "base/cleanup.h"
#include "base/hash.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define TOKEN_BYTES 32
#define OPENING_SECONDS 120 // libmicrohttpd has given up on a connection by then (server/http_server.c)
#define IPV6_NETWORK 8      // bytes

enum state { FREE, RESERVED, OPENING, RUNNING };

struct place {
    enum state state;
    uint64_t use;   // of all places, from 1
    uint64_t until; // of RESERVED and OPENING
    struct try_address who;
    char image[TRY_IMAGE_SIZE];
    char token[TRY_TOKEN_SIZE]; // of RESERVED
};

struct try_places {
    pthread_mutex_t lock; // of all below; nothing under it waits
    unsigned count;
    uint64_t uses;
    struct place places[TRY_MACHINES_MAXIMUM];
};

// --- addresses -----------------------------------------------------------------------------------------------------

static struct try_address address_of_ipv4(const struct in_addr *a)
{
    struct try_address address = {.bytes = {[10] = 0xff, [11] = 0xff}}; // RFC 4291, section 2.5.5.2
    memcpy(address.bytes + 12, a, 4);
    return address;
}

static struct try_address address_of_ipv6(const struct in6_addr *a)
{
    struct try_address address = {.bytes = {0}};
    memcpy(address.bytes, a, IN6_IS_ADDR_V4MAPPED(a) ? sizeof address.bytes : IPV6_NETWORK);
    return address;
}

static bool is_loopback(const struct sockaddr *client, const struct try_address *address)
{
    return client->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)client)->sin6_addr)
               ? true
               : address->bytes[10] == 0xff && address->bytes[12] == 127;
}

// The last address of the list; false if it is none.
static bool read_forwarded(const char *list, struct try_address *ret)
{
    const char *comma = strrchr(list, ','), *last = comma ? comma + 1 : list;
    char text[INET6_ADDRSTRLEN];
    struct in_addr ipv4;
    struct in6_addr ipv6;
    last += strspn(last, " \t");
    size_t n = strcspn(last, " \t");
    if (n >= sizeof text)
        return false;
    memcpy(text, last, n);
    text[n] = '\0';
    if (inet_pton(AF_INET, text, &ipv4) == 1)
        *ret = address_of_ipv4(&ipv4);
    else if (inet_pton(AF_INET6, text, &ipv6) == 1)
        *ret = address_of_ipv6(&ipv6);
    else
        return false;
    return true;
}

struct try_address try_address_of(const struct sockaddr *client, const char *forwarded)
{
    struct try_address address = {.bytes = {0}};
    if (client->sa_family == AF_INET)
        address = address_of_ipv4(&((const struct sockaddr_in *)client)->sin_addr);
    else if (client->sa_family == AF_INET6)
        address = address_of_ipv6(&((const struct sockaddr_in6 *)client)->sin6_addr);
    if (forwarded && is_loopback(client, &address))
        read_forwarded(forwarded, &address);
    return address;
}

// --- places --------------------------------------------------------------------------------------------------------

struct try_places *try_places_new(unsigned count)
{
    struct try_places *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->count = count;
    return p;
}

void try_places_free(struct try_places **p)
{
    if (!*p)
        return;
    pthread_mutex_destroy(&(*p)->lock);
    free(*p);
    *p = NULL;
}

static void forget_late_ones(struct try_places *p, uint64_t now)
{
    for (unsigned i = 0; i < p->count; i++)
        if ((p->places[i].state == RESERVED || p->places[i].state == OPENING) && now >= p->places[i].until)
            p->places[i].state = FREE;
}

// That of the address, if it has one; else a free one; else NULL.
static struct place *find_place(struct try_places *p, const struct try_address *who)
{
    struct place *found = NULL;
    for (unsigned i = 0; i < p->count; i++) {
        struct place *place = &p->places[i];
        if (place->state == FREE)
            found = found ? found : place;
        else if (memcmp(&place->who, who, sizeof *who) == 0)
            return place;
    }
    return found;
}

int try_places_reserve(struct try_places *p, const struct try_address *who, const char *image, uint64_t now,
                       char ret_token[static TRY_TOKEN_SIZE])
{
    unsigned char random[TOKEN_BYTES];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return -EIO;
    if (strlen(image) >= TRY_IMAGE_SIZE)
        return -ENAMETOOLONG;
    pthread_mutex_lock(&p->lock);
    forget_late_ones(p, now);
    struct place *place = find_place(p, who);
    int r = !place ? -EBUSY : place->state == OPENING || place->state == RUNNING ? -EUSERS : 0;
    if (r == 0) {
        *place = (struct place){
            .state = RESERVED, .use = ++p->uses, .until = now + TRY_TOKEN_SECONDS * NS_PER_SECOND, .who = *who};
        memcpy(place->image, image, strlen(image) + 1);
        base64url_encode(random, sizeof random, place->token, sizeof place->token);
        memcpy(ret_token, place->token, sizeof place->token);
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

int try_places_take(struct try_places *p, const char *token, uint64_t now, uint64_t *ret_place)
{
    int r = -ENOENT;
    if (strlen(token) != TRY_TOKEN_SIZE - 1)
        return r;
    pthread_mutex_lock(&p->lock);
    forget_late_ones(p, now);
    for (unsigned i = 0; i < p->count && r < 0; i++) {
        struct place *place = &p->places[i];
        if (place->state != RESERVED || CRYPTO_memcmp(place->token, token, TRY_TOKEN_SIZE) != 0)
            continue;
        place->state = OPENING;
        place->until = now + OPENING_SECONDS * NS_PER_SECOND;
        *ret_place = place->use * TRY_MACHINES_MAXIMUM + i;
        r = 0;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

static struct place *place_of(struct try_places *p, uint64_t number)
{
    struct place *place = &p->places[number % TRY_MACHINES_MAXIMUM];
    return place->use == number / TRY_MACHINES_MAXIMUM && place->state != FREE ? place : NULL;
}

int try_places_open(struct try_places *p, uint64_t number, uint64_t now, char ret_image[static TRY_IMAGE_SIZE])
{
    int r = -ENOENT;
    pthread_mutex_lock(&p->lock);
    forget_late_ones(p, now);
    struct place *place = place_of(p, number);
    if (place && place->state == OPENING) {
        place->state = RUNNING;
        memcpy(ret_image, place->image, sizeof place->image);
        r = 0;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

void try_places_release(struct try_places *p, uint64_t number)
{
    pthread_mutex_lock(&p->lock);
    struct place *place = place_of(p, number);
    if (place)
        place->state = FREE;
    pthread_mutex_unlock(&p->lock);
}
