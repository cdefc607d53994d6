/* A Modbus server on libmodbus: an independent peer for the tests of mappers/modbus. Debian: gcc libmodbus-dev.
 *
 *   gcc -O2 -Wall -Wextra -Werror -I/usr/include/modbus -o modbus_server modbus_server.c -lmodbus
 *
 *   modbus_server --tcp PORT | --rtu /dev/pts/N     one of the two; TCP on loopback, PORT 0 for a free one
 *     --unit U       unit id on a serial line (1)
 *     --units A B    answer as each of these units; on TCP instead of as whatever is asked
 *     --dead U       answer nothing as this unit; up to 16 of them
 *     --unknown F    refuse function F with ILLEGAL FUNCTION; up to 16 of them
 *     --deaf N       leave reads of more than N registers without an answer
 *     --slow MS      think so long before each answer
 *     --mixed        fill the registers with the mix of mixed_byte()
 *     --counting     all holding registers change at every read of the first of them
 *     --hole A B     holding and input addresses A to B are illegal; up to 16 of them
 *     --most N       refuse reads of more than N registers with ILLEGAL DATA VALUE
 *     --times        with --log: each line ends with the nanoseconds of the monotonic clock
 *     --log          print "read FUNCTION ADDRESS COUNT" for each read, "write FUNCTION ADDRESS" for each other request
 *     --size N       addresses of each table (1000)
 *
 * Four tables. Holding registers start as in input registers; coil n and discrete input n are on when n is a multiple
 * of 3. Prints READY, on TCP with its port.
 */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { HOLES = 16 };

struct options {
    int port, unit, size, holes, most, first, last, deads, dead[HOLES], unknowns, unknown[HOLES], deaf, slow;
    const char *tty;
    bool mixed, counting, log, times;
    int hole[HOLES][2];
};

/* Byte i of the mix: bytes sent most significant first, two a register. */
static uint8_t mixed_byte(unsigned i)
{
    uint32_t x = i * 2654435761u + 12345u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return (uint8_t)x;
}

static void fill(modbus_mapping_t *map, const struct options *o)
{
    for (unsigned i = 0; i < (unsigned)o->size; i++) {
        uint16_t word = o->mixed ? (uint16_t)(mixed_byte(2 * i) << 8 | mixed_byte(2 * i + 1)) : (uint16_t)i;
        map->tab_registers[i] = map->tab_input_registers[i] = word;
        map->tab_bits[i] = map->tab_input_bits[i] = i % 3 == 0;
    }
}

static bool in_hole(const struct options *o, int address, int count)
{
    for (int h = 0; h < o->holes; h++)
        if (address <= o->hole[h][1] && address + count > o->hole[h][0])
            return true;
    return false;
}

static bool is_one_of(int number, const int *numbers, int count)
{
    for (int i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static int answer(modbus_t *ctx, const uint8_t *query, int length, modbus_mapping_t *map, const struct options *o)
{
    int at = modbus_get_header_length(ctx);
    int function = query[at];
    int address = query[at + 1] << 8 | query[at + 2];
    int count = query[at + 3] << 8 | query[at + 4];
    bool reads = function >= 1 && function <= 4;
    bool one = function == 6 || function == 22;
    bool registers = one || function == 3 || function == 4 || function == 16 || function == 23;
    int unit = query[at - 1];
    if ((o->last && (unit < o->first || unit > o->last)) || is_one_of(unit, o->dead, o->deads))
        return 0;
    if (o->log) {
        printf(reads ? "read %d %d %d" : "write %d %d", function, address, count);
        if (o->times) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            printf(" %lld", now.tv_sec * 1000000000LL + now.tv_nsec);
        }
        putchar('\n');
        fflush(stdout);
    }
    if (o->slow)
        usleep(1000 * o->slow);
    if (function == 43) { /* libmodbus reads no more of it than the function, and thinks for half a second */
        modbus_flush(ctx);
        return modbus_reply_exception(ctx, query, MODBUS_EXCEPTION_ILLEGAL_FUNCTION);
    }
    if (is_one_of(function, o->unknown, o->unknowns))
        return modbus_reply_exception(ctx, query, MODBUS_EXCEPTION_ILLEGAL_FUNCTION);
    if (reads && registers && o->deaf && count > o->deaf)
        return 0;
    if (registers && in_hole(o, address, one ? 1 : count))
        return modbus_reply_exception(ctx, query, MODBUS_EXCEPTION_ILLEGAL_DATA_ADDRESS);
    if (reads && registers && o->most && count > o->most)
        return modbus_reply_exception(ctx, query, MODBUS_EXCEPTION_ILLEGAL_DATA_VALUE);
    if (o->counting && function == 3 && address == 0)
        for (int i = 0; i < o->size; i++)
            map->tab_registers[i]++;
    return modbus_reply(ctx, query, length, map);
}

/* Serve any number of TCP clients from one loop. */
static void serve_tcp(modbus_t *ctx, modbus_mapping_t *map, const struct options *o)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int listener = modbus_tcp_listen(ctx, 8);
    if (listener < 0) {
        fprintf(stderr, "listen: %s\n", modbus_strerror(errno));
        exit(1);
    }
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    if (getsockname(listener, (struct sockaddr *)&bound, &size) < 0)
        exit(1);
    printf("READY %d\n", ntohs(bound.sin_port));
    fflush(stdout);
    fd_set all;
    FD_ZERO(&all);
    FD_SET(listener, &all);
    int highest = listener;
    for (;;) {
        fd_set ready = all;
        if (select(highest + 1, &ready, NULL, NULL, NULL) < 0)
            exit(1);
        for (int fd = 0; fd <= highest; fd++) {
            if (!FD_ISSET(fd, &ready))
                continue;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client >= 0 && client < FD_SETSIZE) {
                    FD_SET(client, &all);
                    highest = client > highest ? client : highest;
                }
                continue;
            }
            modbus_set_socket(ctx, fd);
            int length = modbus_receive(ctx, query);
            if (length < 0 || (length > 0 && answer(ctx, query, length, map, o) < 0)) {
                close(fd);
                FD_CLR(fd, &all);
            }
        }
    }
}

