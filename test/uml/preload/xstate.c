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
 * programs lose nothing. On a processor with a small area both sizes are equal and this ptrace
 * changes nothing.
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

static long transfer_xstate(enum __ptrace_request request, pid_t pid, void *addr, struct iovec *guest)
{
	static char area[64 << 10] __attribute__((aligned(64)));
	static size_t area_size; /* the host's, once it is known */
	struct iovec whole = { .iov_base = area, .iov_len = sizeof area };
	long result;

	if (request == PTRACE_GETREGSET || area_size == 0) {
		result = library_ptrace(PTRACE_GETREGSET, pid, addr, &whole);
		if (result < 0)
			return result;
		area_size = whole.iov_len;
	}
	if (guest->iov_len > area_size)
		guest->iov_len = area_size;
	if (request == PTRACE_GETREGSET) {
		memcpy(guest->iov_base, area, guest->iov_len);
		return 0;
	}
	memcpy(area, guest->iov_base, guest->iov_len);
	memset(area + guest->iov_len, 0, area_size - guest->iov_len);
	whole.iov_len = area_size;
	return library_ptrace(PTRACE_SETREGSET, pid, addr, &whole);
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
	if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && (long)addr == NT_X86_XSTATE)
		return transfer_xstate(request, pid, addr, data);
	return library_ptrace(request, pid, addr, data);
}
