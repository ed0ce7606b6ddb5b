package stories

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	soakRuns    = flag.Int("soak.runs", 100, "how many containers TestSoak runs and removes at least")
	soakAtOnce  = flag.Int("soak.at-once", 30, "how many of them run at once")
	soakClients = flag.Int("soak.clients", 20, "by how many clients")
	soakTime    = flag.Duration("soak.time", 0, "for how long at least")
	soakDocs    = flag.String("soak.docs", "", "the page that is given the figures")
)

// TestSoak brings many containers up and down for as long as it is asked to, and compares what the
// engine and its keeper hold at rest after the first round and after the last. `make soak` does it
// for an hour and writes the figures to docs/reliability.md. How long a run takes is judged there only:
// beside other tests it says nothing.
func TestSoak(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts containers: as root, without -short")
	}
	t.Parallel()
	s := &soak{campaign: campaignOf(t), begin: time.Now()}
	if err := s.e.start(); err != nil {
		t.Fatal(err)
	}
	s.need("import", busyboxTar, "busybox")
	s.still = s.open()
	for round := 0; ; round++ {
		s.round()
		if t.Failed() {
			t.Fatalf("in round %d\n%s", round, s.e.lastWords(4000))
		}
		if s.rest(); round > 0 && int(s.ran.Load()) >= *soakRuns && time.Since(s.begin) >= *soakTime {
			break
		}
	}
	grown := s.grown()
	for deadline := time.Now().Add(patience); len(grown) > 0 && time.Now().Before(deadline); grown = s.grown() {
		s.samples = s.samples[:len(s.samples)-1] // what has just been let go of may take a moment to go
		s.rest()
	}
	t.Log("\n" + s.table())
	if len(grown) > 0 {
		t.Fatalf("at rest, since the first round:\n%s", strings.Join(grown, "\n"))
	}
	s.clear()
	if *soakDocs != "" && !t.Failed() {
		s.write(*soakDocs)
	}
}

// soak is a campaign in which nobody is killed.
type soak struct {
	*campaign
	begin   time.Time
	ran     atomic.Int64 // containers that ran and are gone
	full    held         // what the engine held when all of the latest round ran
	samples []sample
}

// sample is what was seen at rest: no container, no client.
type sample struct {
	at             time.Duration
	ran            int64
	full           held // before, with all containers running
	engine, keeper held
	goroutines     int           // the engine's
	run            time.Duration // the median of a `lighter run --rm` from its start to its end; 0 where none is judged
}

// held is what a process has.
type held struct{ rss, files, threads int } // rss is in KiB

// hold reads what processes have together.
func hold(pids ...int) (h held) {
	for _, pid := range pids {
		proc := fmt.Sprintf("/proc/%d", pid)
		text, _ := os.ReadFile(proc + "/status")
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			switch name {
			case "VmRSS":
				h.rss += n
			case "Threads":
				h.threads += n
			}
		}
		files, _ := os.ReadDir(proc + "/fd")
		h.files += len(files)
	}
	return h
}

