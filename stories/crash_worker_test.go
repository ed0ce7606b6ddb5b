package stories

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// worker does one thing after the other to containers, volumes and networks of its own, and
// remembers what it was promised.
type worker struct {
	c      *campaign
	id     int
	rnd    *rand.Rand
	made   int
	things map[string]*thing
	ids    map[string]bool // of all containers it ever made

	mu  sync.Mutex
	cmd *exec.Cmd // what runs, for who kills clients
}

// thing is what a worker was promised of a container, a volume or a network.
type thing struct {
	kind  string // "sleeps", "prints", "volume", "network"
	there bool
	sure  bool // the last verb on it was answered

	code, lines int    // of one that prints
	killed      bool   // of one that sleeps: an answered kill
	pids        int    // an answered update
	word        string // an answered write to a file of it
	blind       bool   // nobody was left to see its output or its end, or to know its filter of calls
}

// run runs a command of lighter. cut tells that it failed, or may have, for somebody was killed.
func (w *worker) run(args ...string) (out string, cut bool, err error) {
	cmd := exec.Command(filepath.Join(bin, "lighter"), args...)
	cmd.Env = append(os.Environ(), "LIGHTER_HOST="+w.c.e.host)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	w.mu.Lock()
	err = cmd.Start()
	w.cmd = cmd
	w.mu.Unlock()
	if err == nil {
		err = cmd.Wait()
	}
	w.mu.Lock()
	w.cmd = nil
	w.mu.Unlock()
	if err != nil && w.c.over.Load() {
		return stdout.String(), true, err
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), false, err
}

// kill kills the command that runs.
func (w *worker) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cmd != nil && w.cmd.Process != nil {
		w.cmd.Process.Kill()
	}
}

// must runs a command on a thing and tells whether it was answered.
func (w *worker) must(th *thing, args ...string) (string, bool) {
	th.sure = false
	out, cut, err := w.run(args...)
	if cut {
		return out, false
	}
	if err != nil {
		w.c.t.Errorf("nobody was killed, and lighter %s: %v", strings.Join(args, " "), err)
		return out, false
	}
	th.sure = true
	return out, true
}

func (w *worker) name(kind string) string {
	w.made++
	return fmt.Sprintf("%s-%d-%d", kind, w.id, w.made)
}

