package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lighter/api"
)

// screen is a terminal as far as progress needs one. It folds lines that are too long, as
// terminals do, and counts what a person would see as flicker.
type screen struct {
	t       *testing.T
	columns int
	rows    []string
	row     int
	col     int
	writes  int
	erased  int // lines that were emptied before they were written
}

func (s *screen) Write(p []byte) (int, error) {
	s.writes++
	for text := string(p); text != ""; {
		c, size := utf8.DecodeRuneInString(text)
		switch {
		case strings.HasPrefix(text, "\x1b["):
			size = strings.IndexFunc(text[2:], func(c rune) bool { return c >= '@' }) + 3
			s.escape(text[2:size])
		case c == '\r':
			s.col = 0
		case c == '\n':
			s.row, s.col = s.row+1, 0 // the terminal's driver adds the return
		default:
			if s.col == s.columns {
				s.row, s.col = s.row+1, 0
			}
			for len(s.rows) <= s.row {
				s.rows = append(s.rows, "")
			}
			line := []rune(s.rows[s.row] + strings.Repeat(" ", max(0, s.col-utf8.RuneCountInString(s.rows[s.row]))))
			s.rows[s.row] = string(append(append(line[:s.col:s.col], c), line[min(s.col+1, len(line)):]...))
			s.col++
		}
		text = text[size:]
	}
	return len(p), nil
}

func (s *screen) escape(code string) {
	n := 0
	switch fmt.Sscanf(code, "%d", &n); code[len(code)-1] {
	case 'A':
		if s.row -= n; s.row < 0 {
			s.t.Fatalf("moved above the screen's top")
		}
	case 'K':
		if s.row < len(s.rows) {
			s.rows[s.row] = string([]rune(s.rows[s.row])[:min(s.col, utf8.RuneCountInString(s.rows[s.row]))])
		}
	case 'J':
		s.erased++
		s.rows = s.rows[:min(s.row, len(s.rows))]
	}
}

// fold makes the terminal narrower: what stands there is folded.
func (s *screen) fold(columns int) {
	var rows []string
	for _, r := range s.rows {
		for utf8.RuneCountInString(r) > columns {
			rows = append(rows, string([]rune(r)[:columns]))
			r = string([]rune(r)[columns:])
		}
		rows = append(rows, r)
	}
	s.rows, s.columns, s.row, s.col = rows, columns, len(rows), 0
}

func TestProgressOnTerminal(t *testing.T) {
	for _, columns := range []int{20, 80, 200} {
		s := &screen{t: t, columns: columns}
		clock := time.Unix(0, 0)
		v := &progressView{block: block{out: s, size: func() (int, int) { return s.columns, 24 }}, now: func() time.Time { return clock }}
		tell := func(id, status string, current, total int64) {
			clock = clock.Add(500 * time.Millisecond)
			before := s.writes
			if err := v.show(api.Progress{ID: id, Status: status, ProgressDetail: &api.ProgressDetail{Current: current, Total: total}}); err != nil {
				t.Fatal(err)
			}
			if s.writes != before+1 {
				t.Fatalf("a frame was written in %d pieces", s.writes-before)
			}
		}
		v.show(api.Progress{ID: "latest", Status: "Pulling from app"})
		for _, id := range []string{"aaaaaaaaaaaa", "bbbbbbbbbbbb"} {
			tell(id, "Pulling fs layer", 0, 0)
		}
		erased := s.erased
		for n := range int64(10) {
			tell("aaaaaaaaaaaa", "Downloading", n*1e6, 1e7)
			tell("bbbbbbbbbbbb", "Downloading", n*2e6, 2e7)
		}
		if s.erased != erased || len(s.rows) != 3 && columns > 30 {
			t.Fatalf("%d columns: %d frames were wiped before they were drawn\n%s", columns, s.erased-erased, strings.Join(s.rows, "\n"))
		}
		for _, row := range s.rows {
			if utf8.RuneCountInString(row) >= columns && columns > 30 {
				t.Fatalf("%d columns: %q", columns, row)
			}
		}
		if columns == 80 && (!strings.Contains(s.rows[1], "=>") || !strings.Contains(s.rows[1], "9MB/10MB") || !strings.HasSuffix(s.rows[1], "947.4kB/s")) {
			t.Fatalf("%q", s.rows[1])
		}
		s.fold(max(columns/2, 18)) // the user drags the window's corner
		tell("aaaaaaaaaaaa", "Download complete", 0, 0)
		tell("bbbbbbbbbbbb", "Pull complete", 0, 0)
		tell("aaaaaaaaaaaa", "Pull complete", 0, 0)
		v.show(api.Progress{Status: "Digest: x"})
		if err := v.end(); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(s.rows[len(s.rows)-3:], "\n")
		if want := "aaaaaaaaaaaa: Pull complete\nbbbbbbbbbbbb: Pull complete\nDigest: x"; columns > 60 && (got != want || len(s.rows) != 4) {
			t.Fatalf("%d columns:\n%s", columns, strings.Join(s.rows, "\n"))
		}
	}
}

// Of more rows than the terminal is high those that move are shown, and in the end all.
func TestProgressOnLowTerminal(t *testing.T) {
	s := &screen{t: t, columns: 80}
	v := &progressView{block: block{out: s, size: func() (int, int) { return 80, 6 }}}
	for n := range 20 {
		v.show(api.Progress{ID: fmt.Sprintf("layer%02d", n), Status: "Waiting", ProgressDetail: &api.ProgressDetail{}})
	}
	v.show(api.Progress{ID: "layer03", Status: "Downloading", ProgressDetail: &api.ProgressDetail{Current: 1, Total: 2}})
	if len(s.rows) != 5 || !strings.Contains(s.rows[4], "more") {
		t.Fatalf("%q", s.rows)
	}
	if err := v.end(); err != nil || len(s.rows) != 20 || !strings.HasPrefix(s.rows[3], "layer03: Downloading") {
		t.Fatalf("%q, %v", s.rows, err)
	}
}

func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	err := showProgressOn(&out, strings.NewReader(`{"status":"Pulling from app","id":"latest"}
{"status":"Downloading","progressDetail":{"current":1,"total":2},"progress":"[=> ]","id":"a"}
{"status":"Pull complete","progressDetail":{},"id":"a"}
{"stream":"said\n"}
{"errorDetail":{"message":"no more"},"error":"no more"}`))
	if want := "latest: Pulling from app\na: Pull complete\nsaid\n"; err == nil || err.Error() != "no more" || out.String() != want {
		t.Fatalf("%q, %v", out.String(), err)
	}
}
