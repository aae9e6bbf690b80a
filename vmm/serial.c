// A 16550A: see serial.h, and the PC16550D data sheet (the table of registers, and 8.4 to 8.8).
//
// Bytes that are written leave at once (to the stream, which never makes anybody wait), so the transmitter is always
// empty: LSR says THRE and TEMT, and each write is followed by "transmitter empty" again.
//
// The interrupt. Its line is a level in the chip: high while any enabled cause is there. Here it is an edge-triggered
// pin, which sees only the moments at which we signal it. So:
//
// 1. `cause` is what IIR says: the cause of highest priority that is there and enabled, or none.
// 2. Whenever `cause` has changed, and is not "none", the line is signalled (update). So a cause that appears, is
// enabled
//    while it is there, or was behind another one that is now cleared, is always told. A driver that looks until IIR
//    says "none" gets an interrupt too many, at which it finds "none".
// 3. Characters that are left when one was read are told again. (In the chip those below the trigger level are, by the
//    time-out cause, four character times later; a driver that takes one for each interrupt waits for that.)
// 4. A driver may fill the transmitter without having looked at IIR: filling it clears the cause in the chip, and it
//    comes again when all has left; here it is told again at the first byte of a series.
//
// Input. It stays with its sender until the driver takes input: it has the receiver's interrupt on, and RTS or OUT2,
// without which no interrupt passes to a PC's bus; or it asks LSR again and again without writing (firmware that waits
// for a key). Turning the FIFOs on or off, which empties them in the chip, keeps here what was received. So nothing is
// lost of what was typed or pasted while a driver probes, starts or closes.
//
// Collecting. While KVM collects the writes to the data port, they arrive late, but before the next other access of the
// guest to any port or device is handled; so for every register here the order of accesses is that of the guest. What
// is late is output, and "transmitter empty" with it, until the guest looks at IIR or LSR or writes IER, as every
// driver does after it has filled the FIFO. Not collected: while DLAB makes the port another register, in loopback
// (the character is to come back at once), and without FIFOs, unless the driver is polite: it has looked at LSR before
// each of the last bytes, as Linux's early consoles do, so more will be heard of it.
//
// `lock` guards everything; it is held while the stream and `collect` are called, and both call nothing back.
#include "vmm/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/banned.h"

#define REGISTERS 8u
#define FIFO_SIZE 16u
#define LOOKS_OF_A_POLITE_WRITER 16u
#define POLLS_OF_A_READER 16u // so many looks at LSR in a row, none of which a writer makes
#define IIR_FIFOS 0xc0u       // this and what follows has no name in <linux/serial_reg.h>
#define MCR_BITS 0x1fu
#define LSR_EMPTY (UART_LSR_THRE | UART_LSR_TEMT)
#define MSR_CONNECTED (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)
#define MSR_CHANGES 0x0fu

struct serial {
    pthread_mutex_t lock;
    struct serial_settings settings;
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
    if (s->overrun && s->ier & UART_IER_RLSI)
        return UART_IIR_RLSI;
    if (s->count >= s->trigger && s->ier & UART_IER_RDI)
        return UART_IIR_RDI;
    if (s->count > 0 && s->ier & UART_IER_RDI)
        return UART_IIR_RX_TIMEOUT;
    if (!s->transmitter_told && s->ier & UART_IER_THRI)
        return UART_IIR_THRI;
    if (s->msr & MSR_CHANGES && s->ier & UART_IER_MSI)
        return UART_IIR_MSI;
    return UART_IIR_NO_INT;
}

// After every change. `retold`: the cause is told again though it is the same (rules 3 and 4).
static void update(struct serial *s, bool retold)
{
    unsigned before = s->cause;
    s->cause = find_cause(s);
    if (s->cause == UART_IIR_NO_INT || (s->cause == before && !retold))
        return;
    eventfd_write(s->settings.interrupt, 1); // fails only if the counter is full: then the interrupt is on its way
}

// --- the receiver ---------------------------------------------------------------------------------------------------