// one draws a thing of a kind that is there for sure, "" when there is none.
func (w *worker) one(kind string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(w.things)) {
		if th := w.things[name]; th.kind == kind && th.there && th.sure {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return list[w.rnd.IntN(len(list))]
}

// verbs are what workers do.
var verbs = []func(*worker){
	(*worker).prints, (*worker).prints, (*worker).sleeps, (*worker).foreground, (*worker).remove, (*worker).remove,
	(*worker).stop, (*worker).write, (*worker).update, (*worker).volume, (*worker).network, (*worker).commit,
}

func (w *worker) verb() { verbs[w.rnd.IntN(len(verbs))](w) }

func (w *worker) begin(kind string, th *thing, args ...string) {
	name := w.name(kind)
	th.kind = kind
	w.things[name] = th
	with := []string{"run", "-d", "--name", name}
	if v := w.one("volume"); v != "" && w.rnd.IntN(2) == 0 {
		with = append(with, "-v", v+":/v")
	}
	switch n := w.one("network"); {
	case n != "" && w.rnd.IntN(2) == 0:
		with = append(with, "--network", n)
	case w.rnd.IntN(2) == 0:
		with = append(with, "--network", "none")
	}
	out, done := w.must(th, append(append(with, "busybox"), args...)...)
	th.there = done
	if id := strings.TrimSpace(out); len(id) == 64 {
		if w.ids == nil {
			w.ids = map[string]bool{}
		}
		w.ids[id] = true
	}
}

func (w *worker) prints() {
	th := &thing{code: w.rnd.IntN(50), lines: 1 + w.rnd.IntN(3000)}
	w.begin("prints", th, "sh", "-c", fmt.Sprintf("seq 1 %d; exit %d", th.lines, th.code))
}

func (w *worker) sleeps() { w.begin("sleeps", &thing{}, "sleep", "1000") }

func (w *worker) foreground() {
	code, lines := w.rnd.IntN(50), 1+w.rnd.IntN(2000)
	out, cut, err := w.run("run", "--rm", "--network", "none", "busybox", "sh", "-c", fmt.Sprintf("seq 1 %d; exit %d", lines, code))
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if !cut && (got != code || strings.Count(out, "\n") != lines) {
		w.c.t.Errorf("nobody was killed, and a run of %d lines that exits with %d gave %d lines and %d: %v", lines, code, strings.Count(out, "\n"), got, err)
	}
}

func (w *worker) remove() {
	for _, kind := range []string{"prints", "sleeps"} {
		if name := w.one(kind); name != "" {
			th := w.things[name]
			if _, done := w.must(th, "rm", "-f", name); done {
				th.there = false
			}
			return
		}
	}
}

func (w *worker) stop() {
	if name := w.one("sleeps"); name != "" && !w.things[name].killed {
		_, done := w.must(w.things[name], "kill", name)
		w.things[name].killed = done
	}
}

func (w *worker) write() {
	name := w.one("sleeps")
	if name == "" || w.things[name].killed || w.things[name].blind {
		return
	}
	word := fmt.Sprint("word", w.rnd.IntN(1e6))
	if _, done := w.must(w.things[name], "exec", name, "sh", "-c", "echo "+word+" >/tmp/new; mv /tmp/new /word"); done {
		w.things[name].word = word
	}
}

func (w *worker) update() {
	name := w.one("sleeps")
	if name == "" {
		return
	}
	pids := 10 + w.rnd.IntN(90)
	if _, done := w.must(w.things[name], "update", "--pids-limit", fmt.Sprint(pids), name); done {
		w.things[name].pids = pids
	}
}

func (w *worker) volume() {
	name := w.name("volume")
	th := &thing{kind: "volume"}
	w.things[name] = th
	_, th.there = w.must(th, "volume", "create", name)
}

func (w *worker) network() {
	if len(w.things) > 0 && w.one("network") != "" && w.rnd.IntN(3) > 0 {
		return
	}
	name := w.name("network")
	th := &thing{kind: "network"}
	w.things[name] = th
	_, th.there = w.must(th, "network", "create", name)
}

func (w *worker) commit() {
	name := w.one("sleeps")
	if name == "" {
		return
	}
	image := w.name("image")
	th := &thing{kind: "image"}
	w.things[image] = th
	_, th.there = w.must(th, "commit", name, image)
}

// inspects are how a thing of a kind is looked up.
var inspects = map[string]string{"sleeps": "container", "prints": "container", "volume": "volume", "network": "network", "image": "image"}

// audit compares what was promised with what is. blind tells that nobody was left to see
// what happened meanwhile.
func (w *worker) audit(blind bool) {
	t := w.c.t
	for _, name := range slices.Sorted(maps.Keys(w.things)) {
		th := w.things[name]
		_, err := w.c.cli(inspects[th.kind], "inspect", name)
		is := err == nil
		if th.sure && is != th.there {
			t.Errorf("%s: promised to be there: %v; it is: %v (%v)", name, th.there, is, err)
		}
		unsure := !th.sure
		th.there, th.sure = is, true
		if !is {
			delete(w.things, name)
			continue
		}
		switch th.kind {
		case "prints":
			th.blind = th.blind || blind
			w.auditPrints(name, th, unsure)
		case "sleeps":
			th.blind = th.blind || blind
			w.auditSleeps(name, th, unsure)
		}
	}
}

func (w *worker) auditPrints(name string, th *thing, unsure bool) {
	t := w.c.t
	var state string
	err := await(func() bool {
		out, err := w.c.cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)
		state = strings.TrimSpace(out)
		return err != nil || !strings.HasPrefix(state, "running")
	}, name+" to end")
	if err != nil {
		t.Error(err)
	}
	if unsure && strings.HasPrefix(state, "created") {
		th.blind = true // never started, though created
	}
	if th.blind {
		return
	}
	if want := fmt.Sprintf("exited %d", th.code); state != want {
		t.Errorf("%s is %q, promised %q", name, state, want)
	}
	out, err := w.c.cli("logs", name)
	var want strings.Builder
	for i := range th.lines {
		fmt.Fprintln(&want, i+1)
	}
	if err != nil || out != want.String() {
		t.Errorf("%s printed %d lines, and its log has %d, %d bytes of %d: %v", name, th.lines, strings.Count(out, "\n"), len(out), want.Len(), err)
	}
}

func (w *worker) auditSleeps(name string, th *thing, unsure bool) {
	t := w.c.t
	var status, pids string
	var err error
	late := await(func() bool { // a keeper that died with the answer has its successor tell of the end
		var out string
		out, err = w.c.cli("inspect", "-f", "{{.State.Status}} {{.HostConfig.PidsLimit}}", name)
		status, pids, _ = strings.Cut(strings.TrimSpace(out), " ")
		return err != nil || !th.killed || status != "running"
	}, name+" to have ended")
	switch {
	case err != nil:
		t.Error(name, err)
	case late != nil:
		t.Errorf("%s was killed, and is %s", name, status)
	case !unsure && !th.killed && status != "running":
		t.Errorf("%s sleeps, and is %s", name, status)
	case !unsure && th.pids > 0 && pids != fmt.Sprint(th.pids):
		t.Errorf("%s may have %d processes, and its record says %s", name, th.pids, pids)
	}
	if unsure {
		th.pids = 0 // either may count
	}
	if status != "running" {
		th.killed = true // whatever became of it, it does not run
		return
	}
	// Not by an exec: when all died nobody knows the container's filter of calls, and none is let in without.
	tar, err := w.c.cli("cp", name+":/word", "-")
	if !unsure && th.word != "" && (err != nil || !strings.Contains(tar, th.word+"\n")) {
		t.Errorf("%s: %q was written, and %q is read: %v", name, th.word, tar, err)
	}
	if unsure {
		th.word = "" // either may be there
	}
}
