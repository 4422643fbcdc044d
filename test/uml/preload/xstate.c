/*
 * Preloaded into user-mode Linux, so that a guest starts on processors with a large XSAVE area.
 *
 * User-mode Linux up to 6.12 keeps 2,696 bytes of a process's extended registers, the XSAVE area of
 * x86 processors without AMX. With AMX (Intel Sapphire Rapids and later) the area has 11,008 bytes,
 * and the host's ptrace transfers the whole area or nothing: PTRACE_SETREGSET with a shorter buffer
 * fails with EFAULT, and the guest panics when it starts its first process ("ptrace set fp regs
 * failed, errno = 14").
 *
 * This ptrace gives user-mode Linux the first bytes of the area when it reads, and writes a whole
 * area whose rest is zero. The area's header names the components in use. Behind the first 2,696
 * bytes lie those of AMX, which a program must request from the kernel first, so the guest's
 * programs lose nothing.
 *
 * It also leaves out transfers that change nothing. User-mode Linux reads and writes the area each
 * time that a process stops and goes on, twice at a page fault, and the host maps and unmaps memory
 * of its own for each write, which is dear on a virtual machine. A stopped process keeps its
 * registers, so what was transferred last is remembered until the process runs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long ptrace_function(enum __ptrace_request, pid_t, void *, void *);

static ptrace_function *library_ptrace;

/* Runs before the program does, so that no process of the guest ever waits for the dynamic linker. */
__attribute__((constructor)) static void find_library_ptrace(void)
{
	library_ptrace = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
}

/*
 * The area of each stopped process, as the last transfer left it. Each process has one place, which
 * it shares with those whose numbers differ by a multiple of 64.
 */
static struct stopped {
	pid_t pid; /* 0: empty */
	char area[64 << 10] __attribute__((aligned(64)));
} stopped[64];

static size_t area_size; /* the host's, once a transfer told it */

static struct stopped *place_of(pid_t pid)
{
	return &stopped[(size_t)pid % (sizeof stopped / sizeof *stopped)];
}

/* Makes the place hold the area of a stopped process. */
static long remember(struct stopped *place, pid_t pid)
{
	struct iovec whole = { .iov_base = place->area, .iov_len = sizeof place->area };
	long result;

	if (place->pid == pid)
		return 0;
	place->pid = 0;
	result = library_ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &whole);
	if (result < 0)
		return result;
	place->pid = pid;
	area_size = whole.iov_len;
	return 0;
}

static long read_xstate(pid_t pid, struct iovec *guest)
{
	struct stopped *place = place_of(pid);

	if (remember(place, pid) < 0)
		return -1;
	if (guest->iov_len > area_size)
		guest->iov_len = area_size;
	memcpy(guest->iov_base, place->area, guest->iov_len);
	return 0;
}

static long write_xstate(pid_t pid, struct iovec *guest)
{
	struct stopped *place = place_of(pid);
	struct iovec whole = { .iov_base = place->area };

	if (area_size == 0 && remember(place, pid) < 0)
		return -1;
	if (guest->iov_len > area_size)
		guest->iov_len = area_size;
	if (place->pid == pid && memcmp(place->area, guest->iov_base, guest->iov_len) == 0)
		return 0;
	place->pid = 0;
	memcpy(place->area, guest->iov_base, guest->iov_len);
	memset(place->area + guest->iov_len, 0, area_size - guest->iov_len);
	whole.iov_len = area_size;
	if (library_ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &whole) < 0)
		return -1;
	place->pid = pid;
	return 0;
}

/*
 * Reports whether a request leaves a process's extended registers as they are. One that continues
 * without a signal has the process run user-mode Linux's own code for a system call, which is built
 * without instructions that use these registers.
 */
static int keeps_xstate(enum __ptrace_request request, void *signal)
{
	switch (request) {
	case PTRACE_GETREGS:
	case PTRACE_SETREGS:
	case PTRACE_GETSIGINFO:
		return 1;
	case PTRACE_CONT:
		return signal == NULL;
	default:
		return 0;
	}
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	pid_t pid;
	void *addr, *data;

	va_start(arguments, request);
	pid = va_arg(arguments, pid_t);
	addr = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);
	if (request == PTRACE_GETREGSET && (long)addr == NT_X86_XSTATE)
		return read_xstate(pid, data);
	if (request == PTRACE_SETREGSET && (long)addr == NT_X86_XSTATE)
		return write_xstate(pid, data);
	if (!keeps_xstate(request, data) && place_of(pid)->pid == pid)
		place_of(pid)->pid = 0;
	return library_ptrace(request, pid, addr, data);
}
