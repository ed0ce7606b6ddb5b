package network

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"lighter/netspec"
	"lighter/store"
)

// TestClaimsAreSwept has a folder of claims for each thing that may have become of the
// engine that made them.
func TestClaimsAreSwept(t *testing.T) {
	all := t.TempDir()
	engine := filepath.Join(t.TempDir(), "networks")
	if err := os.Mkdir(engine, 0o700); err != nil {
		t.Fatal(err)
	}
	there, gone := filepath.Join(engine, "a.json"), filepath.Join(engine, "b.json")
	os.WriteFile(there, nil, 0o600)
	inUse := func(space string) bool { return space == "in use" }
	for _, c := range []struct {
		folder  string
		records []string
		stays   bool
	}{
		{"alive", []string{there}, true},
		{"half swept", []string{gone}, true}, // the engine has yet to take down the link
		{"one alive", []string{"/nowhere/networks/c.json", there}, true},
		{"dead", []string{"/nowhere/networks/c.json", "/nowhere/networks/d.json"}, false},
		{"empty", nil, false},
		{"in use", []string{"/nowhere/networks/c.json"}, true}, // who comes to live there buries it
	} {
		dir := filepath.Join(all, c.folder)
		os.Mkdir(dir, 0o700)
		for _, r := range c.records {
			if err := store.WriteRecord(filepath.Join(dir, filepath.Base(r)), claim{Record: r}, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := SweepClaims(all, inUse); err != nil {
			t.Errorf("%s: %v", c.folder, err)
		}
		if _, err := os.Stat(dir); (err == nil) != c.stays {
			t.Errorf("%s: %v", c.folder, err)
		}
	}
	if err := SweepClaims(filepath.Join(all, "none"), inUse); err != nil {
		t.Error(err)
	}
}

// TestSweepBesideChoice sweeps a folder that is empty again and again while others choose.
func TestSweepBesideChoice(t *testing.T) {
	all := t.TempDir()
	s := &shelf{common: filepath.Join(all, "4026531833"), kernel: newWorld(t).machine}
	var work sync.WaitGroup
	defer work.Wait()
	done := make(chan struct{})
	defer close(done)
	work.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := SweepClaims(all, func(string) bool { return false }); err != nil {
					t.Error(err)
				}
			}
		}
	})
	inside := 0
	var mu sync.Mutex
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for range 200 {
				err := s.choosing(func([]netip.Prefix) error {
					if !mu.TryLock() {
						t.Error("two choose at once")
						return nil
					}
					defer mu.Unlock()
					inside++
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	others.Wait()
	if inside != 800 {
		t.Errorf("%d choices", inside)
	}
}

// TestDeadEnginesAreBuried has claims of engines whose data roots are gone: one that left
// nothing but links, one whose container still runs.
func TestDeadEnginesAreBuried(t *testing.T) {
	w := newWorld(t)
	w.machine.links = map[string]netspec.Link{"br-a": {}, "br-b": {}, "br-c": {}, "br-d": {}}
	w.machine.busy = "br-d"
	dir := t.TempDir()
	ns := &Networks{Deps: Deps{Kernel: w.machine, Graves: w.machine, Table: "own"}, shelf: shelf{common: dir}}
	for name, c := range map[string]claim{
		"a": {Record: "/nowhere/one/a.json", Link: netspec.Link{Name: "br-a", Made: true}, Table: "one"},
		"b": {Record: "/nowhere/one/b.json", Link: netspec.Link{Name: "br-b"}, Table: "one"}, // the user's own
		"c": {Record: "/nowhere/two/c.json", Link: netspec.Link{Name: "br-c", Made: true}, Table: "two"},
		"d": {Record: "/nowhere/two/d.json", Link: netspec.Link{Name: "br-d", Made: true}, Table: "two"},
		"e": {Record: "/nowhere/three/e.json", Table: "own"},
		"f": {Record: filepath.Join(t.TempDir(), "f.json"), Link: netspec.Link{Name: "br-f", Made: true}},
	} {
		if err := store.WriteRecord(filepath.Join(dir, name+".json"), c, false); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(dir, "torn.json"), []byte("{"), 0o600)
	sweep(ns)
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if !slices.Equal(left, []string{"c.json", "d.json", "f.json"}) || !slices.Equal(w.machine.buried, []string{"one"}) {
		t.Errorf("claims %v, buried tables %v", left, w.machine.buried)
	}
	if links := slices.Sorted(maps.Keys(w.machine.links)); !slices.Equal(links, []string{"br-b", "br-c", "br-d"}) {
		t.Errorf("links %v", links)
	}
}
