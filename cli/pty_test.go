//go:build linux

package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lighter/api"
)

// openPTY gives the two ends of a terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs /dev/ptmx: ", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func resize(t *testing.T, f *os.File, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

// What a person sees of a pull on terminals of 80 and 200 columns, and when the window is made
// narrower and wider in the middle, is what testdata/progress.golden holds.
// LIGHTER_GOLDEN=write writes it.
func TestProgressOnPTY(t *testing.T) {
	var golden strings.Builder
	for _, start := range []uint16{80, 200} {
		master, slave := openPTY(t)
		resize(t, master, start, 24)
		s := &screen{t: t, columns: int(start)}
		clock := time.Unix(0, 0)
		v := &progressView{block: *newBlock(slave), now: func() time.Time { return clock }}
		told := make([]byte, 64<<10)
		see := func() { // what was written has come when the mark behind it has
			if _, err := slave.Write([]byte{0}); err != nil {
				t.Fatal(err)
			}
			for {
				n, err := master.Read(told)
				if err != nil {
					t.Fatal(err)
				}
				b, seen := bytes.CutSuffix(told[:n], []byte{0})
				if s.Write(b); seen {
					return
				}
			}
		}
		show := func(id, status string, detail *api.ProgressDetail) {
			clock = clock.Add(400 * time.Millisecond)
			if err := v.show(api.Progress{ID: id, Status: status, ProgressDetail: detail}); err != nil {
				t.Fatal(err)
			}
			see()
		}
		frame := func(name string) {
			fmt.Fprintf(&golden, "-- began at %d columns: %s --\n", start, name)
			for _, row := range s.rows {
				golden.WriteString(strings.TrimRight(row, " ") + "\n")
			}
		}
		step := &api.ProgressDetail{}
		show("latest", "Pulling from team/app", nil)
		for _, id := range []string{"aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"} {
			show(id, "Pulling fs layer", step)
		}
		show("cccccccccccc", "Waiting", step)
		for n := range int64(5) {
			show("aaaaaaaaaaaa", "Downloading", &api.ProgressDetail{Current: n * 9e6, Total: 90e6})
			show("bbbbbbbbbbbb", "Downloading", &api.ProgressDetail{Current: n * 123e3, Total: 512e3})
		}
		frame("under way")
		resize(t, master, 60, 24)
		s.fold(60)
		show("bbbbbbbbbbbb", "Download complete", step)
		show("aaaaaaaaaaaa", "Downloading", &api.ProgressDetail{Current: 50e6, Total: 90e6})
		frame("made narrower, 60")
		resize(t, master, 120, 24)
		s.columns = 120
		show("aaaaaaaaaaaa", "Downloading", &api.ProgressDetail{Current: 80e6, Total: 90e6})
		show("cccccccccccc", "Downloading", &api.ProgressDetail{Current: 1e6}) // of no known length
		frame("made wider, 120")
		for _, id := range []string{"aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"} {
			show(id, "Pull complete", step)
		}
		show("", "Status: Downloaded newer image for team/app:latest", nil)
		if err := v.end(); err != nil {
			t.Fatal(err)
		}
		see()
		frame("the end")
	}
	path := filepath.Join("testdata", "progress.golden")
	if os.Getenv("LIGHTER_GOLDEN") == "write" {
		if err := os.WriteFile(path, []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != golden.String() {
		t.Errorf("%v; on the terminal:\n%s", err, golden.String())
	}
}

// A password that is typed at log in is not shown.
func TestTypedPassword(t *testing.T) {
	master, slave := openPTY(t)
	a := &App{Config: Config{In: slave, Out: slave, Err: slave}}
	type typed struct {
		user, password string
		err            error
	}
	asked := make(chan typed, 1)
	go func() {
		user, password, err := logins{a}.askLogin("hub.example", "", "", "")
		asked <- typed{user, password, err}
	}()
	var seen []byte
	until := func(text string) {
		for b := make([]byte, 4096); !bytes.Contains(seen, []byte(text)); {
			n, err := master.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, b[:n]...)
		}
	}
	until("Username: ")
	master.WriteString("ann\n")
	until("Password at hub.example: ")
	for deadline := time.Now().Add(10 * time.Second); ; { // the echo is turned off after the words
		if p, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS); err != nil || time.Now().After(deadline) {
			t.Fatal("the echo stays on:", err)
		} else if p.Lflag&unix.ECHO == 0 {
			break
		}
	}
	master.WriteString("secret\n")
	if got := <-asked; got != (typed{"ann", "secret", nil}) {
		t.Errorf("%+v", got)
	}
	slave.WriteString("over")
	until("over")
	if text := string(seen); strings.Contains(text, "secret") || !strings.Contains(text, "ann") {
		t.Errorf("the terminal shows %q", text)
	}
}
