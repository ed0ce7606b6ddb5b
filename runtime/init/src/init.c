// A tiny PID 1: starts the command it is given, hands signals on to it, reaps every
// orphan, and leaves with the command's exit code. Freestanding: no libc, nothing
// but raw system calls, one page in memory.
//
//   init [--] COMMAND [ARG...]

typedef long word;
typedef unsigned long mask; // signals 1..64, a bit each

#if defined __x86_64__
enum { READ = 0, WRITE = 1, IOCTL = 16, GETPID = 39, CLONE = 56, EXECVE = 59, KILL = 62, SETPGID = 109, PRCTL = 157,
	SIGACTION = 13, SIGPROCMASK = 14, SIGTIMEDWAIT = 128, EXIT = 231, WAIT4 = 61 };
#define RESTORER 0x04000000

static word call(word nr, word a, word b, word c, word d) {
	word r;
	register word r10 __asm__("r10") = d;
	register word r8 __asm__("r8") = 0;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return r;
}

__asm__(".globl _start\n_start: xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call start\n hlt\n");
#elif defined __aarch64__
enum { READ = 63, WRITE = 64, IOCTL = 29, GETPID = 172, CLONE = 220, EXECVE = 221, KILL = 129, SETPGID = 154, PRCTL = 167,
	SIGACTION = 134, SIGPROCMASK = 135, SIGTIMEDWAIT = 137, EXIT = 94, WAIT4 = 260 };

static word call(word nr, word a, word b, word c, word d) {
	register word x8 __asm__("x8") = nr;
	register word x0 __asm__("x0") = a;
	register word x1 __asm__("x1") = b;
	register word x2 __asm__("x2") = c;
	register word x3 __asm__("x3") = d;
	register word x4 __asm__("x4") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}

__asm__(".globl _start\n_start: mov x29,xzr\n mov x30,xzr\n mov x0,sp\n and sp,x0,#-16\n b start\n");
#endif

enum { ENOENT = 2, EINTR = 4, ENOEXEC = 8, EACCES = 13, ENODEV = 19, ENOTDIR = 20, ELOOP = 40, ENAMETOOLONG = 36, ESTALE = 116 };
enum { SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11, SIGCHLD = 17, SIGTTIN = 21, SIGTTOU = 22, SIGSYS = 31 };

#define BIT(sig) (1UL << ((sig) - 1))

static unsigned length(const char *s) {
	unsigned n = 0;
	while (s[n])
		n++;
	return n;
}

static void say(const char *s) { call(WRITE, 2, (word)s, length(s), 0); }

static void handle(int sig, word handler) {
	struct {
		word handler, flags, restorer;
		mask mask;
	} a = {handler, 0, 0, 0};
	call(SIGACTION, sig, (word)&a, 0, sizeof a.mask);
}

// search returns the value of PATH.
static const char *search(char **env) {
	for (; *env; env++) {
		const char *e = *env;
		if (e[0] == 'P' && e[1] == 'A' && e[2] == 'T' && e[3] == 'H' && e[4] == '=')
			return e + 5;
	}
	return "/usr/local/bin:/usr/bin:/bin";
}

// try executes one file; a script without a #! line goes to the shell, as with execvp.
// argv[-1] is ours to write on: it held an argument of init's own.
static word try(const char *file, char **argv, char **env) {
	word err = -call(EXECVE, (word)file, (word)argv, (word)env, 0);
	if (err == ENOEXEC) {
		char *name = argv[0], *mine = argv[-1];
		argv[0] = (char *)file;
		argv[-1] = (char *)"/bin/sh";
		call(EXECVE, (word) "/bin/sh", (word)(argv - 1), (word)env, 0);
		argv[0] = name;
		argv[-1] = mine;
	}
	return err;
}

