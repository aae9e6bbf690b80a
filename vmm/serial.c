// A 16550A: see serial.h. Names and numbers are those of the PC16550D data sheet (its table of registers, and 8.4 FCR,
// 8.5 IIR, 8.6 IER, 8.7 MCR, 8.8 MSR).
//
// Bytes that are written leave at once (to the stream, which never makes anybody wait), so the transmitter is always
// empty: LSR says THRE and TEMT, and each write is followed by "transmitter empty" again.
//
// The interrupt. Its line is a level in the chip: high while any enabled cause is there. Here it is an edge-triggered
// pin, which sees only the moments at which we signal it. So:
//
// 1. `cause` is what IIR says: the cause of highest priority that is there and enabled, or none.
// 2. Whenever `cause` has changed, and is not "none", the line is signalled (update). So a cause that appears, that is
//    enabled while it is there, or that was behind another one which is now cleared, is always told. A driver that
//    handles one cause for each interrupt goes on, and one that looks until IIR says "none" gets an interrupt too many,
//    at which it finds "none".
// 3. Characters that are left when one was read are told again. (In the chip those below the trigger level are, by the
//    time-out cause, four character times later; a driver that takes one for each interrupt waits for that.)
// 4. A driver may fill the transmitter without having looked at IIR: filling it clears the cause in the chip, and it
//    comes again when all has left; here it is told again at the first byte of a series.
// 5. A signal is never needed otherwise: more of what is told already is seen by whoever handles it.
//
// Input. It stays with its sender until the driver takes input: it has the receiver's interrupt on, and RTS or OUT2,
// without which no interrupt passes to a PC's bus; or it asks LSR again and again without writing (firmware that waits
// for a key). And turning the FIFOs on or off, which empties them in the chip, keeps here what was received; clearing
// them clears. So nothing is lost of what was typed or pasted while a driver probes, starts or closes.
//
// Collecting. While KVM collects the writes to the data port, they arrive late, but before the next other access of the
// guest to any port or device is handled; so for every register here the order of accesses is that of the guest. What
// is late is output, and "transmitter empty" with it, until the guest looks at IIR or LSR or writes IER, as every
// driver does after it has filled the FIFO. Not collected: while DLAB makes the port another register, in loopback
// (the character is to come back at once), and without FIFOs, unless the driver is polite: it has looked at LSR before
// each of the last bytes, as Linux's early consoles do, so more will be heard of it. One byte without a look, and it is
// not polite any more.
//
// `lock` guards everything; it is held while the stream and `collect` are called, and both call nothing back.
#include "vmm/serial.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/banned.h"

#define REGISTERS 8u
#define FIFO_SIZE 16u
#define LOOKS_OF_A_POLITE_WRITER 16u
#define POLLS_OF_A_READER 16u // so many looks at LSR in a row, none of which a writer makes

enum { // registers, by their offset; the first three are others for reading, writing, and with DLAB
    RBR_THR_DLL = 0,
    IER_DLM = 1,
    IIR_FCR = 2,
    LCR = 3,
    MCR = 4,
    LSR = 5,
    MSR = 6,
    SCR = 7,
};

#define IER_RECEIVED 0x01u
#define IER_TRANSMITTER 0x02u
#define IER_LINE_STATUS 0x04u
#define IER_MODEM_STATUS 0x08u

#define IIR_NONE 0x01u
#define IIR_MODEM_STATUS 0x00u
#define IIR_TRANSMITTER 0x02u
#define IIR_RECEIVED 0x04u
#define IIR_LINE_STATUS 0x06u
#define IIR_TIME_OUT 0x0cu
#define IIR_FIFOS 0xc0u

#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RECEIVER 0x02u

#define LCR_DLAB 0x80u

#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOPBACK 0x10u
#define MCR_BITS 0x1fu

#define LSR_DATA_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_TRANSMITTER_EMPTY 0x60u // THRE, TEMT

#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u
#define MSR_CONNECTED (MSR_CTS | MSR_DSR | MSR_DCD)

struct serial {
    pthread_mutex_t lock;
    struct serial_settings settings;
    struct bus *ports;
    uint16_t port;
    unsigned char divisor[2], ier, lcr, mcr, msr, scratch;
    bool fifos, overrun;
    bool transmitter_told; // IIR has shown that the transmitter is empty
    bool writing;          // the last access was a write of a byte to be sent
    unsigned trigger;
    unsigned char received[FIFO_SIZE];
    unsigned first, count;
    unsigned cause; // rule 1
    unsigned polls;
    bool looked;     // the last access was a look at LSR
    unsigned polite; // bytes in a row that came after a look at LSR, up to LOOKS_OF_A_POLITE_WRITER
    bool collecting;
};

