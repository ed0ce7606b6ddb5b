package stories

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lighter/linux/net"
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
	c := newCampaign(t, *crashSeed, nil)
	for round := range *crashRounds {
		victim := victims[c.rnd.IntN(len(victims))]
		c.round(victim)
		if t.Failed() {
			log, _ := os.ReadFile(c.e.log)
			t.Fatalf("in round %d, of -crash.seed=%d, which killed the %s\n%s", round, *crashSeed, victim, log[max(0, len(log)-4000):])
		}
	}
	c.clear()
}

// campaign is an engine, a registry beside it, who works it, and who kills it.
type campaign struct {
	t       *testing.T
	e       *engine
	dir     string
	parent  string // of the containers' control groups
	rnd     *rand.Rand
	workers []*worker
	over    atomic.Bool    // somebody was, or is being, killed
	disk    *disk          // that the data root lies on, if it is one of ours
	faulty  atomic.Bool    // the disk fails, or will: commands may
	web     *exec.Cmd      // the registry
	still   map[string]int // what the engine and its keeper have open at rest: how many of each kind
}

// campaignImages is where the campaign's registry has images for it, a tag a worker.
const campaignImages = "127.0.0.1:5000/ann/app"

// newCampaign starts an engine and a registry in a network namespace of their own, and
// makes what workers begin with. The data root lies on the disk, if one is given.
func newCampaign(t *testing.T, seed uint64, d *disk) *campaign {
	c := campaignOf(t)
	dir, e := c.dir, c.e
	c.disk, c.rnd = d, rand.New(rand.NewPCG(seed, 0))
	if d != nil {
		e.root = filepath.Join(d.mnt(), "data")
	}
	add := exec.Command(filepath.Join(bin, "lighterhub"), "user", "add", "ann", "--data", filepath.Join(dir, "hub"), "--password-stdin")
	add.Stdin = strings.NewReader("correct horse")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.hub()
	t.Cleanup(c.unhub)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	c.need("import", busyboxTar, "busybox")
	c.need("run", "--rm", "--network", "none", "busybox", "true") // the keeper has what every container needs from then on
	c.still = c.open()
	c.need("login", "-u", "ann", "-p", "correct horse", "127.0.0.1:5000")
	for i := range 3 {
		name := fmt.Sprintf("%s:%d", campaignImages, i)
		box := strings.TrimSpace(c.need("run", "-d", "--network", "none", "busybox", "sh", "-c", fmt.Sprintf("echo pulled%d >/word; head -c 1000000 /dev/urandom >/big", i)))
		c.need("wait", box)
		c.need("commit", box, name)
		c.need("push", "-q", name)
		c.need("rm", box)
		c.need("rmi", name)
		c.workers = append(c.workers, &worker{c: c, id: i, rnd: rand.New(rand.NewPCG(seed, uint64(i+1))), things: map[string]*thing{}, moved: map[string]string{}})
	}
	return c
}

// campaignOf has an engine that is yet to be started, with control groups of its own, and
// takes all down when the test is over.
func campaignOf(t *testing.T) *campaign {
	dir := t.TempDir()
	e, err := newEngine(dir)
	if err != nil {
		t.Fatal(err)
	}
	parent := "/lighter-" + filepath.Base(filepath.Dir(dir)) // of control groups: what is below it is ours
	e.flags = []string{"--cgroup-parent", parent}
	c := &campaign{t: t, e: e, dir: dir, parent: parent}
	t.Cleanup(func() {
		if err := errors.Join(e.end(), e.drop(), c.ungroup()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// hub starts the registry, in the engine's network namespace.
func (c *campaign) hub() {
	c.web = exec.Command(filepath.Join(bin, "lighterhub"), "serve", "--data", filepath.Join(c.dir, "hub"), "--listen", "127.0.0.1:5000", "--log-level", "error")
	if err := net.In(c.e.space, c.web.Start); err != nil {
		c.t.Fatal(err)
	}
	if err := await(func() bool { _, err := c.get("5000", "/healthz"); return err == nil }, "the registry"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *campaign) unhub() {
	c.web.Process.Kill()
	c.web.Wait() // killed
}

// get asks what serves a port of the engine's loopback for a file.
func (c *campaign) get(port, path string) (string, error) {
	var text []byte
	err := net.In(c.e.space, func() error {
		conn, err := stdnet.DialTimeout("tcp", "127.0.0.1:"+port, patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		text, err = io.ReadAll(conn)
		return err
	})
	return string(text), err
}

// need runs a command of lighter that must succeed.
func (c *campaign) need(args ...string) string {
	c.t.Helper()
	out, err := c.cli(args...)
	if err != nil {
		c.t.Fatalf("lighter %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// cli runs a command of lighter.
func (c *campaign) cli(args ...string) (string, error) {
	cmd := c.command(args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), err
}

func (c *campaign) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "lighter"), args...)
	cmd.Env = append(os.Environ(), "LIGHTER_HOST="+c.e.host, "DOCKER_CONFIG="+filepath.Join(c.dir, "client"))
	return cmd
}

// round has the workers work until the victim dies, and looks what is left.
func (c *campaign) round(victim string) {
	c.work(func() {
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
	})
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