// execute looks the command up as a shell does. It returns the error that counts.
static word execute(char **argv, char **env) {
	const char *name = argv[0], *path = search(env);
	unsigned n = length(name), slash = 0, denied = 0;
	char file[4096 + 2];
	for (unsigned i = 0; i < n; i++)
		slash |= name[i] == '/';
	if (slash)
		return try(name, argv, env);
	if (!n)
		return ENOENT;
	for (;;) {
		unsigned at = 0, fits = 1;
		for (; *path && *path != ':'; path++) {
			if (at + n + 2 > 4096)
				fits = 0;
			else
				file[at++] = *path;
		}
		if (at)
			file[at++] = '/';
		fits = fits && at + n < 4096;
		if (fits) {
			for (unsigned i = 0; i <= n; i++)
				file[at + i] = name[i];
			word err = try(file, argv, env);
			if (err == EACCES)
				denied = 1;
			else if (err != ENOENT && err != ENOTDIR && err != ESTALE && err != ENODEV && err != ELOOP && err != ENAMETOOLONG)
				return err;
		}
		if (!*path++)
			return denied ? EACCES : ENOENT;
	}
}

static void child(char **argv, char **env, mask *before) {
	// A process group of its own, in the foreground where there is a terminal: ^C must
	// reach the command and not come a second time through us.
	int group = call(SETPGID, 0, 0, 0, 0) ? 0 : call(GETPID, 0, 0, 0, 0);
	if (group)
		call(IOCTL, 0, 0x5410 /* TIOCSPGRP */, (word)&group, 0);
	handle(SIGTTIN, 0);
	handle(SIGTTOU, 0);
	call(SIGPROCMASK, 2 /* SIG_SETMASK */, (word)before, 0, sizeof *before);
	word err = execute(argv, env);
	say("exec ");
	say(argv[0]);
	say(err == ENOENT ? ": no such file or directory\n" : err == EACCES ? ": permission denied\n" : err == ENOEXEC ? ": exec format error\n" : ": cannot be executed\n");
	call(EXIT, err == ENOENT ? 127 : 126, 0, 0, 0);
}

// reap buries all that died; the command's end is ours.
static void reap(word main) {
	for (;;) {
		int status = 0;
		word pid = call(WAIT4, -1, (word)&status, 1 /* WNOHANG */, 0);
		if (pid == -EINTR)
			continue;
		if (pid <= 0)
			return;
		if (pid == main)
			call(EXIT, status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff, 0, 0, 0);
	}
}

__attribute__((used, noreturn)) void start(word *stack) {
	char **argv = (char **)(stack + 1), **env = argv + stack[0] + 1, **command = argv + 1;
	mask all = ~(BIT(SIGILL) | BIT(SIGTRAP) | BIT(SIGABRT) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGSEGV) | BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(SIGSYS));
	mask before = 0;
	if (stack[0] > 1 && command[0][0] == '-' && command[0][1] == '-' && !command[0][2])
		command++;
	if (stack[0] < 1 || !*command) {
		say("usage: init [--] COMMAND [ARG...]\n");
		call(EXIT, 1, 0, 0, 0);
	}
	if (call(GETPID, 0, 0, 0, 0) != 1)
		call(PRCTL, 36 /* PR_SET_CHILD_SUBREAPER */, 1, 0, 0);
	call(SIGPROCMASK, 2, (word)&all, (word)&before, sizeof all);
	handle(SIGTTIN, 1 /* SIG_IGN: the terminal is given away below */);
	handle(SIGTTOU, 1);
	word main = call(CLONE, SIGCHLD, 0, 0, 0);
	if (!main)
		child(command, env, &before);
	if (main < 0) {
		say("init: cannot fork\n");
		call(EXIT, 1, 0, 0, 0);
	}
	for (;;) {
		word sig = call(SIGTIMEDWAIT, (word)&all, 0, 0, sizeof all);
		if (sig == SIGCHLD)
			reap(main);
		else if (sig > 0)
			call(KILL, main, sig, 0, 0);
	}
}
