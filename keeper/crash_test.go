package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lighter/task"
)

var (
	crashSeed   = flag.Uint64("crash.seed", uint64(time.Now().UnixNano()), "seed of the crash tests")
	crashRounds = flag.Int("crash.rounds", 3, "how often each crash test is run")
)

// engine is an engine of its own process, to be killed.
type engine struct {
	cmd *exec.Cmd
	enc *json.Encoder
	dec *json.Decoder
	err bytes.Buffer
}

func startEngine(t *testing.T, root string) *engine {
	t.Helper()
	self, _ := os.Executable()
	e := &engine{cmd: exec.Command(self, "engine", root)}
	in, _ := e.cmd.StdinPipe()
	out, _ := e.cmd.StdoutPipe()
	e.cmd.Stderr = &e.err
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.enc, e.dec = json.NewEncoder(in), json.NewDecoder(out)
	var ready answer
	if err := e.dec.Decode(&ready); err != nil {
		e.kill()
		t.Fatalf("the engine does not start: %v\n%s", err, e.err.String())
	}
	return e
}

func (e *engine) do(c command) (a answer, err error) {
	if err := e.enc.Encode(c); err != nil {
		return a, err
	}
	err = e.dec.Decode(&a)
	return a, err
}

func (e *engine) kill() {
	e.cmd.Process.Kill()
	e.cmd.Wait()
}

// crash is one round: containers that print, and a killer.
type crash struct {
	t      *testing.T
	root   string
	rand   *rand.Rand
	engine *engine
	count  int // lines each
	names  []string
	size   int64
	kills  []string
	end    time.Time
	dead   map[int]bool
}

