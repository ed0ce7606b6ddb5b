package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/go-units"
	"golang.org/x/term"

	"lighter/api"
	"lighter/client"
)

// showProgress prints a stream of a long job: on a terminal each thing under way has a
// line that is written over, elsewhere what has come to an end is printed. An error in
// the stream is the job's.
func showProgress(a *App, r io.Reader) error { return showProgressOn(a.Out, r) }

// showProgressOn is showProgress on another file.
func showProgressOn(out io.Writer, r io.Reader) error {
	p := progressView{out: out, lines: map[string]int{}}
	if f, ok := out.(*os.File); ok && terminal(f) {
		p.live, p.terminal = true, f
	}
	return client.Decode(r, p.show)
}

type progressView struct {
	out io.Writer

	terminal *os.File // nil when out is none
	live     bool
	lines    map[string]int // by id: which line from the top of those under way
}

func (v *progressView) show(p api.Progress) error {
	if p.Aux != nil {
		return nil
	}
	up := 0
	if p.ID != "" && (p.ProgressDetail != nil || p.Progress != "") {
		line, ok := v.lines[p.ID]
		if !ok {
			line = len(v.lines)
			v.lines[p.ID] = line
			if v.live {
				fmt.Fprintln(v.out)
			}
		}
		up = len(v.lines) - line
	} else {
		clear(v.lines) // what was printed since has moved them
	}
	if v.live && up > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA", up)
	}
	err := v.line(p)
	if v.live && up > 0 {
		fmt.Fprintf(v.out, "\x1b[%dB", up)
	}
	return err
}

func (v *progressView) line(p api.Progress) error {
	if p.ErrorDetail != nil {
		return &exitError{code: p.ErrorDetail.Code, text: p.ErrorDetail.Message}
	}
	if p.Error != "" {
		return errors.New(p.Error)
	}
	end, bar := "", v.bar(p.ProgressDetail)
	if v.live && p.Stream == "" && p.ProgressDetail != nil {
		end = "\r"
		fmt.Fprint(v.out, "\x1b[2K\r")
	} else if bar != "" {
		return nil // no bars where nothing can be written over
	}
	if p.ID != "" {
		fmt.Fprintf(v.out, "%s: ", p.ID)
	}
	switch {
	case p.ProgressDetail != nil && v.live:
		fmt.Fprintf(v.out, "%s %s%s", p.Status, bar, end)
	case p.Progress != "":
		fmt.Fprintf(v.out, "%s %s%s", p.Status, p.Progress, end)
	case p.Stream != "":
		fmt.Fprintf(v.out, "%s%s", p.Stream, end)
	default:
		fmt.Fprintf(v.out, "%s%s\n", p.Status, end)
	}
	return nil
}

// width is that of the terminal as it is now: people resize it.
func (v *progressView) width() int {
	if w, _, err := term.GetSize(int(v.terminal.Fd())); err == nil && w > 0 {
		return w
	}
	return 200
}

// bar draws how far something is: a bar where the terminal is wide enough, and the counts.
func (v *progressView) bar(d *api.ProgressDetail) string {
	switch {
	case d == nil || d.Current <= 0 && d.Total <= 0:
		return ""
	case d.Total <= 0 && d.Units != "":
		return fmt.Sprintf("%d %s", d.Current, d.Units)
	case d.Total <= 0:
		return fmt.Sprintf("%8v", units.HumanSize(float64(d.Current)))
	}
	text := ""
	if !v.live || v.width() > 110 {
		done := min(int(float64(d.Current)/float64(d.Total)*100)/2, 50)
		text = "[" + strings.Repeat("=", done) + ">" + strings.Repeat(" ", 50-done) + "] "
	}
	switch {
	case d.HideCounts:
	case d.Units != "" && d.Current > d.Total:
		text += fmt.Sprintf("%d %s", d.Current, d.Units)
	case d.Units != "":
		text += fmt.Sprintf("%d/%d %s", d.Current, d.Total, d.Units)
	default:
		text += fmt.Sprintf("%8v", units.HumanSize(float64(d.Current)))
		if d.Current <= d.Total {
			text += "/" + units.HumanSize(float64(d.Total))
		}
	}
	return text
}
