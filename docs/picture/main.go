// Command picture types commands into terminals, one each, and draws what was seen, when it was
// seen, as an animated SVG: `make picture`. Commands are the lines of standard input.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// The picture's measures: characters, pixels, seconds.
const (
	columns    = 100
	charWidth  = 8.4
	lineHeight = 19
	margin     = 16
	bar        = 30 // of the window, with its three buttons
	keyTime    = 0.045
	thinkTime  = 0.7 // before a command is typed
	readTime   = 0.9 // after its output
)

// line is one of the screen: pieces that come at times of their own.
type line struct{ pieces []piece }

type piece struct {
	text  string
	at    float64
	class string
}

func main() {
	if err := draw(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func draw(in io.Reader, out io.Writer) error {
	var lines []line
	now := 0.3
	commands := bufio.NewScanner(in)
	for commands.Scan() {
		typed := commands.Text()
		l := line{[]piece{{"# ", now, "prompt"}}}
		now += thinkTime
		for _, key := range typed {
			l.pieces = append(l.pieces, piece{string(key), now, "typed"})
			now += keyTime
		}
		lines = append(lines, l)
		seen, took, err := run(typed, now)
		if err != nil {
			return err
		}
		lines = append(lines, seen...)
		now += took + readTime
	}
	lines = append(lines, line{[]piece{{"# ", now, "prompt"}}})
	_, err := io.WriteString(out, svg(lines))
	return errors.Join(commands.Err(), err)
}

// run runs a command in a terminal of its own, and gives its lines with their times and how long it took.
func run(command string, from float64) (lines []line, took float64, err error) {
	cmd := exec.Command("script", "-qec", fmt.Sprintf("stty cols %d rows 40; %s", columns, command), "/dev/null")
	cmd.Stderr = os.Stderr
	cmd.Stdin, err = os.Open(os.DevNull)
	if err != nil {
		return nil, 0, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	for r := bufio.NewReader(pipe); ; {
		text, err := r.ReadString('\n')
		if text = shown(text); text != "" || err == nil {
			lines = append(lines, line{[]piece{{text, from + time.Since(begin).Seconds(), ""}}})
		}
		if err != nil {
			break
		}
	}
	var failed *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &failed) {
		return nil, 0, err
	}
	return lines, time.Since(begin).Seconds(), nil
}

var escape = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// shown gives a line as it stands in the end: without colours, and what was written over.
func shown(text string) string {
	text = strings.TrimRight(escape.ReplaceAllString(text, ""), "\r\n")
	if i := strings.LastIndexByte(text, '\r'); i >= 0 {
		text = text[i+1:]
	}
	if runes := []rune(text); len(runes) > columns {
		text = string(runes[:columns-1]) + "…"
	}
	return text
}

const style = `<style>
text { font: 14px ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre; fill: #d1d7e0 }
tspan { fill-opacity: 0; animation: come 1ms linear both }
.prompt { fill: #57ab5a } .typed { fill: #f0f6fc; font-weight: 600 }
@keyframes come { to { fill-opacity: 1 } }
</style>
`

func svg(lines []line) string {
	width, height := int(columns*charWidth)+2*margin, bar+len(lines)*lineHeight+2*margin
	w := &strings.Builder{}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="a session in a terminal">`+"\n%s", width, height, style)
	fmt.Fprintf(w, `<rect width="%d" height="%d" rx="8" fill="#151b23"/>`+"\n", width, height)
	for i, colour := range []string{"#ff5f56", "#ffbd2e", "#27c93f"} {
		fmt.Fprintf(w, `<circle cx="%d" cy="16" r="5" fill="%s"/>`, 20+18*i, colour)
	}
	w.WriteByte('\n')
	for i, l := range lines {
		fmt.Fprintf(w, `<text x="%d" y="%d" xml:space="preserve">`, margin, bar+margin+i*lineHeight+8)
		for _, p := range l.pieces {
			class := ""
			if p.class != "" {
				class = ` class="` + p.class + `"`
			}
			fmt.Fprintf(w, `<tspan%s style="animation-delay:%.2fs">%s</tspan>`, class, p.at, html.EscapeString(p.text))
		}
		w.WriteString("</text>\n")
	}
	w.WriteString("</svg>\n")
	return w.String()
}
