package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 1, 2, 15, 4, 5, 123456789, time.UTC)

// The bytes are those that Docker 28 writes for the same input.
func TestFormat(t *testing.T) {
	f, err := NewFormat(nil)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"hello":              `hello`,
		"":                   ``,
		"a\tb\rc\x00\x1b\b":  `a\u0009b\rc\u0000\u001b\u0008`,
		`"\/`:                `\"\\/`,
		"<b>&":               `\u003cb\u003e\u0026`,
		"é日\u2028\u2029\x7f": "é日\\u2028\\u2029\x7f",
		"\xff\xc3ok":         `\ufffd\ufffdok`,
		"0123456789abcde<":   `0123456789abcde\u003c`,
	} {
		out, used, n := f.Append(nil, []byte(in+"\n"), Stderr, at.UnixNano(), false, 1<<20)
		want = `{"log":"` + want + `\n","stream":"stderr","time":"2026-01-02T15:04:05.123456789Z"}` + "\n"
		if string(out) != want || used != len(in)+1 || n != 1 {
			t.Errorf("%q: %s want %s", in, out, want)
		}
	}
}

// Decimals lose their zeros, and a second may end within a batch.
func TestFormatTimes(t *testing.T) {
	f, _ := NewFormat(map[string]string{"k": "v"})
	for _, start := range []time.Time{at, at.Truncate(time.Second), at.Truncate(time.Millisecond), at.Truncate(time.Second).Add(-5)} {
		out, _, n := f.Append(nil, bytes.Repeat([]byte("x\n"), 30), Stdout, start.UnixNano(), false, 1<<20)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if n != 30 || len(lines) != 30 {
			t.Fatalf("%d records", n)
		}
		for i, line := range lines {
			want := `{"log":"x\n","stream":"stdout","attrs":{"k":"v"},"time":"` + start.Add(time.Duration(i)).Format(time.RFC3339Nano) + `"}`
			if line != want {
				t.Errorf("%s want %s", line, want)
			}
		}
	}
}