// --- the interrupt --------------------------------------------------------------------------------------------------

static unsigned find_cause(const struct serial *s)
{
    if (s->overrun && s->ier & IER_LINE_STATUS)
        return IIR_LINE_STATUS;
    if (s->count >= s->trigger && s->ier & IER_RECEIVED)
        return IIR_RECEIVED;
    if (s->count > 0 && s->ier & IER_RECEIVED)
        return IIR_TIME_OUT;
    if (!s->transmitter_told && s->ier & IER_TRANSMITTER)
        return IIR_TRANSMITTER;
    if (s->msr & 0x0f && s->ier & IER_MODEM_STATUS)
        return IIR_MODEM_STATUS;
    return IIR_NONE;
}

// After every change. `retold`: the cause is told again though it is the same (rules 3 and 4).
static void update(struct serial *s, bool retold)
{
    unsigned before = s->cause;
    s->cause = find_cause(s);
    if (s->cause == IIR_NONE || (s->cause == before && !retold))
        return;
    eventfd_write(s->settings.interrupt, 1); // fails only if the counter is full: then the interrupt is on its way
}

// --- the receiver ---------------------------------------------------------------------------------------------------

static bool ready(const struct serial *s)
{
    return !(s->mcr & MCR_LOOPBACK) &&
           ((s->ier & IER_RECEIVED && s->mcr & (MCR_RTS | MCR_OUT2)) || s->polls >= POLLS_OF_A_READER);
}

static unsigned room(const struct serial *s)
{
    unsigned size = s->fifos ? FIFO_SIZE : 1;
    return s->count < size ? size - s->count : 0;
}

static void tell_room(struct serial *s)
{
    if (ready(s) && room(s) > 0)
        stream_more_room(s->settings.stream);
}

static void put_received(struct serial *s, unsigned char byte)
{
    s->received[(s->first + s->count++) % FIFO_SIZE] = byte;
}

static unsigned char take_received(struct serial *s)
{
    s->polls = 0;
    if (s->count == 0)
        return 0;
    unsigned char byte = s->received[s->first];
    s->first = (s->first + 1) % FIFO_SIZE;
    s->count--;
    update(s, s->count > 0);
    tell_room(s);
    return byte;
}

