package proc

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHiddenWhileMemoryComesAndGoes starts processes with an arena while the rest of the program gives
// back memory of an arena's size. What one start takes for heap and is given back may be where
// the arena of another comes to lie: that one's process then had no stack, and died of SIGSEGV.
func TestHiddenWhileMemoryComesAndGoes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("entering a PID namespace needs root")
	}
	space, err := os.Open("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	defer pages(t, 1000)() // it takes a while to read what there is
	var over atomic.Bool
	var starts, others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for !over.Load() {
				pages(t, 20)()
			}
		})
	}
	for range 8 {
		starts.Go(func() {
			for range 15 {
				p := shell("exit 5")
				if err := p.Hide(); err != nil {
					t.Error(err)
					return
				}
				c, err := p.Start(Options{Pid: space})
				if err != nil {
					t.Error(err)
					return
				}
				exit, err := Wait(context.WithoutCancel(t.Context()), c.Pidfd)
				c.Pidfd.Close()
				if err != nil || exit.Code != 5 {
					t.Errorf("%+v, %v", exit, err)
				}
			}
		})
	}
	starts.Wait()
	over.Store(true)
	others.Wait()
}

// pages maps memory in pieces that are a mapping each, until the function that it gives is called.
func pages(t *testing.T, n int) (unmap func()) {
	var all [][]byte
	for range n {
		mem, err := unix.Mmap(-1, 0, 4<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		if err != nil {
			t.Error(err)
			break
		}
		all = append(all, mem)
	}
	return func() {
		for _, mem := range all {
			unix.Munmap(mem)
		}
	}
}
