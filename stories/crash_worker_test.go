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
	"time"
)

// worker does one thing after the other to containers, volumes and networks of its own, and
// remembers what it was promised.
type worker struct {
	c      *campaign
	id     int
	rnd    *rand.Rand
	made   int
	things map[string]*thing
	moved  map[string]string // containers that were to have another name: which they have is not known

	mu  sync.Mutex
	cmd *exec.Cmd // what runs, for who kills clients
}

// thing is what a worker was promised of a container, a volume or a network.
type thing struct {
	kind  string // "sleeps", "prints", "serves", "volume", "network", "image"
	there bool
	sure  bool // the last verb on it was answered
	at    time.Time

	code, lines int    // of one that prints
	killed      bool   // of one that sleeps: an answered kill
	pids        int    // an answered update
	word        string // an answered write to a file of it
	port        string // published by one that serves
	blind       bool   // nobody was left to see its output or its end, or to know its filter of calls
}

// run runs a command of lighter. cut tells that it failed, or may have, for somebody was killed.
func (w *worker) run(args ...string) (out string, cut bool, err error) {
	cmd := w.c.command(args...)
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
	if err != nil && (w.c.over.Load() || w.c.faulty.Load()) {
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

// refusals are answers that a worker may get though nobody was killed.
var refusals = []string{"volume is in use", "has active endpoints", "image is being used", "is using its referenced image"}

// must runs a command on a thing and tells whether it was done.
func (w *worker) must(th *thing, args ...string) (string, bool) {
	th.sure = false
	out, cut, err := w.run(args...)
	if cut {
		return out, false
	}
	th.sure, th.at = true, time.Now()
	if err == nil {
		return out, true
	}
	for _, text := range refusals {
		if strings.Contains(err.Error(), text) {
			return out, false
		}
	}
	w.c.t.Errorf("nobody was killed, and lighter %s: %v", strings.Join(args, " "), err)
	return out, false
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
	(*worker).prints, (*worker).prints, (*worker).sleeps, (*worker).serves, (*worker).foreground, (*worker).probe,
	(*worker).remove, (*worker).remove, (*worker).remove, (*worker).removeImage, (*worker).removeVolume, (*worker).removeNetwork,
	(*worker).stop, (*worker).restart, (*worker).pause, (*worker).rename, (*worker).update,
	(*worker).write, (*worker).copyIn, (*worker).fill, (*worker).volume, (*worker).network,
	(*worker).commit, (*worker).build, (*worker).pull,
}

func (w *worker) verb() { verbs[w.rnd.IntN(len(verbs))](w) }

func (w *worker) begin(kind string, th *thing, args ...string) string {
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
	case th.port == "" && w.rnd.IntN(2) == 0:
		with = append(with, "--network", "none")
	}
	if th.port != "" {
		with = append(with, "-p", th.port+":80")
	}
	_, th.there = w.must(th, append(append(with, "busybox"), args...)...)
	return name
}

func (w *worker) prints() {
	th := &thing{code: w.rnd.IntN(50), lines: 1 + w.rnd.IntN(3000)}
	w.begin("prints", th, "sh", "-c", fmt.Sprintf("seq 1 %d; exit %d", th.lines, th.code))
}

func (w *worker) sleeps() { w.begin("sleeps", &thing{}, "sleep", "1000") }

// serves starts a web server that tells the port that it was published at.
func (w *worker) serves() {
	th := &thing{port: fmt.Sprint(10000 + w.id*10000 + w.made%10000)}
	w.begin("serves", th, "sh", "-c", "mkdir /www; echo at "+th.port+" >/www/index.html; exec httpd -f -p 80 -h /www")
}

func (w *worker) foreground() {
	code, lines := w.rnd.IntN(50), 1+w.rnd.IntN(2000)
	out, cut, err := w.run("run", "--rm", "--network", "none", "busybox", "sh", "-c", fmt.Sprintf("seq 1 %d; exit %d", lines, code))
	got := exitCode(err)
	if !cut && (got != code || strings.Count(out, "\n") != lines) {
		w.c.t.Errorf("nobody was killed, and a run of %d lines that exits with %d gave %d lines and %d: %v", lines, code, strings.Count(out, "\n"), got, err)
	}
}

func (w *worker) remove() {
	kinds := []string{"prints", "sleeps", "serves"}
	name := w.one(kinds[w.rnd.IntN(len(kinds))])
	if name == "" {
		return
	}
	th := w.things[name]
	if _, done := w.must(th, "rm", "-f", name); !done {
		return
	}
	th.there = false
	if th.port == "" {
		return
	}
	if text, err := w.c.get(th.port, "/"); err == nil && text != "" {
		w.c.t.Errorf("%s was removed, and its port answers: %s", name, text)
	}
}

// gone removes a thing of a kind that may be in use.
func (w *worker) gone(kind string, verb ...string) {
	if name := w.one(kind); name != "" {
		if _, done := w.must(w.things[name], append(verb, name)...); done {
			w.things[name].there = false
		}
	}
}

func (w *worker) removeImage()   { w.gone("image", "rmi") }
func (w *worker) removeVolume()  { w.gone("volume", "volume", "rm") }
func (w *worker) removeNetwork() { w.gone("network", "network", "rm") }

// sleeping draws a container that runs and whose filter of calls is known.
func (w *worker) sleeping() string {
	name := w.one("sleeps")
	if name == "" || w.things[name].killed || w.things[name].blind {
		return ""
	}
	return name
}

// probe runs a command in a container and sees its exit code.
func (w *worker) probe() {
	name := w.sleeping()
	if name == "" {
		return
	}
	code := w.rnd.IntN(50)
	_, cut, err := w.run("exec", name, "sh", "-c", fmt.Sprint("exit ", code))
	if got := exitCode(err); !cut && got != code {
		w.c.t.Errorf("nobody was killed, and an exec that exits with %d gave %d: %v", code, got, err)
	}
}

func exitCode(err error) int {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func (w *worker) restart() {
	if name := w.sleeping(); name != "" {
		w.must(w.things[name], "restart", "-t", "0", name)
	}
}

func (w *worker) pause() {
	if name := w.sleeping(); name != "" {
		if _, done := w.must(w.things[name], "pause", name); done {
			w.must(w.things[name], "unpause", name)
		}
	}
}

func (w *worker) rename() {
	name := w.one("sleeps")
	if name == "" {
		return
	}
	th, to := w.things[name], w.name("sleeps")
	if _, done := w.must(th, "rename", name, to); done {
		delete(w.things, name)
		w.things[to] = th
	} else {
		w.moved[name] = to
	}
}

// copyIn writes a file into a container from outside.
func (w *worker) copyIn() {
	name := w.one("sleeps")
	if name == "" {
		return
	}
	word := fmt.Sprint("word", w.rnd.IntN(1e6))
	path := filepath.Join(w.c.dir, fmt.Sprint("word", w.id))
	if err := os.WriteFile(path, []byte(word+"\n"), 0o644); err != nil {
		w.c.t.Error(err)
	}
	if _, done := w.must(w.things[name], "cp", path, name+":/word"); done {
		w.things[name].word = word
	}
}

// fill writes a file of a volume.
func (w *worker) fill() {
	name := w.one("volume")
	if name == "" {
		return
	}
	word := fmt.Sprint("word", w.rnd.IntN(1e6))
	if _, done := w.must(w.things[name], "run", "--rm", "--network", "none", "-v", name+":/v", "busybox", "sh", "-c",
		"echo "+word+" | dd of=/v/word conv=fsync 2>/dev/null"); done {
		w.things[name].word = word
	}
}

// build builds an image of some steps.
func (w *worker) build() {
	dir := filepath.Join(w.c.dir, fmt.Sprint("context", w.id))
	word := fmt.Sprint("word", w.rnd.IntN(1e6))
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/word", []byte(word+"\n"), 0o644),
		os.WriteFile(dir+"/Dockerfile", []byte("FROM busybox\nRUN echo step >/step\nCOPY word /\nRUN test -s /word && echo more >/more\n"), 0o644)); err != nil {
		w.c.t.Error(err)
	}
	image := w.name("image")
	th := &thing{kind: "image", word: word}
	w.things[image] = th
	_, th.there = w.must(th, "build", "-q", "--network", "none", "-t", image, dir)
}

// pull brings the worker's image from the registry, if it is not there.
func (w *worker) pull() {
	image := fmt.Sprintf("%s:%d", campaignImages, w.id)
	if th := w.things[image]; th != nil && th.there {
		return
	}
	th := &thing{kind: "image", word: fmt.Sprint("pulled", w.id)}
	w.things[image] = th
	_, th.there = w.must(th, "pull", "-q", image)
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
	th := &thing{kind: "image", word: w.things[name].word}
	w.things[image] = th
	_, th.there = w.must(th, "commit", name, image)
}

// inspects are how a thing of a kind is looked up.
var inspects = map[string]string{"sleeps": "container", "prints": "container", "serves": "container", "volume": "volume", "network": "network", "image": "image"}

// audit compares what was promised with what is. blind tells that nobody was left to see
// what happened meanwhile.
func (w *worker) audit(blind bool) {
	t := w.c.t
	for from, to := range w.moved { // one of the names it has
		if _, err := w.c.cli("container", "inspect", to); err == nil {
			w.things[to] = w.things[from]
			delete(w.things, from)
			from = to
		}
		if _, err := w.c.cli("container", "inspect", from); err != nil {
			t.Errorf("%s was to be %s, and neither is there", from, to)
		}
	}
	clear(w.moved)
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
		case "serves":
			w.auditServes(name, th, unsure)
		case "volume":
			w.auditVolume(name, th, unsure)
		case "image":
			if tar, err := w.c.cli("cp", name+":/word", "-"); th.word != "" && (err != nil || !strings.Contains(tar, th.word+"\n")) {
				t.Errorf("image %s: %q is in it, and %q is read: %v", name, th.word, tar, err)
			}
		}
	}
}

func (w *worker) auditServes(name string, th *thing, unsure bool) {
	var state, text string
	late := await(func() bool { // a removal that was cut may have killed it, which takes a moment to be known
		state, _ = w.c.cli("inspect", "-f", "{{.State.Status}}", name)
		state = strings.TrimSpace(state)
		text, _ = w.c.get(th.port, "/")
		return state != "running" || strings.HasSuffix(text, "\nat "+th.port+"\n")
	}, name+" to answer")
	if late != nil || !unsure && state != "running" {
		w.c.t.Errorf("%s serves, is %q, and answers %q: %v", name, state, text, late)
	}
	th.sure = state == "running"
}

func (w *worker) auditVolume(name string, th *thing, unsure bool) {
	if unsure {
		th.word = "" // either may be there
	}
	if th.word == "" {
		return
	}
	text, err := os.ReadFile(filepath.Join(w.c.e.root, "volumes", name, "_data", "word"))
	if err != nil || string(text) != th.word+"\n" {
		w.c.t.Errorf("volume %s: %q was written, and %q is read: %v", name, th.word, text, err)
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