/* Length of a request without its checksum, 0 for a function that is not known here. */
static int request_length(const uint8_t *query)
{
    switch (query[1]) {
    case 1: case 2: case 3: case 4: case 5: case 6:
        return 6;
    case 17:
        return 2;
    case 15: case 16:
        return 7 + query[6];
    case 22:
        return 8;
    case 23:
        return 11 + query[10];
    }
    return 0;
}

static bool checks(const uint8_t *frame, int length)
{
    uint16_t crc = 0xFFFF;
    for (int i = 0; i < length; i++) {
        crc ^= frame[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xA001 : crc >> 1;
    }
    return frame[length] == (crc & 0xFF) && frame[length + 1] == crc >> 8;
}

/* libmodbus receives as one unit only; as several we take the frame from the line ourselves, and it answers. */
static int receive_any(modbus_t *ctx, uint8_t *query)
{
    int length = 0, body = 0;
    while (length < 2 || (body = request_length(query)) == 0 || length < body + 2) {
        int wanted = length < 2 ? 2 : body ? body + 2 : 0;
        if (length >= 2 && (query[1] == 15 || query[1] == 16 || query[1] == 23))
            wanted = length < 11 && query[1] == 23 ? 11 : length < 7 ? 7 : wanted;
        if (wanted <= length || wanted > MODBUS_RTU_MAX_ADU_LENGTH) {
            tcflush(modbus_get_socket(ctx), TCIFLUSH);
            return 0;
        }
        int count = read(modbus_get_socket(ctx), query + length, wanted - length);
        if (count < 0 && errno != EAGAIN)
            return -1;
        if (count <= 0) {
            fd_set one;
            FD_ZERO(&one);
            FD_SET(modbus_get_socket(ctx), &one);
            if (select(modbus_get_socket(ctx) + 1, &one, NULL, NULL, NULL) < 0)
                return -1;
            continue;
        }
        length += count;
    }
    if (!checks(query, body))
        return 0;
    modbus_set_slave(ctx, query[0]);
    return body + 2;
}

static void serve_rtu(modbus_t *ctx, modbus_mapping_t *map, const struct options *o)
{
    uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
    modbus_set_slave(ctx, o->unit);
    if (modbus_connect(ctx) < 0) {
        fprintf(stderr, "%s: %s\n", o->tty, modbus_strerror(errno));
        exit(1);
    }
    puts("READY");
    fflush(stdout);
    for (;;) {
        int length = o->last ? receive_any(ctx, query) : modbus_receive(ctx, query);
        if (length > 0)
            answer(ctx, query, length, map, o);
        else if (length < 0 && errno != EMBBADCRC && errno != ETIMEDOUT)
            exit(1);
    }
}

static int number(int argc, char **argv, int at)
{
    if (at >= argc) {
        fprintf(stderr, "%s needs a number\n", argv[argc - 1]);
        exit(2);
    }
    return atoi(argv[at]);
}

int main(int argc, char **argv)
{
    struct options o = {.port = -1, .unit = 1, .size = 1000};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tcp"))
            o.port = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--rtu") && i + 1 < argc)
            o.tty = argv[++i];
        else if (!strcmp(argv[i], "--unit"))
            o.unit = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--size"))
            o.size = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--most"))
            o.most = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--units")) {
            o.first = number(argc, argv, ++i);
            o.last = number(argc, argv, ++i);
        } else if (!strcmp(argv[i], "--dead") && o.deads < HOLES)
            o.dead[o.deads++] = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--unknown") && o.unknowns < HOLES)
            o.unknown[o.unknowns++] = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--deaf"))
            o.deaf = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--slow"))
            o.slow = number(argc, argv, ++i);
        else if (!strcmp(argv[i], "--mixed"))
            o.mixed = true;
        else if (!strcmp(argv[i], "--counting"))
            o.counting = true;
        else if (!strcmp(argv[i], "--times"))
            o.times = true;
        else if (!strcmp(argv[i], "--log"))
            o.log = true;
        else if (!strcmp(argv[i], "--hole") && o.holes < HOLES) {
            o.hole[o.holes][0] = number(argc, argv, ++i);
            o.hole[o.holes++][1] = number(argc, argv, ++i);
        } else {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    if ((o.port < 0) == (o.tty == NULL)) {
        fprintf(stderr, "give --tcp PORT or --rtu TTY\n");
        return 2;
    }
    modbus_mapping_t *map = modbus_mapping_new(o.size, o.size, o.size, o.size);
    modbus_t *ctx = o.tty ? modbus_new_rtu(o.tty, 9600, 'N', 8, 1) : modbus_new_tcp("127.0.0.1", o.port);
    if (map == NULL || ctx == NULL) {
        fprintf(stderr, "libmodbus: %s\n", modbus_strerror(errno));
        return 1;
    }
    fill(map, &o);
    if (o.tty)
        serve_rtu(ctx, map, &o);
    else
        serve_tcp(ctx, map, &o);
}