static bool ready(const struct serial *s)
{
    return !(s->mcr & UART_MCR_LOOP) &&
           ((s->ier & UART_IER_RDI && s->mcr & (UART_MCR_RTS | UART_MCR_OUT2)) || s->polls >= POLLS_OF_A_READER);
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

// Input goes to the console that was written to last: virtio_console.h.
static void listen(struct serial *s)
{
    const struct stream_listener listener = {input_room, input, s};
    stream_listen(s->settings.stream, &listener);
}

// --- registers ------------------------------------------------------------------------------------------------------

static void decide_collecting(struct serial *s)
{
    bool wanted =
        (s->fifos || s->polite >= LOOKS_OF_A_POLITE_WRITER) && !(s->lcr & UART_LCR_DLAB) && !(s->mcr & UART_MCR_LOOP);
    if (wanted == s->collecting)
        return;
    s->collecting = wanted;
    if (s->settings.collect)
        s->settings.collect(s->settings.context, wanted);
}

static void transmit(struct serial *s, unsigned char byte)
{
    bool first = !s->fifos || !s->writing;
    s->polls = 0;
    s->writing = true;
    s->polite = s->looked ? s->polite + (s->polite < LOOKS_OF_A_POLITE_WRITER) : 0;
    s->looked = false;
    decide_collecting(s);
    if (!(s->mcr & UART_MCR_LOOP)) {
        stream_write(s->settings.stream, &byte, 1);
        listen(s);
    } else if (room(s) > 0) {
        put_received(s, byte);
    } else {
        s->overrun = true;
    }
    s->transmitter_told = false;
    update(s, first && find_cause(s) == UART_IIR_THRI);
}

static void write_fcr(struct serial *s, unsigned char value)
{
    static const unsigned char triggers[4] = {1, 4, 8, 14};
    s->fifos = value & UART_FCR_ENABLE_FIFO;
    s->trigger = s->fifos ? triggers[value >> 6] : 1;
    if (s->fifos && value & UART_FCR_CLEAR_RCVR)
        s->count = 0;
}

// It decides what the modem's lines say, and so which of them have changed.
static void write_mcr(struct serial *s, unsigned char value)
{
    s->mcr = value & MCR_BITS;
    unsigned lines = MSR_CONNECTED;
    if (s->mcr & UART_MCR_LOOP)
        lines = (s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) | (s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
                (s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
    unsigned changed = (s->msr ^ lines) & 0xf0;
    if (lines & UART_MSR_RI)
        changed &= ~(unsigned)UART_MSR_RI;
    s->msr = (unsigned char)(lines | (s->msr & MSR_CHANGES) | changed >> 4);
}

static void write_ier(struct serial *s, unsigned char value)
{
    s->transmitter_told &= !(value & ~s->ier & UART_IER_THRI); // enabling its interrupt tells it, once more if need be
    s->ier = value & 0x0f;
}

static void write_byte(void *context, unsigned at, unsigned char value)
{
    struct serial *s = context;
    bool divisor = s->lcr & UART_LCR_DLAB && at <= UART_IER;
    if (!divisor && at == UART_RX) {
        transmit(s, value);
        return;
    }
    s->writing = s->looked = false;
    if (divisor)
        s->divisor[at] = value;
    else if (at == UART_IER)
        write_ier(s, value);
    else if (at == UART_FCR)
        write_fcr(s, value);
    else if (at == UART_LCR)
        s->lcr = value;
    else if (at == UART_MCR)
        write_mcr(s, value);
    else if (at == UART_SCR)
        s->scratch = value;
    decide_collecting(s);
    update(s, false);
    tell_room(s);
}

static unsigned char read_iir(struct serial *s)
{
    unsigned cause = s->cause;
    if (cause == UART_IIR_THRI) {
        s->transmitter_told = true;
        update(s, false);
    }
    return (unsigned char)(cause | (s->fifos ? IIR_FIFOS : 0));
}

static unsigned char read_lsr(struct serial *s)
{
    unsigned value = LSR_EMPTY | (s->count > 0 ? UART_LSR_DR : 0) | (s->overrun ? UART_LSR_OE : 0);
    s->overrun = false;
    update(s, false);
    if (s->polls < POLLS_OF_A_READER && ++s->polls == POLLS_OF_A_READER)
        tell_room(s);
    return (unsigned char)value;
}

static unsigned char read_msr(struct serial *s)
{
    unsigned char value = s->msr;
    s->msr &= (unsigned char)~MSR_CHANGES;
    update(s, false);
    return value;
}

static unsigned char read_byte(void *context, unsigned at)
{
    struct serial *s = context;
    s->writing = false;
    s->looked = at == UART_LSR;
    if (s->lcr & UART_LCR_DLAB && at <= UART_IER)
        return s->divisor[at];
    switch (at) {
    case UART_RX:
        return take_received(s);
    case UART_IER:
        return s->ier;
    case UART_IIR:
        return read_iir(s);
    case UART_LCR:
        return s->lcr;
    case UART_MCR:
        return s->mcr;
    case UART_LSR:
        return read_lsr(s);
    case UART_MSR:
        return read_msr(s);
    default:
        return s->scratch;
    }
}

static uint64_t serial_read(void *context, uint64_t offset, unsigned width)
{
    struct serial *s = context;
    pthread_mutex_lock(&s->lock);
    uint64_t value = bus_read_bytes(s, read_byte, (unsigned)offset, width);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void serial_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct serial *s = context;
    pthread_mutex_lock(&s->lock);
    bus_write_bytes(s, write_byte, (unsigned)offset, width, value);
    pthread_mutex_unlock(&s->lock);
}

int serial_new(const struct serial_settings *settings, struct bus *ports, uint16_t port, struct serial **ret,
               struct error *error)
{
    struct serial *s = calloc(1, sizeof *s);
    const struct bus_handler handler = {"serial", serial_read, serial_write, s};
    if (!s)
        return error_set(error, ENOMEM, "no memory for the serial port");
    pthread_mutex_init(&s->lock, NULL); // cannot fail with default attributes
    s->settings = *settings;
    s->trigger = 1;
    s->cause = UART_IIR_NO_INT;
    s->msr = MSR_CONNECTED;
    int r = bus_add(ports, port, REGISTERS, &handler);
    if (r < 0) {
        serial_free(s);
        return error_set(error, -r, "cannot place the serial port: %s", strerror(-r));
    }
    listen(s);
    *ret = s;
    return 0;
}

void serial_free(struct serial *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}
