/*
 * The hello guest: says hello and its command line on the serial port, does what the command line asks for, and resets.
 *
 *   exit=halt   stops with interrupts off, for ever; `halt` and `sleep` are the same
 *   exit=wild   jumps to where no memory is, which is more than KVM can emulate: the monitor fails
 *   echo        sends back what the serial port receives, until a line `quit`
 *
 * One source, compiled twice: as 64-bit code, and as 32-bit code that is assembled into a 64-bit object (.code32, the
 * way that the kernel had for its 16-bit code).  The function ENTRY is named differently each time.  No SSE, no
 * interrupts, nothing that a nested KVM could fail to emulate.
 */

#ifdef __i386__
__asm__(".code32");
#endif

#define SERIAL              0x3f8 /* 16550A: data, +5 line status */
#define LINE_STATUS         (SERIAL + 5)
#define RECEIVED            0x01
#define SENDER_READY        0x20
#define SENDER_IDLE         0x40
#define KEYBOARD_CONTROLLER 0x64
#define RESET               0xfe

static void out(unsigned short port, unsigned char value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static unsigned char in(unsigned short port)
{
    unsigned char value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void wait_for(unsigned char status)
{
    while (!(in(LINE_STATUS)&status))
        __asm__ volatile("pause");
}

static void put(char c)
{
    wait_for(SENDER_READY);
    out(SERIAL, c);
}

static void print(const char *text)
{
    while (*text)
        put(*text++);
}

/* Whether `text` begins with `word` and goes on with the end or a blank. */
static int is_word(const char *text, const char *word)
{
    while (*word)
        if (*text++ != *word++)
            return 0;
    return *text == '\0' || *text == ' ';
}

/* Whether `word` is one of the words of `line`; what stands in double quotes is not a word of its own. */
static int has_word(const char *line, const char *word)
{
    int at_start = 1, quoted = 0;
    for (; *line; line++) {
        if (at_start && !quoted && is_word(line, word))
            return 1;
        if (*line == '"')
            quoted = !quoted;
        at_start = *line == ' ';
    }
    return 0;
}

static void echo(void)
{
    static const char quit[] = "quit";
    unsigned int matched = 0; /* characters of this line that are those of `quit`; more than there are: it is not it */
    for (;;) {
        wait_for(RECEIVED);
        char c = in(SERIAL);
        put(c);
        if (c == '\r')
            put('\n');
        if (c == '\r' || c == '\n') {
            if (matched == sizeof(quit) - 1)
                return;
            matched = 0;
        } else {
            matched = matched < sizeof(quit) - 1 && c == quit[matched] ? matched + 1 : sizeof(quit);
        }
    }
}

static void halt(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* Above all memory that a test gives it, and in what the 64-bit boot protocol has mapped. */
static void jump_wild(void)
{
    __asm__ volatile("jmp *%0" : : "r"(0x3ffff000ul));
}

static void reset(void)
{
    static const struct {
        unsigned short limit;
        unsigned long base;
    } __attribute__((packed)) no_interrupts = {0, 0};

    wait_for(SENDER_IDLE);
    out(KEYBOARD_CONTROLLER, RESET);
    /* a monitor ends from another thread: time for that, or it may see the fault below instead */
    for (unsigned int i = 0; i < 10000000; i++)
        __asm__ volatile("pause");
    /* No controller (microvm): a triple fault, by ud2, as nested KVMs fail to emulate int3. */
    __asm__ volatile("lidt %0; ud2" : : "m"(no_interrupts));
    halt();
}

void ENTRY(const char *command_line)
{
    if (!command_line)
        command_line = "";
    print("hello from a unikernel\ncmdline: ");
    print(command_line);
    print("\n");
    if (has_word(command_line, "exit=halt") || has_word(command_line, "halt") || has_word(command_line, "sleep"))
        halt();
    if (has_word(command_line, "exit=wild"))
        jump_wild();
    if (has_word(command_line, "echo"))
        echo();
    reset();
}
