package insight

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	syssignal "github.com/moby/sys/signal"
	"golang.org/x/term"

	"lighter/api"
	"lighter/cli"
	"lighter/client"
)

const (
	topEvery = time.Second
	topKept  = 120 // points of a graph
)

// usage is one container on the screen.
type usage struct {
	id, name, image, status string
	last                    *api.Stats
	known                   bool
	cpu, memory, limit      float64 // of one CPU; bytes
	received, sent          float64 // bytes a second
	read, written           float64
	processes               uint64
	cpus, memories          []float64 // the last points, the newest last
}

// order is a column by which the list is sorted, and the key for it.
type order struct {
	key  byte
	word string
	less func(a, b *usage) int
}

var orders = []order{
	{'c', "CPU", func(a, b *usage) int { return cmp.Compare(b.cpu, a.cpu) }},
	{'m', "memory", func(a, b *usage) int { return cmp.Compare(b.memory, a.memory) }},
	{'n', "network", func(a, b *usage) int { return cmp.Compare(b.received+b.sent, a.received+a.sent) }},
	{'d', "disk", func(a, b *usage) int { return cmp.Compare(b.read+b.written, a.read+a.written) }},
	{'p', "processes", func(a, b *usage) int { return cmp.Compare(b.processes, a.processes) }},
	{'a', "name", func(a, b *usage) int { return cmp.Compare(a.name, b.name) }},
}

// table is what top shows.
type table struct {
	mu      sync.Mutex // between who measures and who draws
	rows    []*usage
	host    string
	cpus    int
	memory  int64 // of the machine
	trouble string
	at      time.Time
	order   int
	reverse bool
	first   int // row on the screen
}