func TestLongLines(t *testing.T) {
	f, _ := NewFormat(nil)
	lens := func(in string, end bool) (all []string) {
		out, _, _ := f.Append(nil, []byte(in), Stdout, 1, end, 1<<30)
		for line := range bytes.Lines(out) {
			var p parser
			var r Record
			if !p.parse(line[:len(line)-1], &r) {
				t.Fatalf("no record: %.100s", line)
			}
			s := fmt.Sprint(len(strings.TrimSuffix(string(r.Line), "\n")))
			if strings.HasSuffix(string(r.Line), "\n") {
				s += "n"
			}
			all = append(all, s)
		}
		return all
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	for i, c := range []struct {
		in   string
		end  bool
		want []string
	}{
		{x(MaxLine-1) + "\n", false, []string{"16383n"}},
		{x(MaxLine) + "\n", false, []string{"16384", "0n"}},
		{x(2*MaxLine+5) + "\n" + "y", false, []string{"16384", "16384", "5n"}},
		{x(100), false, nil},
		{x(100), true, []string{"100"}},
		{x(MaxLine-1) + "é" + x(5) + "\n", false, []string{"16383", "7n"}},
		{strings.Repeat("\xff", MaxLine+1) + "\n", false, []string{fmt.Sprint(3 * MaxLine), "3n"}},
	} {
		if got := lens(c.in, c.end); !slices.Equal(got, c.want) {
			t.Errorf("%d: %v want %v", i, got, c.want)
		}
	}
}

// fill writes lines "0", "1"… a millisecond apart, a batch each.
func fill(t testing.TB, w *Writer, from, to int) {
	t.Helper()
	f, _ := NewFormat(nil)
	for i := from; i < to; i++ {
		if w.Room() == 0 {
			if err := w.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		stream := []string{Stdout, Stderr}[i%2]
		out, _, _ := f.Append(nil, fmt.Appendf(nil, "%d\n", i), stream, at.Add(time.Duration(i)*time.Millisecond).UnixNano(), false, 1<<20)
		if err := w.Write(out); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t testing.TB, o Options) *Writer {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "log")
	}
	w, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// read gives the lines that are wanted, as "first..last (count)".
func read(t testing.TB, path string, o ReadOptions) string {
	t.Helper()
	var all []string
	err := Read(context.Background(), path, o, func(r *Record) error {
		all = append(all, strings.TrimSpace(string(r.Line)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(all); i++ {
		var a, b int
		fmt.Sscan(all[i-1], &a)
		fmt.Sscan(all[i], &b)
		if b != a+1 {
			t.Errorf("%d follows %d", b, a)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return fmt.Sprintf("%s..%s", all[0], all[len(all)-1])
}

func TestRead(t *testing.T) {
	for name, o := range map[string]Options{
		"one file":   {},
		"rotated":    {MaxSize: 100_000, MaxFiles: 1000},
		"compressed": {MaxSize: 100_000, MaxFiles: 1000, Compress: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, o)
			const n = 20000
			fill(t, w, 0, n)
			ms := func(i int) time.Time { return at.Add(time.Duration(i) * time.Millisecond) }
			for want, o := range map[string]ReadOptions{
				"0..19999":     {Tail: All},
				"19999..19999": {Tail: 1},
				"19000..19999": {Tail: 1000},
				"5000..19999":  {Tail: 15000},
				"none":         {Tail: 0},
				"777..19999":   {Tail: All, Since: ms(777)},
				"778..19999":   {Tail: All, Since: ms(777).Add(1)},
				"19990..19999": {Tail: All, Since: ms(19990)},
				"100..200":     {Tail: All, Since: ms(100), Until: ms(200)},
				"0..10":        {Tail: All, Until: ms(10)},
				"19998..19999": {Tail: 10, Since: ms(19998)},
			} {
				if got := read(t, w.o.Path, o); got != want {
					t.Errorf("%+v: %s want %s", o, got, want)
				}
			}
			if got := read(t, w.o.Path, ReadOptions{Tail: n + 5}); got != "0..19999" {
				t.Errorf("more than there is: %s", got)
			}
			if got := read(t, w.o.Path, ReadOptions{Tail: All, Since: ms(n)}); got != "none" {
				t.Errorf("since the future: %s", got)
			}
		})
	}
	if got := read(t, filepath.Join(t.TempDir(), "none"), ReadOptions{Tail: All}); got != "none" {
		t.Errorf("no file: %s", got)
	}
}

func TestRotationKeepsSoMany(t *testing.T) {
	for _, compress := range []bool{false, true} {
		w := open(t, Options{MaxSize: 10_000, MaxFiles: 3, Compress: compress})
		fill(t, w, 0, 5000)
		if err := w.Wait(); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(w.o.Path + "*")
		if len(names) != 3 {
			t.Errorf("files %v", names)
		}
		if got := read(t, w.o.Path, ReadOptions{Tail: All}); !strings.HasSuffix(got, "..4999") {
			t.Errorf("lines %s", got)
		}
		if err := Remove(w.o.Path); err != nil {
			t.Error(err)
		}
		if names, _ := filepath.Glob(w.o.Path + "*"); len(names) > 0 {
			t.Errorf("left: %v", names)
		}
	}
	w := open(t, Options{MaxSize: 10_000, MaxFiles: 1})
	fill(t, w, 0, 5000)
	if st, _ := os.Stat(w.o.Path); st.Size() > 10_100 {
		t.Errorf("one file of %d bytes", st.Size())
	}
}

// A follower gets every line once, whatever rotation does meanwhile.
func TestFollow(t *testing.T) {
	for name, o := range map[string]Options{
		"one file":   {},
		"rotated":    {MaxSize: 3000, MaxFiles: 1000},
		"compressed": {MaxSize: 3000, MaxFiles: 1000, Compress: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.Path = filepath.Join(t.TempDir(), "log")
			done, got := make(chan struct{}), make(chan string)
			for i := range 3 { // before the file is there, and later
				go func() {
					if i > 0 {
						<-done
					}
					var all []string
					err := Read(t.Context(), o.Path, ReadOptions{Tail: All, Follow: true, Done: done}, func(r *Record) error {
						all = append(all, strings.TrimSpace(string(r.Line)))
						return nil
					})
					if err != nil {
						all = append(all, err.Error())
					}
					got <- strings.Join(all, " ")
				}()
			}
			w := open(t, o)
			fill(t, w, 0, 3000)
			close(done)
			var want []string
			for i := range 3000 {
				want = append(want, fmt.Sprint(i))
			}
			for range 3 {
				if all := <-got; all != strings.Join(want, " ") {
					t.Errorf("followed %d bytes, want %d: %s", len(all), len(strings.Join(want, " ")), gaps(all))
				}
			}
		})
	}
}

func TestFollowEnds(t *testing.T) {
	w := open(t, Options{})
	fill(t, w, 0, 3)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := Read(ctx, w.o.Path, ReadOptions{Tail: All, Follow: true}, func(r *Record) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	err = Read(t.Context(), w.o.Path, ReadOptions{Tail: All, Follow: true}, func(r *Record) error { return io.ErrClosedPipe })
	if err != io.ErrClosedPipe {
		t.Errorf("of the function: %v", err)
	}
	if err := Read(t.Context(), w.o.Path, ReadOptions{Tail: All, Follow: true, Until: at}, func(*Record) error { return nil }); err != nil {
		t.Errorf("until the past: %v", err)
	}
}

// What is no record is left out; a torn end is cut off by the next Writer.
func TestBrokenFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := open(t, Options{Path: path})
	fill(t, w, 0, 5)
	f, _ := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	f.WriteString("\x00\x00\x00\n{\"log\":\"foreign\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-01-02T16:00:00+01:00\"}\n{\"log\":\"torn")
	f.Close()
	var lines []string
	Read(t.Context(), path, ReadOptions{Tail: All}, func(r *Record) error {
		lines = append(lines, strings.TrimSpace(string(r.Line))+r.Attrs["a"])
		return nil
	})
	if got := strings.Join(lines, " "); got != "0 1 2 3 4 foreignb" {
		t.Errorf("read %q", got)
	}
	w2 := open(t, Options{Path: path})
	if b, _ := os.ReadFile(path); !bytes.HasSuffix(b, []byte("Z\"}\n")) && !bytes.HasSuffix(b, []byte("01:00\"}\n")) {
		t.Errorf("ends in %q", b[len(b)-10:])
	}
	w2.Close()
}

// A file that somebody empties by hand goes on from its beginning.
func TestEmptiedByHand(t *testing.T) {
	w := open(t, Options{})
	fill(t, w, 0, 100)
	os.Truncate(w.o.Path, 0)
	w.Settle()
	fill(t, w, 100, 110)
	if got := read(t, w.o.Path, ReadOptions{Tail: All}); got != "100..109" {
		t.Errorf("read %s", got)
	}
}

// Whatever is formatted is read back, but for bytes that are no UTF-8.
func FuzzFormat(f *testing.F) {
	f.Add([]byte("a\nb<\"\\\n\n"), int64(1))
	f.Fuzz(func(t *testing.T, in []byte, when int64) {
		when &= 1<<60 - 1
		form, _ := NewFormat(nil)
		out, used, n := form.Append(nil, in, Stdout, when, true, 1<<30)
		if used != len(in) {
			t.Fatalf("used %d of %d", used, len(in))
		}
		// A batch that is cut anywhere and made again is the same.
		cut := int(uint(when) % 7)
		again, k, m := form.Append(nil, in, Stdout, when, true, cut*20)
		more, _, _ := form.Append(again, in[k:], Stdout, when+int64(m), true, 1<<30)
		if !bytes.Equal(more, out) {
			t.Fatal("in two batches it is something else")
		}
		var back []byte
		var p parser
		for line := range bytes.Lines(out) {
			var r Record
			if !p.parse(line[:len(line)-1], &r) {
				t.Fatalf("no record: %q", line)
			}
			back = append(back, r.Line...)
			n--
		}
		if n != 0 || len(in) < MaxLine && string(back) != string([]rune(string(in))) {
			t.Fatalf("%q became %q", in, back)
		}
	})
}

func TestRandomBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	f, _ := NewFormat(nil)
	var in []byte
	for range 3000 {
		in = append(in, strings.Repeat(string([]byte{byte(r.IntN(256))}), r.IntN(90))...)
		in = append(in, '\n')
	}
	want, _, _ := f.Append(nil, in, Stdout, 5, false, 1<<30)
	var got []byte
	total := 0
	for rest := in; len(rest) > 0; {
		var used, n int
		got, used, n = f.Append(got, rest, Stdout, 5+int64(total), false, r.IntN(1000))
		rest, total = rest[used:], total+n
	}
	if !bytes.Equal(got, want) {
		t.Error("batches differ from the whole")
	}
}

// gaps tells which of the numbers in a text do not follow on those before.
func gaps(text string) string {
	var out []string
	next := "0"
	for word := range strings.FieldsSeq(text) {
		if word != next {
			out = append(out, fmt.Sprintf("%s instead of %s", word, next))
		}
		n, _ := strconv.Atoi(word)
		next = strconv.Itoa(n + 1)
	}
	return strings.Join(append(out, "ends before "+next), ", ")
}