func newCrash(t *testing.T, seed uint64, containers, lines int, size int64) *crash {
	needRoot(t)
	c := &crash{t: t, root: t.TempDir(), rand: rand.New(rand.NewPCG(seed, 2)), count: lines, size: size, dead: map[int]bool{}, end: time.Now().Add(40 * time.Second)}
	c.engine = startEngine(t, c.root)
	t.Cleanup(func() {
		c.engine.kill()
		for _, pid := range keepers(c.root) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	self, _ := os.Executable()
	for i := range containers {
		name := "c" + strconv.Itoa(i)
		l := launch(name, task.Stdio{}, task.Log{Driver: "json-file", Path: filepath.Join(c.root, name+".log"), MaxSize: size, MaxFiles: 1000},
			nil, self, "printer", strconv.Itoa(lines), strconv.FormatUint(seed+uint64(i), 10), strconv.Itoa(i+1))
		a, err := c.engine.do(command{Launch: &l})
		if err != nil || a.Err != "" {
			t.Fatalf("launch: %v %s", err, a.Err)
		}
		c.names = append(c.names, name)
	}
	return c
}

// pause lets a random time pass: the moment is what is tried.
func (c *crash) pause(most time.Duration) { time.Sleep(time.Duration(c.rand.Int64N(int64(most)))) }

func (c *crash) note(what string) { c.kills = append(c.kills, what) }

// killKeeper kills a keeper: the one there is, or the primary or its standby.
func (c *crash) killKeeper() {
	if pids := c.alive(); len(pids) > 0 {
		pid := pids[c.rand.IntN(len(pids))]
		c.note(fmt.Sprintf("keeper(%d of %v)", pid, pids))
		c.dead[pid] = true
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// alive are the keepers that were not killed.
func (c *crash) alive() []int {
	return slices.DeleteFunc(keepers(c.root), func(pid int) bool { return c.dead[pid] })
}

func (c *crash) killEngine() {
	c.note("engine")
	c.engine.kill()
}

func (c *crash) startEngine() {
	c.note("start")
	c.engine = startEngine(c.t, c.root)
}

// awaitSecond waits until the keeper that lives without an engine has its standby,
// and both hold the same.
func (c *crash) awaitSecond() {
	c.t.Helper()
	c.until("there is a standby", func() bool {
		pids := c.alive()
		return len(pids) == 2 && journals(pids[0]) > 0 && journals(pids[0]) == journals(pids[1])
	})
}

// awaitKeeper waits until the one keeper holds what the engine does.
func (c *crash) awaitKeeper() {
	c.t.Helper()
	c.until("the keeper is back", func() bool {
		pids := c.alive()
		return len(pids) == 1 && journals(pids[0]) > 0 && journals(pids[0]) == journals(c.engine.cmd.Process.Pid)
	})
}

// until waits for something, or for the end of all containers.
func (c *crash) until(what string, done func() bool) {
	c.t.Helper()
	for end := time.Now().Add(15 * time.Second); !c.over() && !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.end = end
			c.note(what)
			c.over()
		}
	}
}

// journals is how many journals a process holds.
func journals(pid int) (n int) {
	fds, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.Contains(to, "lighter journal") {
			n++
		}
	}
	return n
}

// noted are the exits that engines noted, by name.
func (c *crash) noted() map[string][]task.Exit {
	b, _ := os.ReadFile(c.root + "/noted")
	all := map[string][]task.Exit{}
	for line := range bytes.Lines(b) {
		var e task.Exit
		if json.Unmarshal(line, &e) == nil {
			all[e.Name.String()] = append(all[e.Name.String()], e)
		}
	}
	return all
}

// over says whether every container has ended. A round that takes too long fails.
func (c *crash) over() bool {
	if time.Now().After(c.end) {
		c.engine.cmd.Process.Signal(syscall.SIGQUIT)
		c.engine.cmd.Wait()
		for _, pid := range keepers(c.root) {
			syscall.Kill(pid, syscall.SIGQUIT)
		}
		time.Sleep(time.Second)
		log, _ := os.ReadFile(filepath.Join(c.root, "keepers", "log"))
		ls, _ := exec.Command("sh", "-c", "ls -lR "+c.root).Output()
		c.t.Fatalf("the round does not end: %v\nnoted %v\n%s\nengine: %s\nkeeper: %s", c.kills, c.noted(), ls, c.engine.err.String(), log)
	}
	all, _ := os.ReadDir(filepath.Join(c.root, "exits"))
	return len(c.noted())+len(all) >= len(c.names)
}

// check looks whether every line is there once, in order, whether every exit code is
// right, and whether nothing is left.
func (c *crash) check(seed uint64) {
	t := c.t
	t.Helper()
	until(t, "all exits are noted", func() bool { return len(c.noted()) == len(c.names) })
	for i, name := range c.names {
		for _, e := range c.noted()[name] {
			if e.Code != i+1 || e.Unknown {
				t.Errorf("%s: exit %+v, want code %d", name, e, i+1)
			}
		}
		var want [2]strings.Builder
		r := rand.New(rand.NewPCG(seed+uint64(i), 1))
		for l := range c.count {
			want[l%2].WriteString(printed(r, l))
			r.IntN(20) // as the container does: whether it flushes, and whether it rests
			if r.IntN(100) == 0 {
				r.IntN(int(5 * time.Millisecond))
			}
		}
		for s, stream := range streamNames {
			if got := text(t, filepath.Join(c.root, name+".log"), stream); got != want[s].String() {
				t.Errorf("%s %s: %s", name, stream, difference(got, want[s].String()))
			}
		}
	}
	// One that was killed last leaves its socket to the engine; only then may that go, too.
	until(t, "the engine has seen every death", func() bool {
		sockets, _ := filepath.Glob(filepath.Join(c.root, "keepers", "*.sock"))
		return len(sockets) == len(keepers(c.root))
	})
	c.engine.kill()
	until(t, "the keepers leave", func() bool { return len(keepers(c.root)) == 0 })
	for _, dir := range []string{"exits", "keepers"} {
		all, _ := os.ReadDir(filepath.Join(c.root, dir))
		for _, e := range all {
			if e.Name() != "log" {
				t.Errorf("left: %s/%s", dir, e.Name())
			}
		}
	}
	if log, _ := os.ReadFile(filepath.Join(c.root, "keepers", "log")); len(log) > 0 {
		t.Logf("keeper's log: %s", log)
	}
	if t.Failed() {
		t.Logf("seed %d: %s", seed, strings.Join(c.kills, " "))
	}
}

func difference(got, want string) string {
	g, w := bufio.NewReader(strings.NewReader(got)), bufio.NewReader(strings.NewReader(want))
	for i := 0; ; i++ {
		a, err := g.ReadString('\n')
		b, _ := w.ReadString('\n')
		if a != b || err == io.EOF {
			return fmt.Sprintf("%d bytes, want %d; line %d is %.60q, want %.60q", len(got), len(want), i, a, b)
		}
	}
}

// rounds has so many containers print so many lines each, into logs that are rotated at so
// many bytes, and calls step until all have ended; then all must be as if nothing had been.
func rounds(t *testing.T, containers, lines int, rotate int64, step func(c *crash)) {
	var mu sync.Mutex
	for i := range *crashRounds {
		seed := *crashSeed + uint64(i)*1000
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			mu.Lock()
			defer mu.Unlock()
			c := newCrash(t, seed, containers, lines, rotate)
			for !c.over() {
				step(c)
			}
			c.check(seed)
		})
	}
}

// The keeper is killed again and again while an engine is there.
func TestCrashOfKeeper(t *testing.T) {
	rounds(t, 4, 20000, 0, func(c *crash) {
		c.pause(100 * time.Millisecond)
		c.killKeeper()
	})
}

// The same with logs that are rotated all the time.
func TestCrashOfKeeperInRotation(t *testing.T) {
	rounds(t, 3, 10000, 40000, func(c *crash) {
		c.pause(150 * time.Millisecond)
		c.killKeeper()
	})
}

// The engine is killed again and again, and comes back after a while.
func TestCrashOfEngine(t *testing.T) {
	rounds(t, 4, 20000, 0, func(c *crash) {
		c.pause(100 * time.Millisecond)
		c.killEngine()
		c.pause(100 * time.Millisecond)
		c.startEngine()
	})
}

// Engine and keeper are killed in any order, each when the other's death was dealt
// with.
func TestCrashOfBoth(t *testing.T) {
	rounds(t, 4, 40000, 200000, func(c *crash) {
		c.pause(100 * time.Millisecond)
		if c.rand.IntN(2) == 0 {
			c.killKeeper()
			c.awaitKeeper()
			return
		}
		c.killEngine()
		for range c.rand.IntN(3) {
			c.awaitSecond()
			c.pause(20 * time.Millisecond)
			c.killKeeper()
			c.awaitSecond()
		}
		c.startEngine()
		c.awaitKeeper()
	})
}
