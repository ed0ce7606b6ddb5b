package stories

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	crashRounds = flag.Int("crash.rounds", 8, "how many times TestCrashes kills something")
	crashSeed   = flag.Uint64("crash.seed", 0, "what TestCrashes draws its verbs and deaths from; 0: a new one, which is printed")
)

// victims are who dies in a round.
var victims = []string{"engine", "keeper", "both", "client"}

// TestCrashes lets workers do random things while the engine, the keeper, both or a client
// are killed at random moments. After each death the engine is started anew and what was
// promised is compared with what is. `make crash` does it 500 times.
func TestCrashes(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts containers: as root, without -short")
	}
	t.Parallel()
	if *crashSeed == 0 {
		*crashSeed = uint64(time.Now().UnixNano())
	}
	t.Logf("-crash.seed=%d -crash.rounds=%d", *crashSeed, *crashRounds)
	e, err := newEngine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &campaign{t: t, e: e, rnd: rand.New(rand.NewPCG(*crashSeed, 0))}
	defer func() {
		if err := errors.Join(e.end(), e.drop()); err != nil {
			t.Error(err)
		}
	}()
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	if out, err := c.cli("import", busyboxTar, "busybox"); err != nil {
		t.Fatal(err, out)
	}
	for i := range 3 {
		c.workers = append(c.workers, &worker{c: c, id: i, rnd: rand.New(rand.NewPCG(*crashSeed, uint64(i+1))), things: map[string]*thing{}})
	}
	for round := range *crashRounds {
		victim := victims[c.rnd.IntN(len(victims))]
		c.round(victim)
		if t.Failed() {
			log, _ := os.ReadFile(e.log)
			t.Fatalf("in round %d, of -crash.seed=%d, which killed the %s\n%s", round, *crashSeed, victim, log[max(0, len(log)-4000):])
		}
	}
	c.clear()
}

// campaign is an engine, who works it, and who kills it.
type campaign struct {
	t       *testing.T
	e       *engine
	rnd     *rand.Rand
	workers []*worker
	over    atomic.Bool // somebody was, or is being, killed
}

// cli runs a command of lighter.
func (c *campaign) cli(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(bin, "lighter"), args...)
	cmd.Env = append(os.Environ(), "LIGHTER_HOST="+c.e.host)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), err
}

// round has the workers work until the victim dies, and looks what is left.
func (c *campaign) round(victim string) {
	c.over.Store(false)
	var work sync.WaitGroup
	for _, w := range c.workers {
		work.Go(func() {
			for !c.over.Load() && !c.t.Failed() {
				w.verb()
			}
		})
	}
	time.Sleep(time.Duration(c.rnd.IntN(200)) * time.Millisecond) // the moment is what is drawn
	c.over.Store(true)
	who := c.workers[c.rnd.IntN(len(c.workers))]
	if victim == "client" {
		who.kill()
	}
	if victim == "keeper" || victim == "both" {
		for _, pid := range c.e.processes(true) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
	}
	if victim == "engine" || victim == "both" {
		if err := c.e.signal(os.Kill); err != nil {
			c.t.Error(err)
		}
	}
	work.Wait()
	if c.e.cmd == nil {
		if err := c.e.start(); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, w := range c.workers {
		w.audit(victim == "both")
	}
	c.leftovers()
}

// leftovers sees that nothing is there that no container, volume or network has.
func (c *campaign) leftovers() {
	ids, err := c.cli("ps", "-aq", "--no-trunc")
	if err != nil {
		c.t.Error(err)
	}
	known := map[string]bool{}
	for id := range strings.FieldsSeq(ids) {
		known[id] = true
	}
	for _, look := range []struct {
		what string
		find func() []string
	}{
		{"folder of no container", func() []string { return names(c.e.root, "containers/*") }},
		{"file of no container", func() []string { return names(c.e.run, "live/*") }},
		{"control group of no container", func() []string { return c.groups() }},
		{"half-made thing", func() []string { return names(c.e.root, "tmp/*") }},
	} {
		var left []string
		err := await(func() bool {
			left = nil
			for _, name := range look.find() {
				if !known[name] {
					left = append(left, name)
				}
			}
			return len(left) == 0
		}, "the "+look.what+" to go")
		if err != nil {
			c.t.Errorf("%v: %q", err, left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), filepath.Dir(c.e.root)) {
		c.t.Errorf("mounts are left in the host's namespace (%v)", err)
	}
}

func names(root, pattern string) (list []string) {
	found, _ := filepath.Glob(filepath.Join(root, pattern))
	for _, path := range found {
		list = append(list, filepath.Base(path))
	}
	return list
}

// groups are the control groups of containers that this engine has made.
func (c *campaign) groups() (list []string) {
	for _, w := range c.workers {
		for id := range w.ids {
			for _, pattern := range []string{"/sys/fs/cgroup/lighter/", "/sys/fs/cgroup/*/lighter/"} {
				if found, _ := filepath.Glob(pattern + id); len(found) > 0 {
					list = append(list, id)
				}
			}
		}
	}
	return list
}

// clear removes all that the workers made, and sees that nothing of it is left.
func (c *campaign) clear() {
	for _, args := range [][]string{{"container", "prune", "-f"}, {"volume", "prune", "-a", "-f"}, {"network", "prune", "-f"}} {
		ids, _ := c.cli("ps", "-aq")
		if list := strings.Fields(ids); len(list) > 0 {
			if out, err := c.cli(append([]string{"rm", "-f"}, list...)...); err != nil {
				c.t.Error(err, out)
			}
		}
		if out, err := c.cli(args...); err != nil {
			c.t.Error(err, out)
		}
	}
	c.leftovers()
	for _, pattern := range []string{"containers/*", "volumes/*", "tmp/*"} {
		if left := names(c.e.root, pattern); len(left) > 0 {
			c.t.Errorf("%s holds %q", pattern, left)
		}
	}
	if left := names(c.e.run, "exits/*"); len(left) > 0 {
		c.t.Errorf("exits that nobody noted: %q", left)
	}
}
