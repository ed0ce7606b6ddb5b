package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

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
	} {
		dir := filepath.Join(all, c.folder)
		os.Mkdir(dir, 0o700)
		for _, r := range c.records {
			if err := store.WriteRecord(filepath.Join(dir, filepath.Base(r)), claim{Record: r}, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := SweepClaims(all); err != nil {
			t.Errorf("%s: %v", c.folder, err)
		}
		if _, err := os.Stat(dir); (err == nil) != c.stays {
			t.Errorf("%s: %v", c.folder, err)
		}
	}
	if err := SweepClaims(filepath.Join(all, "none")); err != nil {
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
				if err := SweepClaims(all); err != nil {
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
