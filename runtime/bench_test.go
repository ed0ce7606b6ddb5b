package runtime

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// BenchmarkStart starts Docker's default container and waits for the end of `true`.
// to-exec is what Start takes: from the spec to the program's first instruction.
func BenchmarkStart(b *testing.B) {
	l := newLab(b)
	spec := l.spec("true")
	var toExec, toExit, mount, remove time.Duration
	b.ResetTimer()
	for range b.N {
		t0 := time.Now()
		root := l.rootfs()
		t1 := time.Now()
		p, err := Start(b.Context(), spec, Options{Rootfs: root})
		t2 := time.Now()
		if err != nil {
			b.Fatal(err)
		}
		root.Close()
		if _, err := proc.Wait(b.Context(), p.Pidfd); err != nil {
			b.Fatal(err)
		}
		t3 := time.Now()
		p.Pidfd.Close()
		if err := p.Cgroup.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
		mount, toExec, toExit, remove = mount+t1.Sub(t0), toExec+t2.Sub(t1), toExit+t3.Sub(t2), remove+time.Since(t3)
	}
	n := float64(b.N) * 1000
	b.ReportMetric(float64(mount.Nanoseconds())/n, "µs-overlay")
	b.ReportMetric(float64(toExec.Nanoseconds())/n, "µs-to-exec")
	b.ReportMetric(float64(toExit.Nanoseconds())/n, "µs-to-exit")
	b.ReportMetric(float64(remove.Nanoseconds())/n, "µs-cgroup-rm")
}

// BenchmarkExec runs `true` in a container that is there.
func BenchmarkExec(b *testing.B) {
	l := newLab(b)
	spec := l.spec()
	spec.Process.Args = []string{"sleep", "1000"}
	root := l.rootfs()
	p, err := Start(b.Context(), spec, Options{Rootfs: root})
	root.Close()
	if err != nil {
		b.Fatal(err)
	}
	process := *spec.Process
	process.Args = []string{"true"}
	target := Target{Pid: p.Pid, Pidfd: p.Pidfd, Cgroup: spec.Linux.CgroupsPath, Seccomp: spec.Linux.Seccomp}
	b.ResetTimer()
	for range b.N {
		e, err := Exec(b.Context(), target, &process, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := proc.Wait(b.Context(), e.Pidfd); err != nil {
			b.Fatal(err)
		}
		e.Pidfd.Close()
	}
	b.StopTimer()
	proc.Kill(p.Pidfd, syscall.SIGKILL)
	proc.Wait(b.Context(), p.Pidfd)
	p.Cgroup.Remove(b.Context())
}

// BenchmarkLimit is about what any runtime must pay: the namespaces, an overlay, proc,
// pivot_root, exec, exit, as one plan without cgroups, /dev, masks, filter.
func BenchmarkLimit(b *testing.B) {
	l := newLab(b)
	for range b.N {
		root := l.rootfs()
		p := proc.NewPlan()
		p.Add("private", proc.Propagate("/", fs.Private, true))
		p.Add("root", proc.MoveMountTo(proc.File(root), "/"))
		p.Add("cd", proc.Fchdir(proc.File(root)))
		p.Add("proc", proc.Mount("proc", "proc", "proc", 0, ""))
		p.Add("pivot", proc.PivotRoot())
		p.Add("detach", proc.Detach())
		p.Add("cd", proc.Chdir("/"))
		p.CloseOthers()
		p.Exec([]string{"/bin/true"}, []string{"true"}, nil)
		c, err := p.Start(proc.Options{New: proc.NewMount | proc.NewPid | proc.NewIpc | proc.NewUts})
		if err != nil {
			b.Fatal(err)
		}
		root.Close()
		if _, err := proc.Wait(b.Context(), c.Pidfd); err != nil {
			b.Fatal(err)
		}
		c.Pidfd.Close()
	}
}

// BenchmarkProgram is the program alone, as os/exec starts it.
func BenchmarkProgram(b *testing.B) {
	l := newLab(b)
	for range b.N {
		if err := exec.Command(filepath.Join(l.lower, "bin/true")).Run(); err != nil {
			b.Fatal(err)
		}
	}
}
