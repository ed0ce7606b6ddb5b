package cli

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"text/tabwriter"
	"time"
)

// TestAlign compares with the standard library, whose layout Docker's is.
func TestAlign(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var text bytes.Buffer
		for range r.IntN(6) {
			for range r.IntN(5) {
				text.WriteString(strings.Repeat("x", r.IntN(20)) + "\t")
			}
			text.WriteString(strings.Repeat("y", r.IntN(8)) + "\n")
		}
		var want bytes.Buffer
		w := tabwriter.NewWriter(&want, 10, 1, 3, ' ', 0)
		w.Write(text.Bytes())
		w.Flush()
		if got := align(text.Bytes(), 10, 3); string(got) != want.String() {
			t.Fatalf("align %q:\ngot  %q\nwant %q", text.String(), got, want.String())
		}
	}
}

func TestDetacher(t *testing.T) {
	for _, c := range []struct {
		keys, in, out string
		detached      bool
	}{
		{"\x10\x11", "abc", "abc", false},
		{"\x10\x11", "abc\x10\x11def", "abc", true},
		{"\x10\x11", "a\x10b", "a\x10b", false},
		{"\x10\x11", "\x10", "\x10", false},
		{"\x10\x11", "\x10\x10\x11", "\x10", true},
		{"\x10\x11", "\x10x\x10\x11", "\x10x", true},
		{"a", "bca", "bc", true},
		{"abc", "ababc", "ab", true},
		{"abc", "ab", "ab", false},
	} {
		for name, in := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "bytes": iotest.OneByteReader(strings.NewReader(c.in)),
		} {
			d := &detacher{in: in, keys: []byte(c.keys)}
			got, err := io.ReadAll(d)
			if string(got) != c.out || errors.Is(err, errDetached) != c.detached {
				t.Errorf("%s: keys %q, input %q: got %q, %v", name, c.keys, c.in, got, err)
			}
		}
	}
}

func TestDetachKeys(t *testing.T) {
	for s, want := range map[string]string{
		"ctrl-p,ctrl-q": "\x10\x11", "a": "a", "ctrl-@": "\x00", "ctrl-[": "\x1b", `ctrl-\`: "\x1c", "ctrl-]": "\x1d",
		"ctrl-^": "\x1e", "ctrl-_": "\x1f", "DEL": "\x7f", "x,ctrl-a,y": "x\x01y",
	} {
		if got, err := detachKeys(s); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "ctrl-", "ctrl-1", "Ctrl-a", "ab", "a,,b"} {
		if got, err := detachKeys(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, got)
		}
	}
}

func TestUnixTime(t *testing.T) {
	now := time.Unix(1_600_000_000, 0).UTC()
	for s, want := range map[string]string{
		"1m": "1599999940", "0": "0", "1577934245": "1577934245", "1577934245.000000005": "1577934245.000000005",
		"2020-01-02": "1577923200.000000000", "2020-01-02T03:04:05Z": "1577934245.000000000", "-1h": "1600003600",
	} {
		if got, err := unixTime(s, now); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
}

func TestHints(t *testing.T) {
	a := &App{name: "lighter"}
	var names []string
	for _, e := range a.commands() {
		names = append(names, e.name)
	}
	for typed, want := range map[string]string{"rnu": "run", "imags": "images", "inspec": "inspect", "zzz": "", "exce": "exec", "attch": "attach"} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
	if err := a.unknownCommand("rnu"); !strings.Contains(err.Error(), "hint: did you mean 'lighter run'?") {
		t.Error(err)
	}
	for name, hints := range map[string]bool{"lighter": true, "docker": false} {
		var stderr strings.Builder
		a := &App{name: name}
		root := a.root()
		root.AddCommand(newContainer(a))
		root.SetArgs([]string{"container", "inspct"})
		root.SetErr(&stderr)
		err := root.Execute()
		if err == nil || strings.Contains(err.Error(), "hint: did you mean '"+name+" container inspect'?") != hints {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&App{name: "docker"}).unknownCommand("rnu"); strings.Contains(err.Error(), "hint") {
		t.Error(err)
	}
}
