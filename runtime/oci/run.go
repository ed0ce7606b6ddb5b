package oci

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	syssignal "github.com/moby/sys/signal"
	"golang.org/x/term"

	"lighter/linux/proc"
	"lighter/runtime"
)

func runCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var f createFlags
	var detach, keep, noSubreaper bool
	f.declare(fs)
	bothBool(fs, &detach, "detach", "d", "return when it runs")
	fs.BoolVar(&keep, "keep", false, "keep its state when it has ended")
	fs.BoolVar(&noSubreaper, "no-subreaper", false, "as it always is")
	return func(ctx context.Context, a *app, args []string) error {
		r, child, err := a.create(ctx, args[0], &f, detach)
		if err != nil {
			return err
		}
		defer child.Pidfd.Close()
		if detach {
			if err := a.start(ctx, r); err != nil {
				return errors.Join(err, a.destroy(ctx, r))
			}
			return nil
		}
		code, err := a.attend(ctx, child, func() error { return a.start(ctx, r) })
		if !keep {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, a.kill(undo, r), a.destroy(undo, r))
		}
		if err != nil || code == 0 {
			return err
		}
		return exitCode(code)
	}
}

// attend stays with a process in the foreground: passes signals on, moves its terminal
// to and from ours, and returns its exit code. begin lets it run.
func (a *app) attend(ctx context.Context, child *runtime.Process, begin func() error) (int, error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	settled := make(chan struct{})
	if child.Console != nil {
		restore := a.takeTerminal(child.Console)
		defer restore()
		go func() { io.Copy(child.Console, a.In) }() // ends with us: a read of stdin cannot be broken off
		go func() { io.Copy(a.Out, child.Console); close(settled) }()
	} else {
		close(settled)
	}
	if err := begin(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	var exit proc.Exit
	var err error
	go func() {
		exit, err = proc.Wait(context.WithoutCancel(ctx), child.Pidfd)
		close(done)
	}()
	for {
		select {
		case <-done:
			// What was printed last is still on its way, unless an orphan holds the terminal.
			select {
			case <-settled:
			case <-time.After(time.Second):
			}
			return exit.Code, err
		case s := <-signals:
			a.pass(s, child)
		}
	}
}

// pass hands a signal on. Some are not meant for the container.
func (a *app) pass(s os.Signal, child *runtime.Process) {
	for _, own := range []string{"CHLD", "URG", "PIPE"} { // URG is the Go runtime's own
		if s == os.Signal(syssignal.SignalMap[own]) {
			return
		}
	}
	if s == os.Signal(syssignal.SignalMap["WINCH"]) && child.Console != nil {
		a.size(child.Console)
		return
	}
	for _, n := range syssignal.SignalMap {
		if os.Signal(n) == s {
			proc.Send(child.Pidfd, int(n))
			return
		}
	}
}

// takeTerminal puts our terminal in raw mode, when stdin is one.
func (a *app) takeTerminal(console *os.File) (restore func()) {
	fd := int(a.In.Fd())
	if !term.IsTerminal(fd) {
		return func() {}
	}
	a.size(console)
	old, err := term.MakeRaw(fd)
	if err != nil {
		return func() {}
	}
	return func() { term.Restore(fd, old) }
}

func (a *app) size(console *os.File) {
	if w, h, err := term.GetSize(int(a.In.Fd())); err == nil {
		proc.Resize(console, uint16(h), uint16(w))
	}
}

// signalNumber reads a signal's name or number.
func signalNumber(name string) (int, error) {
	n, err := syssignal.ParseSignal(name)
	if err != nil {
		return 0, fmt.Errorf("unknown signal %q", name)
	}
	return int(n), nil
}