// measure takes one more sample of all that runs.
func (t *table) measure(ctx context.Context, c *client.Client) error {
	list, err := c.Containers().List(ctx, client.ListOptions{Brief: true})
	if err != nil {
		return err
	}
	samples := make([]*api.Stats, len(list))
	var work sync.WaitGroup
	next := make(chan int)
	for range min(4, len(list)) {
		work.Go(func() {
			for i := range next {
				if s, err := c.Containers().Sample(ctx, list[i].ID); err == nil { // else it just ended
					samples[i] = &s
				}
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	work.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []*usage
	for i, s := range list {
		u := &usage{id: s.ID}
		if at := slices.IndexFunc(t.rows, func(u *usage) bool { return u.id == s.ID }); at >= 0 {
			u = t.rows[at]
		}
		u.image, u.status = s.Image, s.Status
		if len(s.Names) > 0 {
			u.name = strings.TrimPrefix(s.Names[0], "/")
		}
		u.add(samples[i])
		rows = append(rows, u)
	}
	t.rows, t.at = rows, time.Now()
	return nil
}

// add takes a sample; what is a rate needs two.
func (u *usage) add(s *api.Stats) {
	if s == nil {
		return
	}
	last := u.last
	u.last = s
	u.memory, u.limit, u.processes = float64(s.Memory.Used()), float64(s.Memory.Limit), s.Pids.Current
	u.memories = push(u.memories, u.memory)
	if last == nil || !s.Read.After(last.Read) || s.CPU.Usage.Total < last.CPU.Usage.Total {
		return
	}
	passed := s.Read.Sub(last.Read).Seconds()
	rate := func(now, before uint64) float64 { return max(0, float64(now)-float64(before)) / passed }
	u.known, u.cpu = true, rate(s.CPU.Usage.Total, last.CPU.Usage.Total)/1e7
	u.cpus = push(u.cpus, u.cpu)
	u.received, u.sent = 0, 0
	for name, n := range s.Networks {
		u.received += rate(n.RxBytes, last.Networks[name].RxBytes)
		u.sent += rate(n.TxBytes, last.Networks[name].TxBytes)
	}
	read, written := s.Block.Total()
	wasRead, wasWritten := last.Block.Total()
	u.read, u.written = rate(read, wasRead), rate(written, wasWritten)
}

func push(list []float64, v float64) []float64 {
	if list = append(list, v); len(list) > topKept {
		list = append(list[:0], list[1:]...)
	}
	return list
}

// press does what a key asks for; quit ends it.
func (t *table) press(key byte) (quit bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch key {
	case 'q', 'Q', 3, 4:
		return true
	case 'r':
		t.reverse = !t.reverse
	case 'j':
		t.first++
	case 'k':
		t.first--
	}
	if i := slices.IndexFunc(orders, func(o order) bool { return o.key == key }); i >= 0 {
		t.order, t.reverse, t.first = i, false, 0
	}
	return false
}

// top is `lighter top` without a container: all of them, as they live. What is no terminal
// gets one picture.
func top(ctx context.Context, a *cli.App, _ []string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	info, err := c.System().Info(ctx)
	if err != nil {
		return err
	}
	t := &table{host: info.Name, cpus: info.NCPU, memory: info.MemTotal}
	if err := t.measure(ctx, c); err != nil {
		return err
	}
	if !term.IsTerminal(int(a.Out.Fd())) || !term.IsTerminal(int(a.In.Fd())) {
		select {
		case <-time.After(topEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.measure(ctx, c); err != nil {
			return err
		}
		lines := t.picture(width(a.Out), len(t.rows)+4, false)
		_, err = a.Out.WriteString(strings.Join(lines[:len(lines)-1], "\n") + "\n")
		return err
	}
	return t.live(ctx, a, c)
}

// live draws until somebody presses q.
func (t *table) live(ctx context.Context, a *cli.App, c *client.Client) error {
	state, err := term.MakeRaw(int(a.In.Fd()))
	if err != nil {
		return fmt.Errorf("read keys from the terminal: %w", err)
	}
	// Another screen, without a cursor and without folding; what was there comes back.
	a.Out.WriteString("\x1b[?1049h\x1b[?25l\x1b[?7l")
	defer func() {
		a.Out.WriteString("\x1b[?7h\x1b[?25h\x1b[?1049l")
		term.Restore(int(a.In.Fd()), state)
	}()
	ctx, stop := context.WithCancel(ctx)
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	work.Go(func() { t.follow(ctx, c, tell) })
	keys := make(chan byte)
	go readKeys(ctx, a.In, keys) // ends with the program: a read of a terminal cannot be called off
	window, ended := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(window, syssignal.SIGWINCH)
	signal.Notify(ended, syssignal.SignalMap["TERM"], syssignal.SignalMap["HUP"], syssignal.SignalMap["INT"])
	defer signal.Stop(window)
	defer signal.Stop(ended)
	colours := painter(a.Out)
	for {
		w, h, err := term.GetSize(int(a.Out.Fd()))
		if err != nil || w <= 0 || h <= 0 {
			w, h = 80, 24
		}
		if _, err := a.Out.WriteString(frame(t.picture(w, h, colours))); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-window:
		case <-ended:
			return nil
		case <-ctx.Done():
			return nil
		case key, ok := <-keys:
			if !ok || t.press(key) {
				return nil
			}
		}
	}
}

// follow measures each second until ctx ends. An engine that is away may come back.
func (t *table) follow(ctx context.Context, c *client.Client, tell func()) {
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := t.measure(ctx, c)
		t.mu.Lock()
		if t.trouble = ""; err != nil && ctx.Err() == nil {
			t.trouble = err.Error()
		}
		t.mu.Unlock()
		tell()
	}
}

// readKeys reads what is typed: letters, and the arrows as j and k.
func readKeys(ctx context.Context, in *os.File, keys chan<- byte) {
	defer close(keys)
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		if err != nil || n == 0 {
			return
		}
		typed := strings.NewReplacer("\x1b[A", "k", "\x1bOA", "k", "\x1b[B", "j", "\x1bOB", "j").Replace(string(buf[:n]))
		for i := range len(typed) {
			select {
			case keys <- typed[i]:
			case <-ctx.Done():
				return
			}
		}
	}
}

// frame lays a picture over the last one in a single write: a line is cleared behind what
// is written on it, so that nothing is ever blank that was not, and terminals that know how
// (mode 2026) show it at once.
func frame(lines []string) string {
	return "\x1b[?2026h\x1b[H" + strings.Join(lines, "\x1b[K\r\n") + "\x1b[K\x1b[J\x1b[?2026l"
}
