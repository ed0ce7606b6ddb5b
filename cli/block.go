package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"
)

// block is lines at the end of a terminal that are written over while things move. What changes is
// written in one piece, over what was there, so that nothing flickers.
type block struct {
	out  io.Writer
	size func() (columns, rows int) // of the terminal as it is now: people resize it

	shown  []textLine // that stand there, from the top
	hidden bool       // the cursor
	buf    bytes.Buffer
}

// textLine is a line of text, and the escape that gives it its colour; none for the terminal's own.
type textLine struct{ text, style string }

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	eraseLine  = "\x1b[K" // to its end
	eraseBelow = "\x1b[J"
	plainText  = "\x1b[0m"
)

// newBlock makes a block at the end of a terminal.
func newBlock(f *os.File) *block {
	return &block{out: f, size: func() (int, int) {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
		return 80, 24
	}}
}

// draw brings the block up to date, in one write. No line is longer than the terminal is wide.
func (v *block) draw(lines []textLine) error {
	columns, _ := v.size()
	b := &v.buf
	b.Reset()
	if !v.hidden {
		b.WriteString(hideCursor)
		v.hidden = true
	}
	same := len(lines) == len(v.shown)
	high := 0 // rows of the terminal that the block takes: one that has become narrower folds lines
	for _, s := range v.shown {
		width := utf8.RuneCountInString(s.text)
		same = same && width < columns
		high += max(1, (width+columns-1)/columns)
	}
	if high > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r", high)
	}
	if !same {
		b.WriteString(eraseBelow)
	}
	for n, s := range lines {
		if !same || v.shown[n] != s {
			b.WriteString(s.style)
			b.WriteString(s.text)
			if s.style != "" {
				b.WriteString(plainText)
			}
			b.WriteString(eraseLine)
		}
		b.WriteString("\r\n")
	}
	v.shown = lines
	_, err := v.out.Write(b.Bytes())
	return err
}

// end leaves the block where it is, and gives the terminal back.
func (v *block) end(err error) error {
	v.shown = nil
	if v.hidden {
		_, writeErr := io.WriteString(v.out, showCursor)
		v.hidden, err = false, errors.Join(err, writeErr)
	}
	return err
}
