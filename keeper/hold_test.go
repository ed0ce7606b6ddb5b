package keeper

import (
	"os"
	"strings"
	"testing"
	"time"

	"lighter/store/logfile"
	"lighter/task"
)

// TestHold: a log with a mark keeps what was not read; its container waits, and goes on
// when it was. What a container that was killed meanwhile has printed is kept, too.
func TestHold(t *testing.T) {
	r := newRig(t)
	log := r.log("held")
	log.MaxSize, log.MaxFiles, log.Compress, log.Mark = 16<<10, 3, true, log.Path+".mark"
	lines := func() string { return text(t, log.Path, logfile.Stdout) }
	mark := func() {
		last, err := logfile.Newest(t.Context(), log.Path)
		if err == nil {
			err = os.WriteFile(log.Mark, logfile.AppendMark(nil, time.Unix(0, last)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.c.Launch(r.ctx, launch("held", task.Stdio{}, log, nil, "/bin/sh", "-c", `i=0; while :; do echo "line $i"; i=$((i+1)); done`)); err != nil {
		t.Fatal(err)
	}
	// It stands still with all its files full, from the first line on.
	still := func() string {
		var before string
		until(t, "the container waits", func() bool {
			now := lines()
			same := now == before && len(now) > 3000
			before = now
			if !same {
				time.Sleep(200 * time.Millisecond)
			}
			return same
		})
		return before
	}
	first := still()
	if !strings.HasPrefix(first, "line 0\nline 1\n") {
		t.Fatalf("the first lines are gone: %.40q", first)
	}
	mark()
	until(t, "it goes on", func() bool { return !strings.HasPrefix(lines(), "line 0\n") })
	second := still()
	// Nothing between the two is missing.
	end := first[strings.LastIndex(first[:len(first)-1], "\n")+1:]
	if !strings.Contains(second, end) {
		t.Errorf("%q, which was not read, is gone: %.40q", end, second)
	}
	if err := r.c.Signal(r.ctx, task.Name{Container: "held"}, 9); err != nil {
		t.Fatal(err)
	}
	if e := r.exit("held"); e.Code != 137 {
		t.Error(e)
	}
	if third := lines(); !strings.HasPrefix(third, second) {
		t.Error("an end throws away what was not read")
	}
}
