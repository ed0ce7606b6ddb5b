package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
	"lighter/api"
	"lighter/client"
)

// showProgress prints a stream of a long job: on a terminal each thing under way has a
// line that is written over, elsewhere what has come to an end is printed. An error in
// the stream is the job's.
func showProgress(a *App, r io.Reader) error { return showProgressOn(a.Out, r) }

// showProgressOn is showProgress on another file.
func showProgressOn(out io.Writer, r io.Reader) error {
	f, ok := out.(*os.File)
	if !ok || !terminal(f) {
		return client.Decode(r, (&progressLines{out: out}).show)
	}
	v := &progressView{block: *newBlock(f)}
	return errors.Join(client.Decode(r, v.show), v.end())
}

// progressError is what a message says of the job's failure.
func progressError(p api.Progress) error {
	switch {
	case p.ErrorDetail != nil:
		return &exitError{code: p.ErrorDetail.Code, text: p.ErrorDetail.Message}
	case p.Error != "":
		return errors.New(p.Error)
	}
	return nil
}

// progressLines prints where nothing can be written over.
type progressLines struct{ out io.Writer }

func (l *progressLines) show(p api.Progress) error {
	if err := progressError(p); err != nil || p.Aux != nil {
		return err
	}
	if d := p.ProgressDetail; d != nil && (d.Current > 0 || d.Total > 0) {
		return nil // no bars here
	}
	text := p.Stream
	if text == "" {
		text = strings.TrimRight(p.Status+" "+p.Progress, " ") + "\n"
	}
	if p.ID != "" {
		text = p.ID + ": " + text
	}
	_, err := io.WriteString(l.out, text)
	return err
}

// progressView keeps a block of rows at the end of a terminal, one for each thing under
// way. What changes is written in one piece, over what was there, so that nothing flickers.
type progressView struct {
	block
	now  func() time.Time // nil for time.Now
	rows []*progressRow
}

// progressRow is one thing under way.
type progressRow struct {
	id   string
	last api.Progress

	began time.Time // of what is done with it now
	first int64     // bytes that were done by then
}

func (v *progressView) show(p api.Progress) error {
	if err := progressError(p); err != nil || p.Aux != nil {
		return err
	}
	if p.ID != "" && (p.ProgressDetail != nil || p.Progress != "") {
		v.note(p)
		return v.update(false)
	}
	// A line of its own: what stands above it stays as it is.
	if err := v.settle(); err != nil {
		return err
	}
	return (&progressLines{out: v.out}).show(p)
}

// note puts a message in its row.
func (v *progressView) note(p api.Progress) {
	n := slices.IndexFunc(v.rows, func(r *progressRow) bool { return r.id == p.ID })
	if n < 0 {
		n = len(v.rows)
		v.rows = append(v.rows, &progressRow{id: p.ID})
	}
	r := v.rows[n]
	if r.last.Status != p.Status && p.ProgressDetail != nil {
		r.began, r.first = v.clock(), p.ProgressDetail.Current
	}
	r.last = p
}

func (v *progressView) clock() time.Time {
	if v.now != nil {
		return v.now()
	}
	return time.Now()
}

// update draws the rows: all of them when the block is to stay; while things move, as many as the
// terminal is high.
func (v *progressView) update(all bool) error {
	columns, height := v.size()
	return v.draw(v.lines(columns, height-1, all))
}

// lines are the rows' texts, each shorter than a line of the terminal. Where there are more
// than most, those that are done give way.
func (v *progressView) lines(columns, most int, all bool) []textLine {
	rows := v.rows
	if !all && len(rows) > max(most, 1) {
		most = max(most-1, 1)
		under := slices.DeleteFunc(slices.Clone(rows), func(r *progressRow) bool { return !r.moving() })
		if len(under) < most {
			under = rows[len(rows)-most:]
		}
		rows = under[:most]
	}
	lines := make([]textLine, 0, len(rows)+1)
	for _, r := range rows {
		lines = append(lines, textLine{text: r.line(columns-1, v.clock())})
	}
	if more := len(v.rows) - len(rows); more > 0 {
		lines = append(lines, textLine{text: cutTo(fmt.Sprintf("… and %d more", more), columns-1)})
	}
	return lines
}

// settle leaves the block where it is, whole.
func (v *progressView) settle() error {
	if len(v.rows) == 0 {
		return nil
	}
	err := v.update(true)
	v.rows, v.shown = nil, nil
	return err
}

// end gives the terminal back.
func (v *progressView) end() error { return v.block.end(v.settle()) }

// moving reports whether a row has a bar.
func (r *progressRow) moving() bool {
	d := r.last.ProgressDetail
	return d != nil && d.Current > 0 && d.Current != d.Total
}

// line is the row's text in at most so many columns: what is done, a bar where there is
// room for one, counts, and the speed.
func (r *progressRow) line(columns int, now time.Time) string {
	head := r.id + ": " + r.last.Status
	d := r.last.ProgressDetail
	if d == nil || d.Current <= 0 && d.Total <= 0 {
		return cutTo(strings.TrimRight(head+" "+r.last.Progress, " "), columns)
	}
	counts := progressCounts(d)
	if took := now.Sub(r.began); d.Units == "" && !d.HideCounts && took > time.Second && d.Current > r.first {
		counts += fmt.Sprintf("  %s/s", units.HumanSize(float64(d.Current-r.first)/took.Seconds()))
	}
	const least, widest, brackets = 10, 50, 4
	room := min(columns-utf8.RuneCountInString(head)-utf8.RuneCountInString(counts)-brackets, widest)
	if d.Total > 0 && room >= least {
		done := min(int(float64(d.Current)/float64(d.Total)*float64(room)), room-1)
		head += " [" + strings.Repeat("=", max(done, 0)) + ">" + strings.Repeat(" ", room-1-max(done, 0)) + "]"
	}
	return cutTo(head+" "+counts, columns)
}

// progressCounts are the figures beside a bar.
func progressCounts(d *api.ProgressDetail) string {
	size := func(n int64) string {
		if d.Units != "" {
			return fmt.Sprint(n)
		}
		return units.HumanSize(float64(n))
	}
	text := fmt.Sprintf("%8s", size(d.Current))
	if d.Units != "" {
		text = size(d.Current)
	}
	if d.Total > 0 && d.Current <= d.Total {
		text += "/" + size(d.Total)
	}
	if d.Units != "" {
		text += " " + d.Units
	}
	if d.HideCounts {
		return ""
	}
	return text
}

// cutTo cuts a text off at so many columns, and leaves out what would move the cursor:
// statuses are the engine's, ids may be a registry's.
func cutTo(s string, columns int) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, s)
	if n := utf8.RuneCountInString(s); n > columns {
		return string([]rune(s)[:max(columns, 0)])
	}
	return s
}
