package stories

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	faultRounds = flag.Int("fault.rounds", 0, "how many times TestFaults has its disk fail in each way")
	faultKinds  = flag.String("fault.kinds", "power eio full", "in which ways")
)

// TestFaults is TestCrashes on a disk that fails: its power is cut at any write, it gives
// errors, or it is full. `make crash FAULT=power` (eio, full) does it often.
func TestFaults(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts containers: as root, without -short")
	}
	if *faultRounds == 0 {
		t.Skip("it is asked for by make crash FAULT=power (eio, full)")
	}
	t.Parallel()
	if *crashSeed == 0 {
		*crashSeed = uint64(time.Now().UnixNano())
	}
	for kind := range strings.FieldsSeq(*faultKinds) {
		fault := map[string]func(*campaign){"power": (*campaign).power, "eio": (*campaign).eio, "full": (*campaign).full}[kind]
		t.Run(kind, func(t *testing.T) {
			t.Logf("-crash.seed=%d -fault.rounds=%d -fault.kinds=%s", *crashSeed, *faultRounds, kind)
			c := newCampaign(t, *crashSeed, newDisk(t, 256))
			for round := range *faultRounds {
				fault(c)
				if t.Failed() {
					log, _ := os.ReadFile(c.e.log)
					t.Fatalf("in round %d of -crash.seed=%d\n%s", round, *crashSeed, log[max(0, len(log)-4000):])
				}
			}
			c.clear()
		})
	}
}

// durable is how long after the answer a container survives a loss of power for sure: a second, and
// what a disk takes that all use at once. What else is promised (images, networks, volumes and
// their owners' synced writes) is so with the answer.
const durable = 4 * time.Second

// work has the workers work until f returns.
func (c *campaign) work(f func()) {
	c.over.Store(false)
	var work sync.WaitGroup
	for _, w := range c.workers {
		work.Go(func() {
			for !c.over.Load() && !c.t.Failed() {
				w.verb()
			}
		})
	}
	f()
	c.over.Store(true)
	work.Wait()
}

// power cuts the power after some writes, or after some time, whichever comes first.
func (c *campaign) power() {
	c.faulty.Store(true)
	c.disk.say(fmt.Sprintf("cut %d %d", 1+c.rnd.IntN(2000), c.rnd.Uint64()>>1))
	c.work(func() { time.Sleep(time.Duration(c.rnd.IntN(5000)) * time.Millisecond) }) // the moment is what is drawn
	c.reboot(c.disk.say("now"))
}

// eio has every write fail from some moment on, or reads as well. The engine answers all the same.
func (c *campaign) eio() {
	var since time.Time
	c.work(func() {
		time.Sleep(time.Duration(c.rnd.IntN(2000)) * time.Millisecond) // the moment is what is drawn
		c.faulty.Store(true)
		since = c.disk.say([]string{"writes", "now"}[c.rnd.IntN(2)])
		begin := time.Now()
		for _, args := range [][]string{{"version"}, {"ps", "-a"}, {"images"}, {"volume", "ls"}, {"network", "ls"}} {
			if out, err := c.cli(args...); err != nil {
				c.t.Errorf("the disk fails, and lighter %s: %v %s", strings.Join(args, " "), err, out)
			}
		}
		if took := time.Since(begin); took > patience {
			c.t.Errorf("the disk fails, and five lists take %v", took)
		}
	})
	c.reboot(since)
}

