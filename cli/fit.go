package cli

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"lighter/client"
)

// colours tells whether a file is to be written to in colours: a terminal, and nobody
// asked for none (https://no-color.org).
func colours(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminal(f)
}

// windowOf is the width that a table has to fit into, 0 for none: what is no terminal, what
// has a format of its own or is to be whole, and Docker's tables are as wide as they are.
func windowOf(a *App, format string, whole bool) int {
	if whole || a.docker() || format != "" && format != "table" || a.Out == nil {
		return 0
	}
	w, _, err := term.GetSize(int(a.Out.Fd()))
	if err != nil {
		return 0
	}
	return w
}

// What a narrow window does to a table: columns that go, the first first, and the least
// width of those that stay.
var (
	spare  = []string{"COMMAND", "CREATED", "REASON"}
	floors = map[string]int{"CONTAINER ID": 12, "IMAGE ID": 12, "NETWORK ID": 12, "NAMES": 16, "NAME": 16, "REPOSITORY": 16, "VOLUME NAME": 16, "STATUS": 18, "PORTS": 14, "REASON": 20}
)

const floor = 8 // of all other columns

// fitTable cuts the widest cells of a table, whose cells are separated by tabs, until it is
// no wider than a window; columns that can be spared go when that is not enough.
func fitTable(text []byte, width, least, padding int) []byte {
	var rows [][][]byte
	for line := range bytes.Lines(text) {
		rows = append(rows, bytes.Split(bytes.TrimSuffix(line, []byte("\n")), []byte("\t")))
	}
	if len(rows) == 0 || slices.ContainsFunc(rows, func(r [][]byte) bool { return len(r) != len(rows[0]) }) {
		return text
	}
	var widths []int
	measure := func() {
		widths = make([]int, len(rows[0]))
		for _, r := range rows {
			for i, cell := range r {
				widths[i] = max(widths[i], cellWidth(cell))
			}
		}
	}
	measure()
	lowest := func(i int) int {
		n := floor
		if f, ok := floors[string(rows[0][i])]; ok {
			n = f
		}
		return min(n, widths[i])
	}
	total := func(of func(int) int) int {
		n := 0
		for i := range widths {
			if i == len(widths)-1 {
				n += of(i)
			} else {
				n += max(least, of(i)+padding)
			}
		}
		return n
	}
	for _, name := range spare {
		i := slices.IndexFunc(rows[0], func(h []byte) bool { return string(h) == name })
		if i >= 0 && total(lowest) > width {
			for k := range rows {
				rows[k] = slices.Delete(rows[k], i, i+1)
			}
			measure()
		}
	}
	for total(func(i int) int { return widths[i] }) > width {
		at := -1
		for i := range widths {
			if widths[i] > lowest(i) && (at < 0 || widths[i] > widths[at]) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		widths[at]--
	}
	return cutCells(rows, widths)
}

// cutCells writes a table again, with its cells no wider than the columns.
func cutCells(rows [][][]byte, widths []int) []byte {
	var out []byte
	for _, r := range rows {
		for i, cell := range r {
			if i > 0 {
				out = append(out, '\t')
			}
			if cellWidth(cell) > widths[i] {
				cell = []byte(ellipsis(string(cell), widths[i]))
			}
			out = append(out, cell...)
		}
		out = append(out, '\n')
	}
	return out
}

// paintTable colours a table that is laid out: its heading, and whether containers are well.
func paintTable(text []byte) []byte {
	head, body, _ := bytes.Cut(text, []byte("\n"))
	out := append(append([]byte("\x1b[2m"), head...), "\x1b[0m\n"...)
	at := bytes.Index(head, []byte("STATUS "))
	if at < 0 {
		return append(out, body...)
	}
	column := cellWidth(head[:at])
	for line := range bytes.Lines(body) {
		begin := byteAt(line, column)
		status := string(line[begin:])
		code := ""
		switch {
		case strings.HasPrefix(status, "Up") && strings.Contains(status, "(unhealthy)"), strings.HasPrefix(status, "Dead"):
			code = "31"
		case strings.HasPrefix(status, "Up") && strings.Contains(status, "(Paused)"), strings.HasPrefix(status, "Restarting"):
			code = "33"
		case strings.HasPrefix(status, "Up"):
			code = "32"
		case strings.HasPrefix(status, "Exited (") && !strings.HasPrefix(status, "Exited (0)"):
			code = "31"
		}
		if end := strings.Index(status, "  "); code != "" && end > 0 {
			out = append(append(out, line[:begin]...), "\x1b["+code+"m"+status[:end]+"\x1b[0m"+status[end:]...)
		} else {
			out = append(out, line...)
		}
	}
	return out
}

// byteAt is where a column of a line begins.
func byteAt(line []byte, column int) int {
	n := 0
	for i, r := range string(line) {
		if n >= column {
			return i
		}
		n += runeWidth(r)
	}
	return len(line)
}

// advise gives what may help against an error, as a line that begins with hint: the name of
// a container or an image that is nearly the one that there is not. Nothing under Docker's
// name, whose texts are Docker's, nor when the error says such a thing itself.
func advise(ctx context.Context, a *App, text string) string {
	if a.docker() || a.engine == nil || strings.Contains(text, "hint: ") {
		return ""
	}
	for _, kind := range []struct {
		words string
		names func(context.Context, *App) []string
	}{
		{"No such container: ", containersThere}, {"No such image: ", imagesThere}, {"pull access denied for ", imagesThere},
		{"No such object: ", everything},
		{"No such container or image: ", everything},
	} {
		_, rest, ok := strings.Cut(text, kind.words)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "\n")
		name, _, _ = strings.Cut(name, ", ")
		name = strings.TrimSuffix(strings.TrimSpace(name), ":latest")
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer stop()
		if near := nearest(name, kind.names(ctx, a)); near != "" && near != name {
			return "hint: did you mean '" + near + "'?"
		}
		return ""
	}
	return ""
}

// everything is the names of both.
func everything(ctx context.Context, a *App) []string {
	return append(containersThere(ctx, a), imagesThere(ctx, a)...)
}

// containersThere are the names of all containers, none when the engine does not tell.
func containersThere(ctx context.Context, a *App) (names []string) {
	list, err := a.engine.Containers().List(ctx, client.ListOptions{All: true, Brief: true})
	if err != nil {
		return nil
	}
	for _, c := range list {
		for _, name := range c.Names {
			names = append(names, strings.TrimPrefix(name, "/"))
		}
	}
	return names
}

// imagesThere are the names of all images, with and without their tags.
func imagesThere(ctx context.Context, a *App) (names []string) {
	list, err := a.engine.Images().List(ctx, client.ImageListOptions{})
	if err != nil {
		return nil
	}
	for _, i := range list {
		for _, name := range i.RepoTags {
			short, _ := strings.CutSuffix(name, ":latest")
			names = append(names, short, name)
			if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
				names = append(names, name[:at])
			}
		}
	}
	return names
}

// paintHints has the hints among an error's lines seen, on a terminal.
func paintHints(f *os.File, text string) string {
	if !strings.Contains(text, "hint: ") || !colours(f) {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if rest, ok := strings.CutPrefix(l, "hint: "); ok {
			lines[i] = "\x1b[33mhint:\x1b[0m " + rest
		}
	}
	return strings.Join(lines, "\n")
}