static size_t input_room(void *context)
{
    struct serial *s = context;
    pthread_mutex_lock(&s->lock);
    size_t n = ready(s) ? room(s) : 0;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void input(void *context, const unsigned char *bytes, size_t n)
{
    struct serial *s = context;
    pthread_mutex_lock(&s->lock);
    // There was room when the stream asked. If the driver has changed its mind since, there is still place.
    for (size_t i = 0; i < n && s->count < FIFO_SIZE; i++)
        put_received(s, bytes[i]);
    update(s, false);
    pthread_mutex_unlock(&s->lock);
}

// --- registers ------------------------------------------------------------------------------------------------------

static void decide_collecting(struct serial *s)
{
    bool wanted =
        (s->fifos || s->polite >= LOOKS_OF_A_POLITE_WRITER) && !(s->lcr & LCR_DLAB) && !(s->mcr & MCR_LOOPBACK);
    if (wanted == s->collecting)
        return;
    s->collecting = wanted;
    if (s->settings.collect)
        s->settings.collect(s->settings.context, wanted);
}

// Input goes to the console that was written to last: virtio_console.h.
static void show(struct serial *s, unsigned char byte)
{
    const struct stream_listener listener = {input_room, input, s};
    stream_write(s->settings.stream, &byte, 1);
    stream_listen(s->settings.stream, &listener);
}

static void transmit(struct serial *s, unsigned char byte)
{
    bool first = !s->fifos || !s->writing;
    s->polls = 0;
    s->writing = true;
    s->polite = !s->looked ? 0 : s->polite < LOOKS_OF_A_POLITE_WRITER ? s->polite + 1 : s->polite;
    s->looked = false;
    decide_collecting(s);
    if (!(s->mcr & MCR_LOOPBACK))
        show(s, byte);
    else if (room(s) > 0)
        put_received(s, byte);
    else
        s->overrun = true;
    s->transmitter_told = false;
    update(s, first && find_cause(s) == IIR_TRANSMITTER);
}

static void write_fcr(struct serial *s, unsigned char value)
{
    static const unsigned char triggers[4] = {1, 4, 8, 14};
    bool enable = value & FCR_ENABLE;
    if (enable && value & FCR_CLEAR_RECEIVER)
        s->count = 0;
    s->fifos = enable;
    s->trigger = enable ? triggers[value >> 6] : 1;
    decide_collecting(s);
    update(s, false);
    tell_room(s);
}

// What the modem's lines say, and which of them have changed.
static void set_modem_lines(struct serial *s)
{
    unsigned lines = MSR_CONNECTED;
    if (s->mcr & MCR_LOOPBACK)
        lines = (s->mcr & MCR_DTR ? MSR_DSR : 0) | (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_OUT1 ? MSR_RI : 0) |
                (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
    unsigned changed = (s->msr ^ lines) & 0xf0;
    if (lines & MSR_RI)
        changed &= ~MSR_RI;
    s->msr = (unsigned char)(lines | (s->msr & 0x0f) | changed >> 4);
}

static void write_mcr(struct serial *s, unsigned char value)
{
    s->mcr = value & MCR_BITS;
    set_modem_lines(s);
    decide_collecting(s);
    update(s, false);
    tell_room(s);
}

static void write_ier(struct serial *s, unsigned char value)
{
    // Enabling the transmitter's interrupt tells that it is empty, whether that was told before or not.
    if (value & IER_TRANSMITTER && !(s->ier & IER_TRANSMITTER))
        s->transmitter_told = false;
    s->ier = value & 0x0f;
    update(s, false);
    tell_room(s);
}

static void write_register(struct serial *s, unsigned at, unsigned char value)
{
    bool divisor = s->lcr & LCR_DLAB && at <= IER_DLM;
    if (!divisor && at == RBR_THR_DLL) {
        transmit(s, value);
        return;
    }
    s->writing = s->looked = false;
    if (divisor)
        s->divisor[at] = value;
    else if (at == IER_DLM)
        write_ier(s, value);
    else if (at == IIR_FCR)
        write_fcr(s, value);
    else if (at == LCR)
        s->lcr = value;
    else if (at == MCR)
        write_mcr(s, value);
    else if (at == SCR)
        s->scratch = value;
    if (at == LCR)
        decide_collecting(s);
}

static unsigned char read_iir(struct serial *s)
{
    unsigned cause = s->cause;
    if (cause == IIR_TRANSMITTER) {
        s->transmitter_told = true;
        update(s, false);
    }
    return (unsigned char)(cause | (s->fifos ? IIR_FIFOS : 0));
}

static unsigned char read_lsr(struct serial *s)
{
    unsigned value = LSR_TRANSMITTER_EMPTY | (s->count > 0 ? LSR_DATA_READY : 0) | (s->overrun ? LSR_OVERRUN : 0);
    s->overrun = false;
    update(s, false);
    if (s->polls < POLLS_OF_A_READER && ++s->polls == POLLS_OF_A_READER)
        tell_room(s);
    return (unsigned char)value;
}

static unsigned char read_msr(struct serial *s)
{
    unsigned char value = s->msr;
    s->msr &= 0xf0;
    update(s, false);
    return value;
}

static unsigned char read_register(struct serial *s, unsigned at)
{
    s->writing = false;
    s->looked = at == LSR;
    if (s->lcr & LCR_DLAB && at <= IER_DLM)
        return s->divisor[at];
    switch (at) {
    case RBR_THR_DLL:
        return take_received(s);
    case IER_DLM:
        return s->ier;
    case IIR_FCR:
        return read_iir(s);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return read_lsr(s);
    case MSR:
        return read_msr(s);
    default:
        return s->scratch;
    }
}

// --- the bus: a wider access is so many of one byte, as on the bus of a PC ------------------------------------------

static uint64_t serial_read(void *context, uint64_t offset, unsigned width)
{
    struct serial *s = context;
    uint64_t value = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)read_register(s, (unsigned)offset + i) << (8 * i);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void serial_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct serial *s = context;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < width; i++)
        write_register(s, (unsigned)offset + i, (unsigned char)(value >> (8 * i)));
    pthread_mutex_unlock(&s->lock);
}

int serial_new(const struct serial_settings *settings, struct bus *ports, uint16_t port, struct serial **ret,
               struct error *error)
{
    struct serial *s = calloc(1, sizeof *s);
    const struct bus_handler handler = {"serial", serial_read, serial_write, s};
    const struct stream_listener listener = {input_room, input, s};
    int r = s ? -pthread_mutex_init(&s->lock, NULL) : -ENOMEM;
    if (r < 0) {
        free(s);
        return error_set(error, -r, "cannot make the serial port: %s", strerror(-r));
    }
    s->settings = *settings;
    s->ports = ports;
    s->port = port;
    s->trigger = 1;
    s->cause = IIR_NONE;
    s->msr = MSR_CONNECTED;
    r = bus_add(ports, port, REGISTERS, &handler);
    if (r < 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return error_set(error, -r, "cannot place the serial port: %s", strerror(-r));
    }
    stream_listen(settings->stream, &listener);
    *ret = s;
    return 0;
}

void serial_free(struct serial *s)
{
    if (!s)
        return;
    bus_remove(s->ports, s->port, REGISTERS);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