// full fills the disk but for some kilobytes, and kills the engine or not, which comes up
// on a full disk, too.
func (c *campaign) full() {
	filler := filepath.Join(c.disk.mnt(), "filler")
	for _, w := range c.workers {
		for _, th := range w.things {
			th.blind = th.blind || th.kind == "prints" // its log may have had no room
		}
	}
	c.work(func() {
		c.faulty.Store(true)
		c.fill(filler, int64(c.rnd.IntN(2<<20)))
		time.Sleep(time.Duration(c.rnd.IntN(500)) * time.Millisecond) // the moment is what is drawn
		if c.rnd.IntN(2) == 0 {
			c.over.Store(true)
			if err := c.e.signal(os.Kill); err != nil {
				c.t.Error(err)
			}
		}
	})
	if c.e.cmd == nil {
		if err := c.e.start(); err != nil {
			c.t.Fatalf("on a full disk: %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		c.t.Error(err)
	}
	c.faulty.Store(false)
	for _, w := range c.workers {
		for _, th := range w.things {
			th.blind = th.blind || th.kind == "prints"
		}
		w.audit(false)
	}
	c.leftovers()
}

// fill leaves so many bytes of the disk.
func (c *campaign) fill(path string, leave int64) {
	var st syscall.Statfs_t
	f, err := os.Create(path)
	if err == nil {
		err = syscall.Statfs(path, &st)
	}
	for size := int64(st.Bfree)*st.Bsize - leave; err == nil && size > 0; size -= 1 << 20 {
		if _, e := f.Write(make([]byte, min(size, 1<<20))); e != nil {
			break // workers have had the rest
		}
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		c.t.Error(err)
	}
}

// reboot ends all that runs, as a loss of power does, has the disk come up again with what it has,
// and compares it with what was promised before it failed.
func (c *campaign) reboot(failed time.Time) {
	if c.e.cmd != nil {
		if err := c.e.signal(os.Kill); err != nil {
			c.t.Error(err)
		}
	}
	c.off()
	c.disk.unmount()
	c.disk.say("on")
	c.disk.mount()
	c.faulty.Store(false)
	mark, _ := os.ReadFile(c.e.log)
	if err := c.e.start(); err != nil {
		c.t.Fatalf("after a reboot: %v", err)
	}
	log, _ := os.ReadFile(c.e.log)
	for line := range strings.Lines(string(log[len(mark):])) {
		if complaint.MatchString(line) {
			c.t.Errorf("after a reboot: %s", line)
		}
	}
	for _, w := range c.workers {
		w.auditDurable(failed)
	}
	c.leftovers()
}

var complaint = regexp.MustCompile(`level=ERROR|corrupt|cannot be read|left alone`)

// off kills keepers and containers, and takes away what lives in the machine's memory alone.
func (c *campaign) off() {
	err := await(func() bool {
		pids := c.e.processes(false)
		procs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
		for _, path := range procs {
			if text, _ := os.ReadFile(path); strings.Contains(string(text), c.parent+"/") {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				pids = append(pids, pid)
			}
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		frozen, _ := filepath.Glob("/sys/fs/cgroup/freezer" + c.parent + "/*/freezer.state")
		for _, path := range frozen {
			os.WriteFile(path, []byte("THAWED"), 0)
		}
		return len(pids) == 0
	}, "all to have been killed")
	if err != nil {
		c.t.Error(err)
	}
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		var dirs []string
		for _, deep := range []string{"/*", "/*/*"} {
			found, _ := filepath.Glob(top + c.parent + deep)
			dirs = append(found, dirs...)
		}
		for _, dir := range dirs {
			if st, err := os.Stat(dir); err == nil && st.IsDir() {
				if err := os.Remove(dir); err != nil {
					c.t.Error(err)
				}
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, c.e.run+"/") {
			if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
				c.t.Error(at, err)
			}
		}
	}
	c.unhub()
	if err := c.e.drop(); err != nil {
		c.t.Error(err)
	}
	if err := os.RemoveAll(c.e.run); err != nil {
		c.t.Error(err)
	}
	if c.e.space, err = newSpace(); err != nil {
		c.t.Fatal(err)
	}
	c.hub()
}

// auditDurable compares what is after a reboot with what was promised before the disk failed, and
// starts what was there to be started.
func (w *worker) auditDurable(failed time.Time) {
	t, rnd := w.c.t, rand.New(rand.NewPCG(uint64(failed.UnixNano()), 0))
	for _, to := range w.moved {
		delete(w.things, to) // it has either name
	}
	clear(w.moved)
	for name, th := range w.things {
		_, err := w.c.cli(inspects[th.kind], "inspect", name)
		is := err == nil
		container := inspects[th.kind] == "container"
		promised := th.sure && th.there && (!container || th.at.Add(durable).Before(failed))
		if promised && !is {
			t.Errorf("%s: answered %v before the disk failed, and is not there: %v", name, failed.Sub(th.at), err)
		}
		switch {
		case is && th.kind == "volume":
			w.auditVolume(name, th, !th.sure)
		case is && th.kind == "image" && promised && th.word != "":
			if tar, err := w.c.cli("cp", name+":/word", "-"); err != nil || !strings.Contains(tar, th.word+"\n") {
				t.Errorf("image %s: %q is in it, and %q is read: %v", name, th.word, tar, err)
			}
		case is && th.kind == "prints":
			w.auditEnded(name, th)
		case is && container && rnd.IntN(2) == 0:
			if err := await(func() bool { // that it ended may take two seconds to be known
				state := w.c.need("inspect", "-f", "{{.State.Status}}", name)
				return !strings.HasPrefix(state, "running") && !strings.HasPrefix(state, "paused")
			}, name+" to be known to have ended"); err != nil {
				t.Error(err)
			}
			w.c.need("start", name)
		}
		if th.there, th.sure = is, is; !is || container {
			delete(w.things, name)
		}
	}
}

// auditEnded sees that a container that printed and ended tells no lie: its code, or that
// nobody knows it; lines that it printed, in order, the last of which may be missing.
func (w *worker) auditEnded(name string, th *thing) {
	var state string
	if err := await(func() bool { // it may take two seconds until the engine knows that nobody will tell
		state = strings.TrimSpace(w.c.need("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name))
		return !strings.HasPrefix(state, "running")
	}, name+" to be known to have ended"); err != nil {
		w.c.t.Error(err)
	}
	if state != fmt.Sprintf("exited %d", th.code) && state != "exited 255" && state != "exited 137" && !strings.HasPrefix(state, "created") {
		w.c.t.Errorf("%s is %q, and exited with %d", name, state, th.code)
	}
	out, err := w.c.cli("logs", name)
	if err != nil {
		w.c.t.Errorf("the log of %s: %v", name, err)
	}
	n := 0
	for line := range strings.Lines(out) {
		if n++; line != fmt.Sprintln(n) {
			w.c.t.Errorf("%s printed 1, 2, 3…, and line %d of its log is %q", name, n, line)
			break
		}
	}
}
