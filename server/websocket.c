// WebSockets (see websocket.h). A frame is looked at from its first byte on, so what is not allowed is refused before
// anything of its payload has come.
#define OPENSSL_SUPPRESS_DEPRECATED // SHA1_…: its state is the caller's, and no file is looked up (base/hash.c)

#include "server/websocket.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/text.h"

#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define KEY_BYTES 16                                      // section 4.1
#define KEY_SUFFIX "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // section 1.3
#define FINAL 0x80u                                       // of the first byte, section 5.2
#define RESERVED 0x70u
#define OPCODE 0x0fu
#define CONTROL 0x08u // of the opcode
#define MASKED 0x80u  // of the second byte
#define LENGTH 0x7fu
#define LENGTH_16 126u
#define LENGTH_64 127u
#define MASK_SIZE 4u

// --- the handshake -------------------------------------------------------------------------------------------------

bool websocket_is_same_origin(const char *origin, const char *host)
{
    static const char *const schemes[] = {"http://", "https://"};
    if (!origin || !host || !host[0])
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (strncasecmp(origin, schemes[i], strlen(schemes[i])) == 0)
            return strcasecmp(origin + strlen(schemes[i]), host) == 0;
    return false;
}

// A list of words with commas between (RFC 9110, section 5.6.1), capitals or not.
static bool has_word(const char *list, const char *word)
{
    static const char separators[] = ", \t";
    size_t n;
    if (!list)
        return false;
    for (list += strspn(list, separators); *list; list += n + strspn(list + n, separators)) {
        n = strcspn(list, separators);
        if (n == strlen(word) && strncasecmp(list, word, n) == 0)
            return true;
    }
    return false;
}

static bool is_key(const char *key)
{
    unsigned char bytes[KEY_BYTES + 2];
    return key && base64_decode(key, strlen(key), bytes, sizeof bytes) == KEY_BYTES;
}

unsigned websocket_check_request(const struct websocket_request *request, char ret_accept[static WEBSOCKET_ACCEPT_SIZE])
{
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA_CTX sha;
    if (!has_word(request->upgrade, "websocket") || !has_word(request->connection, "upgrade") || !request->version ||
        strcmp(request->version, WEBSOCKET_VERSION) != 0)
        return 426;
    if (!is_key(request->key))
        return 400;
    if (!websocket_is_same_origin(request->origin, request->host))
        return 403;
    SHA1_Init(&sha);
    SHA1_Update(&sha, request->key, strlen(request->key));
    SHA1_Update(&sha, KEY_SUFFIX, sizeof KEY_SUFFIX - 1);
    SHA1_Final(digest, &sha);
    base64_encode(digest, sizeof digest, ret_accept, WEBSOCKET_ACCEPT_SIZE);
    return 101;
}

// --- frames --------------------------------------------------------------------------------------------------------

// What its first byte says: 0, or −the status.
static int check_kind(const struct websocket_reader *r, unsigned first)
{
    const bool final = first & FINAL;
    if (first & RESERVED)
        return -WEBSOCKET_PROTOCOL_ERROR;
    switch (first & OPCODE) {
    case WEBSOCKET_CONTINUATION:
        return r->in_message ? 0 : -WEBSOCKET_PROTOCOL_ERROR;
    case WEBSOCKET_BINARY:
        return r->in_message ? -WEBSOCKET_PROTOCOL_ERROR : 0;
    case WEBSOCKET_TEXT:
        return r->in_message ? -WEBSOCKET_PROTOCOL_ERROR : -WEBSOCKET_UNSUPPORTED;
    case WEBSOCKET_CLOSE:
    case WEBSOCKET_PING:
    case WEBSOCKET_PONG:
        return final ? 0 : -WEBSOCKET_PROTOCOL_ERROR;
    default:
        return -WEBSOCKET_PROTOCOL_ERROR;
    }
}

int websocket_decode(struct websocket_reader *r, unsigned char *bytes, size_t size, struct websocket_frame *ret_frame,
                     size_t *ret_used)
{
    size_t head = 2;
    if (size < 1)
        return 0;
    int refused = check_kind(r, bytes[0]);
    if (refused < 0)
        return refused;
    if (size < 2)
        return 0;
    const bool control = bytes[0] & CONTROL;
    size_t length = bytes[1] & LENGTH;
    if (!(bytes[1] & MASKED) || (control && length > WEBSOCKET_CONTROL_MAXIMUM))
        return -WEBSOCKET_PROTOCOL_ERROR;
    if (length == LENGTH_64)
        return -WEBSOCKET_TOO_BIG;
    if (length == LENGTH_16) {
        head += 2;
        if (size < head)
            return 0;
        length = (size_t)bytes[2] << 8 | bytes[3];
        if (length < LENGTH_16)
            return -WEBSOCKET_PROTOCOL_ERROR;
    }
    if (length > WEBSOCKET_PAYLOAD_MAXIMUM)
        return -WEBSOCKET_TOO_BIG;
    const unsigned char *mask = bytes + head;
    head += MASK_SIZE;
    if (size < head || size - head < length)
        return 0;
    for (size_t i = 0; i < length; i++)
        bytes[head + i] ^= mask[i % MASK_SIZE];
    if (!control)
        r->in_message = !(bytes[0] & FINAL);
    *ret_frame = (struct websocket_frame){
        .opcode = (enum websocket_opcode)(bytes[0] & OPCODE), .payload = bytes + head, .length = length};
    *ret_used = head + length;
    return 1;
}

size_t websocket_encode_head(enum websocket_opcode opcode, size_t length,
                             unsigned char head[static WEBSOCKET_HEAD_MAXIMUM])
{
    head[0] = (unsigned char)(FINAL | opcode);
    if (length < LENGTH_16) {
        head[1] = (unsigned char)length;
        return 2;
    }
    head[1] = LENGTH_16;
    head[2] = (unsigned char)(length >> 8);
    head[3] = (unsigned char)length;
    return 4;
}

size_t websocket_encode_close(enum websocket_status status, unsigned char frame[static WEBSOCKET_CLOSE_SIZE])
{
    size_t head = websocket_encode_head(WEBSOCKET_CLOSE, 2, frame);
    frame[head] = (unsigned char)(status >> 8);
    frame[head + 1] = (unsigned char)status;
    return WEBSOCKET_CLOSE_SIZE;
}
