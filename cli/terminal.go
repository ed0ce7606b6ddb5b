package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	syssignal "github.com/moby/sys/signal"
	"golang.org/x/term"
)

// rawMode puts a terminal into raw mode, and gives what puts it back; that may be
// called more than once.
func rawMode(f *os.File) (restore func(), err error) {
	if !terminal(f) || os.Getenv("NORAW") != "" {
		return func() {}, nil
	}
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("unable to set up input stream: unable to set IO streams as raw terminal: %w", err)
	}
	return sync.OnceFunc(func() { term.Restore(int(f.Fd()), state) }), nil
}

// terminalSize gives rows and columns of stdout, zero when it is no terminal.
func (a *App) terminalSize() (rows, columns uint) {
	if w, h, err := term.GetSize(int(a.Out.Fd())); err == nil {
		return uint(h), uint(w)
	}
	return 0, 0
}

// checkTTY refuses to tie a container's terminal to an input that is none.
func (a *App) checkTTY(stdin, tty bool) error {
	if stdin && tty && !terminal(a.In) {
		return errors.New("the input device is not a TTY")
	}
	return nil
}

// followSize tells a process the size of our terminal, now and whenever it changes,
// until the returned function is called. The first telling is tried several times: the
// process may not be there yet.
func followSize(ctx context.Context, a *App, resize func(ctx context.Context, rows, columns uint) error) (stop func()) {
	tell := func() error {
		rows, columns := a.terminalSize()
		if rows == 0 && columns == 0 {
			return nil
		}
		return resize(ctx, rows, columns)
	}
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syssignal.SIGWINCH)
	var done sync.WaitGroup
	done.Go(func() {
		if err := tell(); err != nil {
			for retry := range 10 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Duration(retry+1) * 10 * time.Millisecond):
				}
				if err = tell(); err == nil {
					break
				}
			}
			if err != nil {
				a.warn("failed to resize tty, using default size")
			}
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				tell() // a process that is gone needs no size
			}
		}
	})
	return func() {
		signal.Stop(changed)
		cancel()
		done.Wait()
	}
}

// usual are the signals that programs are told things by. They are caught before a
// container starts; each costs a hand-over between threads, so that the others, which
// nobody sends to a program that has just begun, wait until it has run for a while.
var usual = []os.Signal{
	syssignal.SignalMap["HUP"], syssignal.SignalMap["INT"], syssignal.SignalMap["QUIT"],
	syssignal.SignalMap["TERM"], syssignal.SignalMap["USR1"], syssignal.SignalMap["USR2"],
}

const aWhile = 100 * time.Millisecond

// forwardSignals sends the signals that we get to a container, until the program ends.
// It is called right before the container starts.
func forwardSignals(ctx context.Context, a *App, id string) {
	got := make(chan os.Signal, 128)
	go func() { // ends with the program
		signal.Notify(got, usual...)
		rest := time.After(aWhile)
		for {
			select {
			case s := <-got:
				a.forward(ctx, id, s)
			case <-rest:
				syssignal.CatchAll(got)
			}
		}
	}()
}

// forward sends a signal to a container. One that is gone needs none.
func (a *App) forward(ctx context.Context, id string, s os.Signal) {
	if s == syssignal.SIGCHLD || s == syssignal.SIGPIPE {
		return
	}
	for name, number := range syssignal.SignalMap {
		if number == s {
			a.engine.Containers().Kill(ctx, id, name)
			return
		}
	}
}

// defaultDetach is ctrl-p ctrl-q.
var defaultDetach = []byte{16, 17}

// detachKeys reads a sequence such as "ctrl-a,b".
func detachKeys(s string) ([]byte, error) {
	var keys []byte
	for key := range strings.SplitSeq(s, ",") {
		name, ctrl := strings.CutPrefix(key, "ctrl-")
		switch {
		case key == "DEL":
			keys = append(keys, 127)
		case !ctrl && len(key) == 1:
			keys = append(keys, key[0])
		case !ctrl || len(name) != 1:
			return nil, fmt.Errorf("Unknown character: '%s'", key)
		case name[0] >= 'a' && name[0] <= 'z':
			keys = append(keys, name[0]-'a'+1)
		case strings.Contains(`@[\]^_`, name):
			// In the order of the ASCII table, so that @ is 0 and the rest follows z.
			keys = append(keys, name[0]-'@')
		default:
			return nil, fmt.Errorf("Unknown character: '%s'", key)
		}
	}
	return keys, nil
}

// errDetached tells that the user typed the detach keys.
var errDetached = errors.New("read escape sequence")

// detacher passes input on until a sequence of keys comes in it. What may be the
// sequence's beginning waits for the next key.
type detacher struct {
	in      interface{ Read([]byte) (int, error) }
	keys    []byte
	held    int    // keys seen of the sequence
	pending []byte // input that goes out before any other
	end     error
}

func (d *detacher) Read(p []byte) (int, error) {
	for len(d.pending) == 0 {
		if d.end != nil {
			return 0, d.end
		}
		buf := make([]byte, len(p))
		n, err := d.in.Read(buf)
		d.end = err
		for _, b := range buf[:n] {
			if d.end == errDetached {
				break
			}
			d.key(b)
		}
		if d.end != nil && d.end != errDetached && d.held > 0 {
			d.pending, d.held = append(d.pending, d.keys[:d.held]...), 0
		}
	}
	n := copy(p, d.pending)
	d.pending = d.pending[n:]
	return n, nil
}

// key takes one byte of input.
func (d *detacher) key(b byte) {
	if b != d.keys[d.held] && d.held > 0 {
		d.pending = append(d.pending, d.keys[:d.held]...)
		d.held = 0
	}
	if b != d.keys[d.held] {
		d.pending = append(d.pending, b)
		return
	}
	if d.held++; d.held == len(d.keys) {
		d.end = errDetached
	}
}
