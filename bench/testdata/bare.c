/* The least that a container can cost: clone3 with new namespaces, an overlay root with
 * /proc and /dev, pivot_root, exec of `true`, wait. One run of this process is the limit
 * that bench compares whole commands with. usage: bare TREE (lower, upper, work, merged) */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(call) do { if ((call) < 0) { perror(#call); _exit(111); } } while (0)

int main(int argc, char **argv)
{
	char options[4096];
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_VM | CLONE_VFORK,
		.exit_signal = SIGCHLD,
	};
	int status;
	long pid;

	MUST(chdir(argv[1]));
	snprintf(options, sizeof options, "lowerdir=lower,upperdir=upper,workdir=work,volatile");
	args.flags &= ~(uint64_t)(CLONE_VM | CLONE_VFORK); /* a C child must not share this stack */
	pid = syscall(SYS_clone3, &args, sizeof args);
	MUST(pid);
	if (pid == 0) {
		unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
		char *run[] = {"true", NULL}, *env[] = {"PATH=/bin", NULL};
		unlink("work/work/incompat/volatile/dirty"); rmdir("work/work/incompat/volatile"); rmdir("work/work/incompat");
		MUST(mount("", "/", "", MS_REC | MS_PRIVATE, ""));
		MUST(mount("overlay", "merged", "overlay", 0, options));
		MUST(chdir("merged"));
		mkdir("proc", 0755); mkdir("dev", 0755); mkdir("sys", 0755);
		MUST(mount("proc", "proc", "proc", quiet, ""));
		MUST(mount("sysfs", "sys", "sysfs", quiet | MS_RDONLY, ""));
		MUST(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"));
		MUST(mknod("dev/null", S_IFCHR | 0666, makedev(1, 3)));
		MUST(mknod("dev/zero", S_IFCHR | 0666, makedev(1, 5)));
		MUST(mkdir("dev/pts", 0755));
		MUST(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"));
		MUST(mkdir("dev/shm", 0755));
		MUST(mount("shm", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k"));
		MUST(mkdir("dev/mqueue", 0755));
		MUST(mount("mqueue", "dev/mqueue", "mqueue", quiet, ""));
		MUST(syscall(SYS_pivot_root, ".", "."));
		MUST(umount2(".", MNT_DETACH));
		MUST(chdir("/"));
		MUST(sethostname("bare", 4));
		execve("/bin/true", run, env);
		perror("execve"); _exit(111);
	}
	MUST(waitpid(pid, &status, 0));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 112;
}
