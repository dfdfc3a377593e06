/* A qemu plugin that counts executed instructions and writes the count whenever the program passes a mark.

   A mark is the harmless system call getpgid(MARK_BASE + number), which fails with ESRCH: a program under emulation has no
   cheaper way to speak to the emulator. Each translated block adds its length when it is entered; a block that is left early
   by an exception counts as whole. Blocks are counted without locks, so the count is exact for one thread and close for more.

   Interface of qemu 7 and 8 (plugin version 1), declared here because Debian does not ship qemu-plugin.h. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define GETPGID_AARCH64 155
#define MARK_BASE 0x0face000u
#define MARKS 4096u

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum inline_op { INLINE_ADD_U64 };

typedef void (*translated)(plugin_id, struct qemu_plugin_tb *);
typedef void (*called)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t);
typedef void (*ended)(plugin_id, void *);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum inline_op, void *, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, called);
void qemu_plugin_register_atexit_cb(plugin_id, ended, void *);

EXPORT int qemu_plugin_version = 1;

static uint64_t executed;
static FILE *out;

static void on_translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void on_call(plugin_id id, unsigned int cpu, int64_t number, uint64_t first, uint64_t a2, uint64_t a3, uint64_t a4,
                    uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    uint32_t mark = (uint32_t)first - MARK_BASE;
    if (number == GETPGID_AARCH64 && mark < MARKS)
        fprintf(out, "%" PRIu32 " %" PRIu64 "\n", mark, executed);
}

static void on_exit(plugin_id id, void *unused)
{
    (void)id, (void)unused;
    fprintf(out, "end %" PRIu64 "\n", executed);
    fclose(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int index = 0; index < argc; index++)
        if (strncmp(argv[index], "out=", 4) == 0)
            out = fopen(argv[index] + 4, "w");
    if (out == NULL) {
        fprintf(stderr, "insn_marks: give out=FILE, a place that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
