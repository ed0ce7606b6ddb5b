// Package insight is the commands that look into things: top without a container,
// explain, doctor. They are too much for `lighter`, which every start would pay for; it
// becomes `lighterd cli`, which has them.
package insight

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"lighter/cli"
)

// Commands are the commands by name. look finds out what the machine has, for doctor.
func Commands(look func(context.Context) []Finding) map[string]cli.Full {
	return map[string]cli.Full{
		"top":     top,
		"explain": explain,
		"doctor":  func(ctx context.Context, a *cli.App, _ []string) error { return doctor(ctx, a, look) },
	}
}

// paint colours texts, where somebody sees it.
type paint bool

// painter tells whether colours are wanted: on a terminal, and not with NO_COLOR
// (https://no-color.org).
func painter(out *os.File) paint {
	return paint(term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (p paint) in(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) bold(s string) string   { return p.in("1", s) }
func (p paint) faint(s string) string  { return p.in("2", s) }
func (p paint) red(s string) string    { return p.in("31", s) }
func (p paint) green(s string) string  { return p.in("32", s) }
func (p paint) yellow(s string) string { return p.in("33", s) }
func (p paint) blue(s string) string   { return p.in("34", s) }

// width is that of the terminal, or 80.
func width(out *os.File) int {
	if w, _, err := term.GetSize(int(out.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// fold writes a text in lines of a width, the first behind a head and the others below it.
func fold(w io.Writer, head string, headWidth, width int, text string) {
	room := max(width-headWidth-1, 20)
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && cli.Width(line)+1+cli.Width(word) > room {
			fmt.Fprintln(w, head+line)
			head, line = strings.Repeat(" ", headWidth), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	fmt.Fprintln(w, head+line)
}
