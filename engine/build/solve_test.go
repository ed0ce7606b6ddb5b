package build

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/store"
)

// slowOp is a vertex that waits until it may end.
type slowOp struct {
	name string
	runs *[]string
	mu   *sync.Mutex
	wait chan struct{} // nil: at once
	err  error
}

func (o slowOp) key(_ context.Context, _ *job, in []outcome) (*key, error) {
	k := &key{}
	k.add("instruction", o.name)
	for _, i := range in {
		k.add("base", i.top)
	}
	return k, nil
}

func (o slowOp) run(ctx context.Context, _ *job, _ *vertex, _ []outcome) ([]outcome, error) {
	o.mu.Lock()
	*o.runs = append(*o.runs, o.name)
	o.mu.Unlock()
	if o.wait != nil {
		select {
		case <-o.wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return []outcome{{}}, o.err
}

// graphOf makes vertices: each name stands on those after it.
func graphOf(ops map[string]slowOp, names ...string) map[string]*vertex {
	out := map[string]*vertex{}
	for _, line := range names {
		words := strings.Fields(line)
		v := &vertex{digest: words[0], name: words[0], op: &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}, meta: &pb.OpMetadata{}, do: ops[words[0]]}
		for _, in := range words[1:] {
			v.inputs = append(v.inputs, edge{from: out[in]})
		}
		out[words[0]] = v
	}
	return out
}

// opsFor makes operations that share a list of what ran.
func opsFor(names ...string) (map[string]slowOp, *[]string) {
	runs, mu, ops := &[]string{}, &sync.Mutex{}, map[string]slowOp{}
	for _, name := range names {
		ops[name] = slowOp{name: name, runs: runs, mu: mu}
	}
	return ops, runs
}

func TestSharedVertexOnce(t *testing.T) {
	b := newBench(t)
	ops, runs := opsFor("a", "b", "c", "d", "unused")
	g := graphOf(ops, "a", "b a", "c a", "d b c", "unused a")
	j := b.newJob(t.Context(), Ask{Request: &api.BuildRequest{}}, func(api.BuildMessage) {})
	defer j.close()
	if _, err := j.solve(t.Context(), edge{from: g["d"]}); err != nil {
		t.Fatal(err)
	}
	if len(*runs) != 4 || (*runs)[0] != "a" || (*runs)[3] != "d" {
		t.Errorf("ran %v", *runs)
	}
}

func TestTwoJobsOneMaking(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		ops, runs := opsFor("a")
		a := ops["a"]
		a.wait = make(chan struct{})
		ops["a"] = a
		var jobs [3]*job
		done := make(chan error, 3)
		var stop context.CancelFunc
		for n := range jobs {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if n == 0 {
				stop = cancel
			}
			jobs[n] = b.newJob(ctx, Ask{Request: &api.BuildRequest{}}, func(api.BuildMessage) {})
			go func() {
				_, err := jobs[n].solve(ctx, edge{from: graphOf(ops, "a")["a"]})
				done <- err
			}()
			synctest.Wait()
		}
		if len(*runs) != 1 {
			t.Errorf("ran %v", *runs)
		}
		stop() // the one who makes it goes: another takes over
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		close(a.wait)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if len(*runs) != 2 {
			t.Errorf("ran %v", *runs)
		}
		for _, j := range jobs {
			j.close()
		}
	})
}

func TestFailureStopsTheRest(t *testing.T) {
	b := newBench(t)
	ops, _ := opsFor("bad", "slow", "end")
	bad, slow := ops["bad"], ops["slow"]
	bad.err = errors.New("it broke")
	slow.wait = make(chan struct{}) // for ever
	ops["bad"], ops["slow"] = bad, slow
	g := graphOf(ops, "bad", "slow", "end slow bad")
	j := b.newJob(t.Context(), Ask{Request: &api.BuildRequest{}}, func(api.BuildMessage) {})
	defer j.close()
	_, err := j.solve(t.Context(), edge{from: g["end"]})
	told, _ := j.explainError(t.Context(), j.cause(err))
	if err == nil || told.Vertex != "bad" || told.Message != "it broke" {
		t.Errorf("%v: %+v", err, told)
	}
}