// each has the clients do f for 0 to n-1 between them.
func (s *soak) each(n int, f func(i int)) {
	var next atomic.Int64
	var work sync.WaitGroup
	for range *soakClients {
		work.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !s.t.Failed(); i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	work.Wait()
}

// do runs a command of lighter and wants it to print a text and to exit with a code.
func (s *soak) do(text string, code int, args ...string) {
	out, err := s.cli(args...)
	if exitCode(err) != code || err != nil && code == 0 || text != "" && out != text {
		s.t.Errorf("lighter %s printed %q, not %q: %v", strings.Join(args, " "), out, text, err)
	}
}

// round brings up all that are to run at once, has as many come and go beside them, and takes
// all down. Half have the network, and some of them a port; some have a volume.
func (s *soak) round() {
	s.each(*soakAtOnce, func(i int) {
		args := []string{"run", "-d", "--name", fmt.Sprint("soak", i)}
		switch {
		case i%2 == 0:
			args = append(args, "--network", "none")
		case i%10 == 1:
			args = append(args, "-p", "80")
		}
		if i%5 == 0 {
			args = append(args, "-v", "/v")
		}
		s.do("", 0, append(args, "busybox", "sleep", "100000")...)
	})
	if n := len(strings.Fields(s.need("ps", "-q"))); n != *soakAtOnce {
		s.t.Errorf("%d containers run, of %d", n, *soakAtOnce)
	}
	s.each(min(*soakAtOnce, *soakRuns/2-*soakAtOnce), func(i int) {
		args := []string{"run", "--rm"}
		if i%2 == 0 {
			args = append(args, "--network", "none")
		}
		s.do(fmt.Sprintln(i), i%100, append(args, "busybox", "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i%100))...)
		if i%4 == 0 {
			s.do(fmt.Sprintln(i), 0, "exec", fmt.Sprint("soak", i), "echo", fmt.Sprint(i))
		}
		s.ran.Add(1)
	})
	s.full = hold(s.e.cmd.Process.Pid)
	s.each(*soakAtOnce, func(i int) {
		s.do("", 0, "rm", "-f", "-v", fmt.Sprint("soak", i))
		s.ran.Add(1)
	})
}

// rest waits until nothing of the containers is left and takes a sample.
func (s *soak) rest() {
	s.leftovers()
	judged := *soakTime > 0
	if judged {
		// Links that are ready for the next containers go after a while.
		for deadline := time.Now().Add(poolTime + patience); len(s.links(0, 0)) > 0; time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				s.t.Fatalf("links are left at rest: %q", s.links(0, 0))
			}
		}
	}
	goroutines, err := strconv.Atoi(strings.TrimSpace(s.need("info", "-f", "{{.NGoroutines}}")))
	if err != nil {
		s.t.Fatal(err)
	}
	now := sample{
		at: time.Since(s.begin), ran: s.ran.Load(), full: s.full, goroutines: goroutines,
		engine: hold(s.e.cmd.Process.Pid), keeper: hold(s.e.processes(true)...),
	}
	if judged {
		now.run = s.median()
	}
	s.samples = append(s.samples, now)
}

// median is how long a run takes when nothing else is asked for.
func (s *soak) median() time.Duration {
	var took []time.Duration
	for range 51 {
		begin := time.Now()
		s.do("", 0, "run", "--rm", "busybox", "true")
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// soakBounds say how much more there may be after the last round than after the first: a part
// of the first, and some. Threads are the kernel's, which Go never gives back: their number is that
// of the calls that ever waited at once.
var soakBounds = []struct {
	what string
	part float64
	some int
	unit string
	of   func(sample) int
}{
	{"lighterd's memory", 0.25, 16 << 10, "KiB", func(s sample) int { return s.engine.rss }},
	{"lighterd's descriptors", 0, 12, "", func(s sample) int { return s.engine.files }},
	{"lighterd's threads", 0.5, 12, "", func(s sample) int { return s.engine.threads }},
	{"lighterd's goroutines", 0, 12, "", func(s sample) int { return s.goroutines }},
	{"the keeper's memory", 0.25, 16 << 10, "KiB", func(s sample) int { return s.keeper.rss }},
	{"the keeper's descriptors", 0, 12, "", func(s sample) int { return s.keeper.files }},
	{"the keeper's threads", 0.5, 12, "", func(s sample) int { return s.keeper.threads }},
	{"a run's median", 0.5, 0, "µs", func(s sample) int { return int(s.run.Microseconds()) }},
}

// grown tells what is beyond its bound.
func (s *soak) grown() (list []string) {
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	for _, b := range soakBounds {
		if was, is := b.of(first), b.of(last); float64(is) > float64(was)*(1+b.part)+float64(b.some) {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s: %d, and now %d %s", b.what, was, is, b.unit)))
		}
	}
	return list
}

// table shows the samples.
func (s *soak) table() string {
	var b strings.Builder
	fmt.Fprintln(&b, "| after | containers so far | lighterd with all running, MiB, descriptors | lighterd at rest, MiB | descriptors | threads | goroutines | keeper, MiB | descriptors | threads | median of a run |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, n := range s.samples {
		fmt.Fprintf(&b, "| %v | %d | %.1f, %d | %.1f | %d | %d | %d | %.1f | %d | %d | %v |\n", n.at.Round(time.Second), n.ran, mib(n.full.rss), n.full.files,
			mib(n.engine.rss), n.engine.files, n.engine.threads, n.goroutines, mib(n.keeper.rss), n.keeper.files, n.keeper.threads, n.run.Round(100*time.Microsecond))
	}
	return b.String()
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// What stands around the figures in the page.
const soakBegin, soakEnd = "<!-- soak: written by make soak -->\n", "<!-- end of soak -->"

// write puts the figures into a page.
func (s *soak) write(page string) {
	path := filepath.Join("..", page)
	text, err := os.ReadFile(path)
	before, rest, ok := strings.Cut(string(text), soakBegin)
	_, after, also := strings.Cut(rest, soakEnd)
	if err != nil || !ok || !also {
		s.t.Fatalf("%s has no room for the figures: %v", page, err)
	}
	commit, _ := exec.Command("git", "describe", "--always", "--exclude", "*", "--dirty").Output() // the page does without
	head := fmt.Sprintf("%s, commit %s: %d containers in %v, %d at once, %d clients.\n\n",
		time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)), s.ran.Load(), time.Since(s.begin).Round(time.Second), *soakAtOnce, *soakClients)
	if err := os.WriteFile(path, []byte(before+soakBegin+head+s.table()+soakEnd+after), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
