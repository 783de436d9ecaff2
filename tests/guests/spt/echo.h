/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest of either ABI does with a frame: answers ARP and ping for the address in its command line, "A.B.C.D
 * COUNT", which may come after options that begin with a dash. */
#pragma once

#include <stddef.h>
#include <stdint.h>

static uint8_t frame[2048], address[4];

static void swap(uint8_t *a, uint8_t *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = a[i];
        a[i] = b[i];
        b[i] = byte;
    }
}

static int is_mine(const uint8_t *other)
{
    return other[0] == address[0] && other[1] == address[1] && other[2] == address[2] && other[3] == address[3];
}

static void put(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

/* Make the frame its own answer: 1 = of ARP, 2 = of a ping, 0 = it asks us nothing. */
static int answer(const uint8_t *mac, size_t size)
{
    uint8_t *packet = frame + 14;
    int is_arp = size >= 42 && frame[12] == 8 && frame[13] == 6 && packet[7] == 1 && is_mine(packet + 24);
    int is_ping = size >= 42 && frame[12] == 8 && frame[13] == 0 && packet[0] == 0x45 && packet[9] == 1 &&
                  packet[20] == 8 && is_mine(packet + 16);
    if (!is_arp && !is_ping)
        return 0;
    put(frame, frame + 6, 6);
    put(frame + 6, mac, 6);
    if (is_arp) {
        packet[7] = 2;
        swap(packet + 8, packet + 18, 10);
        put(packet + 8, mac, 6);
        return 1;
    }
    swap(packet + 12, packet + 16, 4);
    packet[20] = 0;
    unsigned sum = (unsigned)(packet[22] << 8 | packet[23]) + 0x800; /* the type has become 8 << 8 less */
    sum = (sum & 0xffff) + (sum >> 16);
    packet[22] = (uint8_t)(sum >> 8);
    packet[23] = (uint8_t)sum;
    return 2;
}

static uint64_t decimal(const char **at)
{
    uint64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        value = value * 10 + (uint64_t)(**at - '0');
    return value;
}

/* Take the address; return COUNT. */
static uint64_t listen(const char *at)
{
    while (*at == '-') {
        while (*at && *at != ' ')
            at++;
        at += *at == ' ';
    }
    for (int i = 0; i < 4; i++) {
        address[i] = (uint8_t)decimal(&at);
        at += *at != 0;
    }
    return decimal(&at);
}