func TestCacheSurvives(t *testing.T) {
	root, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	held := map[string]int{}
	hold := func(tops ...string) func() {
		for _, top := range tops {
			held[top]++
		}
		return func() {
			for _, top := range tops {
				held[top]--
			}
		}
	}
	gone := ""
	there := func(top string) bool { return top != gone }
	b := newBench(t)
	open := func() *cache {
		c, err := openCache(root.Path("cache"), b.Log, there, hold)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	now := time.Unix(100, 0).UTC()
	var made []*record
	for _, name := range []string{"one", "two"} {
		k := &key{}
		k.add("instruction", name)
		k.add("base", "b")
		r := &record{Key: k.digest(), Parts: k.parts, Tops: []string{"top-" + name}, Created: now, Used: now, Says: "[1/1] RUN " + name}
		c.put(r)
		made = append(made, r)
	}
	if err := c.save(made[:1]); err != nil { // the other one is not durable: a crash loses it
		t.Fatal(err)
	}
	if err := os.WriteFile(root.Path("cache", "junk.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = open()
	if c.lookup(made[0].Key, now) == nil || c.lookup(made[1].Key, now) != nil || held["top-one"] != 2 {
		t.Errorf("%v, held %v", c.records, held)
	}
	k := &key{}
	k.add("instruction", "three")
	k.add("base", "b")
	if got := c.explain("[1/1] RUN three", k, false); got != "changed: instruction" {
		t.Error(got)
	}
	if got := c.explain("[1/1] COPY three", k, false); got != "no step like it was ever run" {
		t.Error(got)
	}
	if gone, err := c.drop([]*record{made[0]}); err != nil || len(gone) != 0 {
		t.Error("what is not the record, or used, is dropped", gone, err)
	}
	c.done(c.named(made[0].Key))
	if gone, err := c.drop([]*record{c.named(made[0].Key)}); err != nil || len(gone) != 1 || held["top-one"] != 1 {
		t.Error(gone, err, held)
	}
	if err := c.save(made[:1]); err != nil { // it is no record any more
		t.Fatal(err)
	}
	gone = "top-one"
	if c = open(); len(c.records) != 0 {
		t.Errorf("%v", c.records)
	}
}

func TestStepNames(t *testing.T) {
	for name, want := range map[string]string{
		"[build 2/5] RUN make": "build 2 5 true", "[2/5] RUN make": " 2 5 true", "[linux/arm64 build 2/5] RUN": "linux/arm64 build 2 5 true",
		"[internal] load": " 0 0 false", "RUN [ 1/2 ]": " 0 0 false", "": " 0 0 false", "[": " 0 0 false",
	} {
		stage, n, of, ok := (&vertex{name: name}).stage()
		if got := strings.TrimSpace(strings.Join([]string{stage, itoa(n), itoa(of), bools[ok]}, " ")); got != strings.TrimSpace(want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

var bools = map[bool]string{true: "true", false: "false"}

func itoa(n int) string { return string(rune('0' + n)) }

func TestManyInstructions(t *testing.T) {
	b := newBench(t)
	b.write(t, "Dockerfile", "FROM scratch\n"+strings.Repeat("ENV A=1\nLABEL b=2\n", 5000))
	begun := time.Now()
	out, fail := b.build(t, api.BuildRequest{})
	if fail != nil {
		t.Fatal(fail.Message)
	}
	img, err := b.Images.Resolve(out.ID)
	if err != nil || len(img.Doc.History) != 10_000 {
		t.Fatal(err)
	}
	t.Log("10,000 instructions took", time.Since(begun))
}
