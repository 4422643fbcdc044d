/*
 * Two processes keep different values in all vector registers and check them after each change
 * from the one to the other. Exits with 1 and names the register if a value is not the process's
 * own. Uses AVX registers, or SSE registers on a processor without AVX.
 *
 * The values are loaded and stored by assembly with no function call between, or the compiler
 * might use the registers itself. Meanwhile the process is preempted by the timer while it spins,
 * touches a page that it does not have yet, and makes a system call.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { registers = 16, width = 32, rounds = 500, spins = 2000000 };

static uint8_t values[registers][width], seen[registers][width];

#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) \
	op(13) op(14) op(15)
#define LOAD_AVX(n) "vmovdqu " #n "*32(%0), %%ymm" #n "\n"
#define STORE_AVX(n) "vmovdqu %%ymm" #n ", " #n "*32(%1)\n"
#define LOAD_SSE(n) "movdqu " #n "*32(%0), %%xmm" #n "\n"
#define STORE_SSE(n) "movdqu %%xmm" #n ", " #n "*32(%1)\n"
#define SPIN "mov %2, %%ecx\n1: dec %%ecx\njnz 1b\n"
#define FAULT "movb $1, (%3)\n"
#define CALL "mov %4, %%eax\nsyscall\n"
#define USED "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
	"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static int hold(const char *name, uint8_t first, int avx)
{
	int used = avx ? width : width / 2;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED) {
		perror("mmap");
		return 1;
	}

	for (int r = 0; r < registers; r++)
		memset(values[r], first + r, used);
	for (int round = 0; round < rounds; round++) {
		if (madvise(page, 4096, MADV_DONTNEED) != 0) {
			perror("madvise");
			return 1;
		}
		if (avx)
			__asm__ volatile(EACH(LOAD_AVX) SPIN FAULT CALL EACH(STORE_AVX)
				: : "r"(values), "r"(seen), "i"(spins), "r"(page), "i"(SYS_getppid) : USED);
		else
			__asm__ volatile(EACH(LOAD_SSE) SPIN FAULT CALL EACH(STORE_SSE)
				: : "r"(values), "r"(seen), "i"(spins), "r"(page), "i"(SYS_getppid) : USED);
		for (int r = 0; r < registers; r++) {
			if (memcmp(values[r], seen[r], used) == 0)
				continue;
			fprintf(stderr, "%s: register %d has lost its value\n", name, r);
			return 1;
		}
	}
	return 0;
}

int main(void)
{
	int avx = __builtin_cpu_supports("avx");
	int status = 0;
	pid_t child = fork();

	if (child < 0) {
		perror("fork");
		return 1;
	}
	if (child == 0)
		return hold("child", 0x40, avx);
	if (hold("parent", 0x80, avx) != 0)
		return 1;
	if (waitpid(child, &status, 0) != child || status != 0)
		return 1;
	printf("%s registers kept their values\n", avx ? "AVX" : "SSE");
	return 0;
}
