// probe FILTER FLAGS: loads a filter program and prints what calls come to under it.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long native(long nr, long a, long b, long c) {
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

static long compat(long nr, long a, long b, long c) {
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

static void show(const char *what, long r) { printf("%s %ld\n", what, r < 0 ? r : 0); }

int main(int argc, char **argv) {
	static struct sock_filter code[4096];
	int fd = open(argv[1], O_RDONLY);
	long n = read(fd, code, sizeof code);
	close(fd);
	struct sock_fprog prog = {n / sizeof code[0], code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, atoi(argv[2]), &prog)) {
		perror("load");
		return 1;
	}
	show("getpid", native(39, 0, 0, 0));
	show("socket_inet", native(41, 2, 1, 0));
	show("socket_alg", native(41, 38, 5, 0));
	show("socket_alg_stray", native(41, 38 | 1L << 32, 5, 0));
	show("socket_vsock", native(41, 40, 1, 0));
	show("personality_linux32", native(135, 8, 0, 0));
	show("personality_odd", native(135, 0x40000, 0, 0));
	show("mount", native(165, 0, 0, 0));
	show("clone_newuser", native(56, 0x10000000, 0, 0));
	show("clone3", native(435, 0, 0, 0));
	show("keyctl", native(250, 0, 0, 0));
	show("future", native(600, 0, 0, 0));
	show("x32_getpid", native(39 | 0x40000000, 0, 0, 0));
	show("x32_mount", native(165 | 0x40000000, 0, 0, 0));
	show("i386_getpid", compat(20, 0, 0, 0));
	show("i386_mount", compat(21, 0, 0, 0));
	show("i386_socket_alg", compat(359, 38, 5, 0));
	show("i386_future", compat(600, 0, 0, 0));
	show("minus_one", native(-1, 0, 0, 0));
	return 0;
}
